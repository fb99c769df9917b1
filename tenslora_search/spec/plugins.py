"""Plugins: entries from outside the package, by `--plugin FILE.py` or `TABLE.add` in a script.

A run folder names its plugins, but only who runs a command decides which files are run.
"""

import hashlib
import importlib
import logging
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tenslora_search.spec.homes import HOMES
from tenslora_search.spec.paths import typed
from tenslora_search.spec.table import QuestionError, Table, shortened

LOGGER = logging.getLogger("tenslora_search")
CLOSED = {
    "tenslora_search.spec.metrics.NOISE": "METRICS.add tells it",
    "tenslora_search.spec.metrics.GOAL_METRICS": "GOALS.add tells it",
    "tenslora_search.spec.adapter.HEAD_LAYOUTS": "two ways to count columns; there is no third",
    "tenslora_search.runs.events.EVENTS": "the journal's form is the same for all who read it",
    "tenslora_search.report.methods.FORMS": "three ways to write one table",
    "tenslora_search.listing.KINDS": "made of the other tables",
}
"""The tables that take none, and why."""

OF_DRIVER = ("sampler", "pruner", "executor", "format", "pick", "page", "comparison", "tracker")
"""Kinds of which workers need nothing."""


class Added(NamedTuple):
    """An entry from outside: the kind of its table, its name, and what it is."""

    kind: str
    name: str
    entry: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A file whose entries a run took: its name, sha256, and what it added (`rule slow_start`).

    Entries that no file was named for, those of the user's own script, have an empty name.
    """

    file: str
    sha256: str
    entries: tuple[str, ...]


_loaded: dict[Path, tuple[Plugin, ModuleType]] = {}


def load_plugin(path: str | Path) -> ModuleType:
    """Runs a user's Python file, which adds entries to our tables; returns it as a module.

    The same file is run once a process; one that was changed meanwhile is run again in the place of
    what it was. `QuestionError` for a file that is missing or that raises: nothing of it stays.
    """
    file = typed(path).resolve()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise QuestionError(f"--plugin {shortened(str(path))}: {error.strerror}.") from error
    digest = hashlib.sha256(content).hexdigest()
    if file in _loaded:
        plugin, module = _loaded[file]
        if plugin.sha256 == digest and set(plugin.entries) <= _known():
            return module
        del _loaded[file]
        _remove(one for one in added() if str(one) in plugin.entries)
    before = _known()
    module = _module_of(file, content)
    try:
        exec(compile(content, str(file), "exec"), module.__dict__)
    except BaseException as error:
        _remove(one for one in added() if str(one) not in before)
        if not isinstance(error, Exception | SystemExit):  # Ctrl-C, a signal
            raise
        raise QuestionError(
            f"--plugin {shortened(str(path))}: {_told(error, file)[:300]}"
        ) from error
    entries = tuple(sorted(_known() - before))
    _loaded[file] = Plugin(file.name, digest, entries), module
    return module


def _told(error: BaseException, file: Path) -> str:
    """What a plugin raised, and in which line of it; our own errors say enough."""
    said = " ".join(str(error).split())
    if isinstance(error, QuestionError):
        return said
    frames = traceback.extract_tb(error.__traceback__)
    lines = [one.lineno for one in frames if one.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"line {line}: {what}" if line else what


def raised_by(error: BaseException) -> Path | None:
    """The file of the loaded plugin that an error went through, the innermost; None if none."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return next((Path(one) for one in reversed(files) if Path(one) in _loaded), None)


def blamed(error: BaseException) -> str:
    """The line on an error that an entry of a loaded plugin raised, or that may come of what it
    gave; where none is loaded, the error goes on. Its traceback is told at the level debug.
    """
    plugin = raised_by(error)
    if not _loaded or (plugin is None and isinstance(error, SystemExit)):
        raise error
    LOGGER.debug("an error beside plugins", exc_info=error)
    if plugin is not None:
        return f"--plugin {plugin.name}: {_told(error, plugin)[:300]}"
    said, last = f"{type(error).__name__}: {error}", traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"with --plugin {', '.join(file.name for file in _loaded)}: {said[:300]} ({last.name} in "
        f"{Path(last.filename).name}); the checks of tenslora_search.testing say which entry gives "
        "something else than it should, --log-level debug shows the traceback."
    )


def load_plugins(paths: Iterable[str | Path]) -> None:
    """Each of the files, in their order; see `load_plugin`."""
    for path in paths:
        load_plugin(path)


def _module_of(file: Path, content: bytes) -> ModuleType:
    digest = hashlib.sha256(str(file).encode() + content).hexdigest()
    module = ModuleType(f"tenslora_plugin_{digest[:16]}", f"The plugin {file}.")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    return module


def added() -> tuple[Added, ...]:
    """All entries from outside, of the tables that this process has imported."""
    found: list[Added] = []
    for kind, home in HOMES.items():
        module, _, attribute = home.rpartition(".")
        table = getattr(sys.modules.get(module), attribute, None)
        if table is not None:
            found += [Added(kind, name, entry) for name, entry in table.added.items()]
    return tuple(found)


def add_again(entries: Iterable[Added]) -> None:
    """Adds the entries of another process to the tables of this one; those that came so before are
    put anew, those of the package stay.
    """
    for kind, name, entry in entries:
        table = table_of(kind)
        if name in table.added:
            table.remove(name)
        if name not in table:
            table.add(name, entry)


def table_of(kind: str) -> Table[Any]:
    """The table of a kind of HOMES, imported."""
    module, _, attribute = HOMES[kind].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def plugins() -> tuple[Plugin, ...]:
    """What a run written now rests on: the files that were loaded, and the rest of `added`."""
    known = _known()
    files = [one for one, _ in _loaded.values() if known.intersection(one.entries)]
    rest = sorted(known.difference(*(one.entries for one in files)))
    return (*files, *((Plugin("", "", tuple(rest)),) if rest else ()))


def check_plugins(wanted: Sequence[Plugin], what: object) -> None:
    """`QuestionError` if entries that a run (`what`) took from outside are not there, or come from
    a file that has another content now.
    """
    known = _known()
    now: dict[str, set[str]] = {}
    for one, _ in _loaded.values():
        now.setdefault(one.file, set()).add(one.sha256)
    for one in wanted:
        missing = [entry for entry in one.entries if entry not in known]
        name = shortened(one.file)
        if missing and one.file:
            raise QuestionError(
                f"{what} was searched with a plugin, {name}; name it again: --plugin FILE, or "
                "load_plugin(FILE)."
            )
        if missing:
            raise QuestionError(
                f"{what} was searched with entries of a script: {shortened(missing)}; add them "
                "again, or name a file that does: --plugin FILE."
            )
        if one.file in now and one.sha256 not in now[one.file]:
            raise QuestionError(
                f"the plugin {name} has changed since {what} was begun; name the file as it was."
            )


def _known() -> set[str]:
    return {str(one) for one in added()}


def _remove(entries: Iterable[Added]) -> None:
    for one in list(entries):
        table_of(one.kind).remove(one.name)
