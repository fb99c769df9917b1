"""Plugins: entries from outside the package, by `--plugin FILE.py` or `TABLE.add` in a script.

A run folder names its plugins, but only who runs a command decides which files are run.
"""

import hashlib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tenslora_search.spec.table import QuestionError, Table, shortened

HOMES = {
    "construction": "tenslora_search.spec.constructions.CONSTRUCTIONS",
    "decomposition": "tenslora_search.spec.decompositions.DECOMPOSITIONS",
    "map": "tenslora_search.spec.maps.MAPS",
    "scale": "tenslora_search.spec.scales.SCALES",
    "rule": "tenslora_search.spec.rules.RULES",
    "allocator": "tenslora_search.spec.allocators.ALLOCATORS",
    "sites": "tenslora_search.spec.sites.SITES",
    "method": "tenslora_search.spec.methods.METHODS",
    "task": "tenslora_search.spec.tasks.TASKS",
    "metric": "tenslora_search.data.metrics.METRICS",
    "sampler": "tenslora_search.study.samplers.SAMPLERS",
    "pruner": "tenslora_search.study.pruners.PRUNERS",
    "format": "tenslora_search.export.formats.FORMATS",
    "page": "tenslora_search.report.pages.PAGES",
}
"""Where the tables are that take entries from outside, by their kind."""


class Added(NamedTuple):
    """An entry from outside: the kind of its table, its name, and what it is."""

    kind: str
    name: str
    entry: Any


def load_plugin(path: str | Path) -> ModuleType:
    """Runs a user's Python file, which adds entries to our tables; returns it as a module.

    The same file is run once a process. `QuestionError` for a file that is missing or that raises.
    """
    file = Path(path).expanduser().resolve()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise QuestionError(f"--plugin {shortened(str(path))}: {error.strerror}.") from error
    name = f"tenslora_plugin_{hashlib.sha256(str(file).encode() + content).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name, f"The plugin {file}.")
    module.__file__ = str(file)
    sys.modules[name] = module
    try:
        exec(compile(content, str(file), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        said = " ".join(str(error).split()) or type(error).__name__
        raise QuestionError(f"--plugin {shortened(str(path))}: {said[:200]}") from error
    return module


def added() -> tuple[Added, ...]:
    """All entries from outside, of the tables that this process has imported."""
    found: list[Added] = []
    for kind, home in HOMES.items():
        module, _, name = home.rpartition(".")
        if module in sys.modules:
            table = getattr(sys.modules[module], name)
            found += [Added(kind, name, entry) for name, entry in table.added.items()]
    return tuple(found)


def add_again(entries: Iterable[Added]) -> None:
    """Adds the entries of another process to the tables of this one; those it has stay."""
    for kind, name, entry in entries:
        module, _, attribute = HOMES[kind].rpartition(".")
        table: Table[Any] = getattr(importlib.import_module(module), attribute)
        if name not in table:
            table.add(name, entry)
