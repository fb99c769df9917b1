"""What a result rests on besides the question: COMMAND, versions() of the libraries, hardware() of the driver's machine."""

import os
import platform
from collections.abc import Sequence
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

VERSIONS = ("tenslora-search", "torch", "transformers", "datasets", "optuna", "ray", "numpy")

COMMAND: ContextVar[str | None] = ContextVar("COMMAND", default=None)
"""What was typed, for a shell; None where search() was called from Python."""


def versions() -> dict[str, str]:
    """Of the libraries that decide a result."""
    return {name: _version(name) for name in VERSIONS}


def hardware(gpus: Sequence[str]) -> dict[str, Any]:
    """Of the driver's machine: processor, cores, and the names of its GPUs, which are given."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "gpus": [*gpus],
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
