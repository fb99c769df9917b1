"""Table: the entries of one kind of choice by name, and QuestionError, the one way to say that a
question is wrong.
"""

import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

from tenslora_search.spec.homes import HOMES

Entry = TypeVar("Entry", covariant=True)


class QuestionError(ValueError):
    """What was asked cannot be done as asked; the message is one line: what was asked, what was
    found, what would work.

    >>> AdapterSpec.of("none", "tuker", 2, geometry)
    Traceback (most recent call last):
    tenslora_search.spec.table.QuestionError: no decomposition named 'tuker'. Did you mean ...
    """

    exit_code = 2


class NothingFitsError(QuestionError):
    """No configuration fits the budget; the message names the smallest that would.

    >>> search("digits", budget=10, **quick)
    Traceback (most recent call last):
    tenslora_search.spec.table.NothingFitsError: ...
    """

    exit_code = 3


class Table(Mapping[str, Entry]):
    """Entries by name, in the order listed.

    A wrong name raises `QuestionError` with the nearest right one:
    `no decomposition named 'tuker'. Did you mean 'tucker'? Known: cp, tucker, tensor_train.`

    An entry that is a function has its own name, unless the table is made with `renamed`, and says
    in a docstring what it does, unless it is made with `undocumented`: `QuestionError` otherwise.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, Entry],
        *,
        renamed: bool = False,
        undocumented: bool = False,
    ) -> None:
        self.kind = kind
        self._renamed = renamed
        self._undocumented = undocumented
        self._entries: dict[str, Entry] = {}
        self.added: dict[str, Entry] = {}
        """entries from outside"""
        for name, entry in entries.items():
            self._put(name, entry)

    def add(self, name: str, entry: Any) -> None:
        """One entry more, from a script or a plugin, as good as those of the package.

        `QuestionError` if the name is taken, or the entry is a function of another name or without
        a docstring.

        >>> table = Table("colour", {"red": "like a rose"})
        >>> table.add("blue", "like the sky")
        >>> list(table)
        ['red', 'blue']
        """
        self._put(name, entry)
        self.added[name] = entry

    def remove(self, name: str) -> None:
        """Takes out an entry that was added from outside; those of the package stay."""
        del self.added[name], self._entries[name]

    def _put(self, name: str, entry: Any) -> None:
        function: object = entry
        if not name or not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise QuestionError(f"a {self.kind} needs a name; got {shortened(name)}.")
        if name in self._entries:
            raise QuestionError(f"there is a {self.kind} named {name!r} already.")
        if isinstance(function, FunctionType):
            is_told = self._undocumented or sys.flags.optimize > 1  # -OO leaves docstrings out
            if not is_told and not (function.__doc__ or "").strip():
                raise QuestionError(f"{self.kind} {name} has no docstring that says what it does.")
            if function.__name__ != name and not self._renamed:
                raise QuestionError(
                    f"a {self.kind} has its function's name, {function.__name__}; got {name!r}."
                )
        self._entries[name] = cast(Entry, entry)

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise QuestionError(unknown(self.kind, name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def unknown(
    kind: str, name: object, known: Mapping[str, object] | list[str] | tuple[str, ...]
) -> str:
    """The line that says a name is not among the known ones, with the nearest of them."""
    nearest = get_close_matches(str(name), known, n=1, cutoff=0.6)
    return named_wrong(kind, name, known, nearest[0] if nearest else "")


def named_wrong(
    kind: str, name: object, known: Mapping[str, object] | list[str] | tuple[str, ...], nearest: str
) -> str:
    """As `unknown`, of the nearest name; where none is near, and the kind takes entries from
    outside, a plugin may be what is missing.
    """
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    own = " One of your own needs its --plugin FILE.py." if not nearest and kind in HOMES else ""
    found = shortened(str(name))
    return f"no {kind} named {found}.{hint} Known: {', '.join(known) or 'none'}.{own}"


def shortened(value: object, most: int = 80) -> str:
    """A value as it stands in a message: one line, of `most` characters."""
    try:
        text = value if isinstance(value, Path) else repr(value)
    except (ValueError, RecursionError):  # of a whole number of thousands of digits
        return f"a {type(value).__name__} too long to write"
    text = " ".join(str(text).split())
    return text if len(text) <= most else f"{text[:most]}..."
