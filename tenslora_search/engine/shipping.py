"""Shipping: entries from outside as bytes, from the driver of a search to Ray's workers."""

import hashlib
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

from tenslora_search.engine.source import one_line
from tenslora_search.spec.plugins import OF_DRIVER, Added, add_again, added
from tenslora_search.spec.table import QuestionError

OURS = __name__.partition(".")[0]


def shipped() -> bytes:
    """The entries that workers need, by value: functions of a plugin, of a script and of modules
    that lie beside it go with all that they call.

    `QuestionError` for one that cannot go, such as one that holds an open file.
    """
    from ray import cloudpickle

    entries = [one for one in added() if one.kind not in OF_DRIVER]
    with _by_value():
        for one in entries:
            _checked(one)
        if not entries:
            return b""
        return cloudpickle.dumps(entries)  # pyright: ignore[reportPrivateImportUsage]


def receive(entries: bytes) -> None:
    """Adds what `shipped` made to the tables of this process, once."""
    if entries and _last != [hashlib.sha256(entries).digest()]:
        from ray import cloudpickle

        add_again(cloudpickle.loads(entries))
        _last[:] = [hashlib.sha256(entries).digest()]


_last: list[bytes] = []
"""The digest of what was received."""


def _checked(one: Added) -> None:
    from ray import cloudpickle

    try:
        cloudpickle.dumps(one)  # pyright: ignore[reportPrivateImportUsage]
    except Exception as error:
        raise QuestionError(f"{one} cannot go to Ray's workers: {one_line(error)}") from error


@contextmanager
def _by_value() -> Iterator[None]:
    """Meanwhile what the user's own modules hold is pickled whole: workers have no such files."""
    from ray import cloudpickle

    own = [module for module in list(sys.modules.values()) if is_own(module)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def is_own(module: ModuleType) -> bool:
    """Whether a module is the user's: a file that is neither ours nor of an installed package."""
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if not file or name == "__main__" or sys.modules.get(name) is not module:
        return False
    top = name.partition(".")[0]
    if top == OURS or top in sys.stdlib_module_names or top in _installed():
        return False
    return not any(Path(file).is_relative_to(folder) for folder in _folders())


@cache
def _installed() -> frozenset[str]:
    return frozenset(packages_distributions())


@cache
def _folders() -> frozenset[str]:
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return frozenset({*found, *site.getsitepackages(), site.getusersitepackages()})
