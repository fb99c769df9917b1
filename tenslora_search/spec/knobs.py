"""Knobs: an entry's keyword parameters, annotated with what they may be, are its part of the space.

    def gate(*, xi: Annotated[float, Range(1e-5, 1e-2, log=True)] = 3e-4) -> Rule: ...

A space that names `gate` gains the parameter `gate.xi`; `Named("gate", (("xi", 3e-4),))` is the
entry with its knobs set. typer reads options off annotations in the same way.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any, NamedTuple

from tenslora_search.spec.table import QuestionError, unknown

Value = float | int | str | bool
Options = tuple[tuple[str, Value], ...]
"""Every knob of an entry and its value, sorted by name."""


class Choice(NamedTuple):
    """A parameter that takes one of some values."""

    values: tuple[Any, ...]


class Range(NamedTuple):
    """A parameter between two numbers, on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


class Knob(NamedTuple):
    """One keyword parameter of an entry: what a space may draw it from, and its value where it is
    left out.
    """

    name: str
    among: Choice | Range
    default: Value


@cache
def knobs(entry: Callable[..., object]) -> tuple[Knob, ...]:
    """The knobs of an entry of a table, in the order of its signature."""
    return tuple(_knobs(entry))


def options(what: str, entry: Callable[..., object], given: Mapping[str, Any]) -> Options:
    """The knobs of an entry, those that are not `given` at their defaults.

    `QuestionError` for a name that is no knob of it, or for a value of another kind or outside its
    range; `what` names the entry in the message: "rule gate".
    """
    found = {knob.name: knob for knob in knobs(entry)}
    for name in given:
        if name not in found:
            raise QuestionError(f"{what}: {unknown('knob', name, tuple(found))}")
    values = {
        name: _checked(f"{what}.{name}", knob, given.get(name, knob.default))
        for name, knob in found.items()
    }
    return tuple(sorted(values.items()))


@dataclass(frozen=True, slots=True)
class Named:
    """An entry of a table by its name, with its knobs set: `gate(xi=0.0003)`.

    In JSON it is the name alone where it has no knobs, else `{"name": ..., KNOB: VALUE, ...}`.
    """

    name: str
    options: Options = ()

    @classmethod
    def of(
        cls, table: Mapping[str, Callable[..., object]], said: "str | Mapping[str, Any] | Named"
    ) -> "Named":
        """The entry that JSON or a user names, checked against its table, all its knobs set."""
        if isinstance(said, Named):
            said = {"name": said.name, **dict(said.options)}
        given = {"name": said} if isinstance(said, str) else dict(said)
        name = str(given.pop("name", ""))
        return cls(name, options(f"{getattr(table, 'kind', 'entry')} {name}", table[name], given))

    def make(self, table: Mapping[str, Callable[..., Any]], *arguments: Any) -> Any:
        """What the entry returns for these arguments and its knobs."""
        return table[self.name](*arguments, **dict(self.options))

    def to_json(self) -> str | dict[str, Value]:
        return {"name": self.name, **dict(self.options)} if self.options else self.name

    def __str__(self) -> str:
        if not self.options:
            return self.name
        set_to = (
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.options
        )
        return f"{self.name}({', '.join(set_to)})"


def _knobs(entry: Callable[..., object]) -> Iterator[Knob]:
    for name, parameter in signature(entry).parameters.items():
        for note in getattr(_annotation(entry, parameter.annotation), "__metadata__", ()):
            if isinstance(note, Choice | Range):
                yield Knob(name, note, parameter.default)


def _annotation(entry: Callable[..., object], annotation: object) -> object:
    """As it stands; of a file with `from __future__ import annotations`, what its text means."""
    if not isinstance(annotation, str) or "Annotated[" not in annotation:
        return annotation
    try:
        return eval(annotation, getattr(entry, "__globals__", {}))
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise QuestionError(f"the knob {annotation}: {error}.") from error


def check_whole(what: str, knob: Knob, value: object) -> None:
    """`QuestionError` for a fraction where the knob's default is a whole number; 2.0 is none."""
    is_fraction = isinstance(value, float) and not value.is_integer()
    if isinstance(knob.default, int) and is_fraction:
        raise QuestionError(
            f"{what} is a whole number, as its default {knob.default}; got {value:g}."
        )


def _checked(what: str, knob: Knob, value: Any) -> Value:
    if isinstance(knob.among, Choice):
        if value not in knob.among.values:
            known = ", ".join(map(str, knob.among.values))
            raise QuestionError(f"{what} is one of {known}; got {value!r}.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise QuestionError(f"{what} is a number; got {value!r}.")
    low, high = knob.among.low, knob.among.high
    if value != knob.default and not low <= value <= high:
        raise QuestionError(f"{what} is between {low:g} and {high:g}; got {value:g}.")
    check_whole(what, knob, value)
    return type(knob.default)(value) if not isinstance(knob.default, str) else value
