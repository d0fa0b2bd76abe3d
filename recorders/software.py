"""Which programs made a recording."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("foreframe", "torch", "gymnasium", "ale-py", "vizdoom", "numpy", "pillow", "zarr", "numcodecs")


def versions() -> dict[str, str]:
    """Versions of what is installed and could matter to a replay, by name."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """What kind of machine this is: equal bytes are promised on one machine only."""
    return {"system": platform.system(), "machine": platform.machine(), "processor": processor()}


def processor() -> str:
    """The processor's name, as its maker has it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor() or platform.machine()
