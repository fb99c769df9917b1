"""DECOMPOSITIONS: the modes of a tensor -> factors with named axes. A name that is no mode is a
bond; its size is a rank.

Count and contraction follow from the names (`network.py`). One factor starts at zero, so every
update does too. Where the factors that hold the input's axes do not hold the output's, each update
is a low-rank pair.

Every function of the files of this folder that takes modes and returns a `Form` is an entry: files
by name, functions in the order in which they are written. The first form of the same factors wins
(`AdapterSpec.canonical`).
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import get_annotations, isfunction
from pkgutil import iter_modules

from tenslora_search.spec.form import Form
from tenslora_search.spec.table import Table


def _entries() -> Iterator[tuple[str, Callable[..., Form]]]:
    for name in sorted(one.name for one in iter_modules(__path__)):
        module = import_module(f"{__name__}.{name}")
        for key, value in vars(module).items():
            is_own = isfunction(value) and value.__module__ == module.__name__
            if is_own and get_annotations(value).get("return") is Form and key[0] != "_":
                yield key, value


DECOMPOSITIONS: Table[Callable[..., Form]] = Table("decomposition", dict(_entries()))
