"""Writes a measurement to benchmarks/results: variant, shape, machine, versions and figures as JSON."""

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> str:
    """The GPUs of this machine, or its processor and cores, in words."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    return f"{model or platform.machine()}, {os.cpu_count()} cores"


def timed(function, *args) -> tuple:
    """`(result, seconds on the wall, processor seconds)` of one call; the two differ on a busy machine."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*args)
    return result, round(time.perf_counter() - wall, 3), round(time.process_time() - cpu, 3)


def write_json(name: str, content: dict | list, folder: Path = RESULTS) -> Path:
    """Writes `<folder>/<name>.json` aside and renames it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return partial.rename(folder / f"{name}.json")


def write_result(name: str, rows: list[dict]) -> Path:
    """Measured rows (`variant`, `shape` and figures), each with machine and versions, to `benchmarks/results`."""
    from dialsum_trl.core.versions import versions

    where = {"machine": machine(), "versions": versions()}
    return write_json(name, [{**row, **where} for row in rows])


def record(name: str, variant: str, shape: str, packages: list[str], figures: dict, folder: Path = RESULTS) -> dict:
    """One measurement of named packages: written as `write_json` does, printed, and returned."""
    versions = {"python": platform.python_version(), **{package: version(package) for package in packages}}
    result = {"variant": variant, "shape": shape, "machine": machine(), "versions": versions, **figures}
    write_json(name, result, folder)
    print(json.dumps(result, ensure_ascii=False, indent=2))
    return result
