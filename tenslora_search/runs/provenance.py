"""What a result rests on besides the question: COMMAND, versions() of the libraries, hardware() of
the driver's machine.
"""

import os
import platform
from collections.abc import Sequence
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tenslora_search.runs.run_file import Hardware

VERSIONS = ("tenslora-search", "torch", "transformers", "datasets", "optuna", "ray", "numpy")

COMMAND: ContextVar[str | None] = ContextVar("COMMAND", default=None)
"""What was typed, for a shell; None where search() was called from Python."""


def printable(text: str) -> str:
    """A text that may name files whose names are not UTF-8, as UTF-8 can say it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def versions(names: Sequence[str] = VERSIONS) -> dict[str, str]:
    """Of the libraries, by default those that decide a result."""
    return {name: _version(name) for name in names}


def hardware(gpus: Sequence[str]) -> Hardware:
    """Of the driver's machine: processor, cores, and the names of its GPUs, which are given."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Hardware(names[0] if names else platform.machine(), os.cpu_count(), tuple(gpus))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
