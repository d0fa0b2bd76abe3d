"""Triton kernels compiled for GPUs that are not there: what the binary says about itself."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.launch import Shipped

SHARED_LIMIT = {80: 166_912, 90: 232_448}
"""bytes of shared memory a block may have, by architecture"""

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass
class Binary:
    """What was built."""

    registers: int
    stack: int
    local: int
    shared: int
    code: str
    """SASS"""

    @property
    def uses_tensor_cores(self) -> bool:
        """Matrix-multiply instructions of any kind and type."""
        return re.search(r"\b(HMMA|HGMMA|QGMMA|IMMA|IGMMA)\b", self.code) is not None

    @property
    def copies_asynchronously(self) -> bool:
        """Global to shared memory without waiting."""
        return re.search(r"\b(LDGSTS|UTMALDG)\b", self.code) is not None


def source_of(case: Shipped) -> ASTSource:
    """The kernel with types and constants filled in; arguments that `types` does not name are 32-bit integers."""
    names = case.kernel.arg_names
    signature = {name: "constexpr" if name in case.constants else case.types.get(name, "i32") for name in names}
    constants = {(names.index(name),): value for name, value in case.constants.items()}
    aligned = [name for name in names if signature[name].startswith("*") or name in case.divisible]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    return ASTSource(case.kernel, signature, constants, attributes)


def build(case: Shipped, arch: int) -> Binary:
    """Compile for one CUDA architecture and read the binary."""
    built = triton.compile(source_of(case), target=GPUTarget("cuda", arch, 32),
                           options={"num_warps": case.warps, "num_stages": case.stages})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(built.asm["cubin"])
        usage = _run("--dump-resource-usage", file)
        code = _run("--dump-sass", file)
    figures = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", usage)}
    return Binary(figures["REG"], figures["STACK"], figures["LOCAL"], built.metadata.shared, code)


def build_for_amd(case: Shipped) -> str:
    """Assembly for gfx942 (MI300)."""
    built = triton.compile(source_of(case), target=GPUTarget("hip", "gfx942", 64),
                           options={"num_warps": case.warps, "num_stages": 2})
    return str(built.asm["amdgcn"])


def _run(option: str, file: Path) -> str:
    return subprocess.run([_TOOLS / "cuobjdump", option, file], capture_output=True, text=True, check=True).stdout
