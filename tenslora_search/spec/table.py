"""Table: the entries of one kind of choice by name, and QuestionError, the one way to say that a
question is wrong.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar

Entry = TypeVar("Entry", covariant=True)


class QuestionError(ValueError):
    """What was asked cannot be done as asked; the message is one line: what was asked, what was
    found, what would work.
    """

    exit_code = 2


class NothingFitsError(QuestionError):
    """No configuration fits the budget; the message names the smallest that would."""

    exit_code = 3


class Table(Mapping[str, Entry]):
    """Entries by name, in the order listed.

    A wrong name raises `QuestionError` with the nearest right one:
    `no decomposition named 'tuker'. Did you mean 'tucker'? Known: cp, tucker, tensor_train.`
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self._entries = dict(entries)

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
    nearest = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"no {kind} named {str(name)!r}.{hint} Known: {', '.join(known)}."
