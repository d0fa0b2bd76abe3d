"""Attention, ours against torch's for the same masks: `python -m benchmarks.attention`, on whatever device is there.

On a GPU it fills the table of research/kernels.md section 8, on a CPU the rows that matter there. Every time has its
error beside it: relative root mean square of one stream and head against float64. The floor is the larger of counted
FLOP over the measured rate of a large matrix product and counted bytes over the measured rate of a large copy.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from torch import Tensor

from kernels import decide
from recorders import Command, command, processor, settings
from world_model import allocator
from world_model.flops import peak_flops

from .attention_cases import Case, cpu_cases, gpu_cases
from .contenders import CONTENDERS, Absent, Inputs
from .surroundings import Row
from .surroundings import rows as surroundings


@dataclass(kw_only=True)
class AttentionConfig(Command):
    """What to measure, and where the table goes."""

    device: str = "auto"
    """cuda, cpu, or auto: cuda where there is one"""
    only: str = ""
    """part of the names of the rows wanted"""
    seconds: float = 0.5
    """spent on each figure"""
    out: str = "runs/attention"
    """attention.json and attention.png go here"""

    def __post_init__(self) -> None:
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device=cuda, but torch finds no CUDA device; use device=cpu")


ConfigStore.instance().store(name="attention", node=AttentionConfig)


def milliseconds(run: Callable[[], object], seconds: float, device: torch.device) -> list[float]:
    """Median and 95th percentile of a call's time; caches are cold for as much as calls themselves leave them so."""
    run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begun < seconds:
        if device.type == "cuda":
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            run()
            last.record()
            torch.cuda.synchronize()
            times.append(first.elapsed_time(last))
        else:
            before = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - before))
    return [float(np.percentile(times, p)) for p in (50, 95)]


def error(given: Inputs, out: Tensor) -> float:
    """Relative root mean square against float64, of the first stream and head."""
    q, k, v = (x[0, :, 0].detach().double() for x in (given.q, given.keys, given.values))
    scores = (q @ k.T / given.case.width**0.5).masked_fill(~given.mask(), float("-inf"))
    wanted = scores.softmax(-1) @ v
    return float((out[0, :, 0].detach().double() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def with_backward(run: Callable[[], Tensor], given: Inputs) -> Callable[[], object]:
    """Forward, then gradients of q, k and v."""
    weights = torch.randn_like(given.q)
    return lambda: torch.autograd.grad(run(), (given.q, given.k, given.v), weights)


def measure(case: Case, config: AttentionConfig, rates: dict[str, float], dtype: torch.dtype) -> dict[str, Any]:
    """One row: times of all contenders, errors, and the floor."""
    device = torch.device(config.device)
    given = Inputs.of(case, device, dtype)
    floor = 1000 * max(case.flops() / rates["flops"], case.nbytes(dtype.itemsize) / rates["bytes"])
    row: dict[str, Any] = {"case": asdict(case), "floor_ms": floor, "density": float(case.visible().float().mean())}
    print(f"{case.name}: floor {floor:.4f} ms, {100 * row['density']:.0f}% visible")
    for name, build in CONTENDERS.items():
        try:
            begun = time.perf_counter()
            run = build(given)
            found = error(given, run())
            ready = time.perf_counter() - begun
            half, most = milliseconds(with_backward(run, given) if case.backward else run, config.seconds, device)
        except Absent as why:
            row[name] = {"absent": str(why)}
            continue
        except Exception as failure:  # a contender that breaks on this machine is a row of the table, not its end
            row[name] = {"failed": f"{type(failure).__name__}: {failure}"[:300]}
            print(f"  {name:13s} failed: {row[name]['failed'][:90]}")
            continue
        row[name] = {"p50_ms": half, "p95_ms": most, "error": found, "first_call_s": ready}
        ratio = half / row["ours"]["p50_ms"] if "p50_ms" in row.get("ours", {}) else float("nan")
        print(f"  {name:13s} p50 {half:9.4f} ms  p95 {most:9.4f} ms  {ratio:6.2f} x ours  "
              f"{100 * floor / half:5.1f}% of floor  error {found:.1e}  first call {ready:.1f} s")
    return row


def measure_around(row: Row, config: AttentionConfig, rates: dict[str, float]) -> dict[str, Any]:
    """Times of all ways of a row that is not attention; their floor is bytes alone."""
    floor = 1000 * row.nbytes / rates["bytes"]
    print(f"{row.name}: floor {floor:.4f} ms")
    result: dict[str, Any] = {"name": row.name, "floor_ms": floor}
    for name, run in row.ways.items():
        half, most = milliseconds(run, config.seconds, torch.device(config.device))
        result[name] = {"p50_ms": half, "p95_ms": most}
        print(f"  {name:13s} p50 {half:9.4f} ms  p95 {most:9.4f} ms  {half / result['ours']['p50_ms']:6.2f} x ours")
    return result


def rates_of(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """FLOP per second of a large matrix product, bytes per second of a large copy."""
    x = torch.empty(2**28 if device.type == "cuda" else 2**25, dtype=torch.int8, device=device)
    y = torch.empty_like(x)
    copy, _ = milliseconds(lambda: y.copy_(x), 0.3, device)
    return {"flops": peak_flops(device, dtype, 8192 if device.type == "cuda" else 2048),
            "bytes": 2 * x.numel() / copy * 1000}


def save_chart(rows: list[dict[str, Any]], path: Path) -> None:
    """Times over the floor, a group of bars a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 0.6 * len(rows) + 1.5), layout="constrained")
    for i, name in enumerate(CONTENDERS):
        found = [(j, row[name]["p50_ms"] / row["floor_ms"]) for j, row in enumerate(rows) if "p50_ms" in row[name]]
        if found:
            places, times = zip(*found, strict=True)
            axes.barh([j + 0.13 * (i - 2.5) for j in places], times, 0.12, label=name)
    axes.set(yticks=range(len(rows)), yticklabels=[row["case"]["name"] for row in rows], xscale="log",
             xlabel="time / floor (1 is the floor)")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(config: AttentionConfig) -> dict[str, Any]:
    """Measure, print, and write attention.json and attention.png."""
    device = torch.device(config.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    rates, decision = rates_of(device, dtype), decide(device)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    head = {"machine": machine, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
            "dtype": str(dtype), "backend": decision.backend, "reason": decision.reason, "rates": rates}
    print(f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}, {dtype}; ours: {decision.backend} "
          f"({decision.reason}); {rates['flops'] / 1e12:.2f} TFLOP/s, {rates['bytes'] / 1e9:.1f} GB/s")
    cases = [case for case in (gpu_cases() if device.type == "cuda" else cpu_cases()) if config.only in case.name]
    rows = [measure(case, config, rates, dtype) for case in cases]
    around = [measure_around(row, config, rates) for row in surroundings(device, dtype) if config.only in row.name]
    report = head | {"rows": rows, "around": around}
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "attention.json").write_text(json.dumps(report, indent=1) + "\n")
    save_chart(rows, out / "attention.png")
    print(f"written: {out / 'attention.json'}, {out / 'attention.png'}")
    return report


@command("attention")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    allocator.keep_memory()
    try:
        run(cast(AttentionConfig, settings(cfg)))
    except ValueError as failure:
        sys.exit(f"attention: {failure}")


if __name__ == "__main__":
    main()
