"""checked(): a call that people make, whose arguments are checked by its annotations before it does
anything.
"""

import operator
import types
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from functools import cache, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin
from typing import get_type_hints as hints_of

from tenslora_search.spec.table import QuestionError, shortened, unknown

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Asked:
    """Put beside a field's annotation: the forms in which people may give it."""

    forms: Any


def checked(options: type | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The call, told by `QuestionError` of an argument of another type than its annotation, or of a
    name that it does not know. Numbers of other libraries are taken as Python's.

    What it takes as `**options` are fields of the dataclass `options`, or, in its `FORMERLY`, what
    they were called before.

    >>> @checked()
    ... def shout(text: str, times: int = 1) -> str:
    ...     return times * f"{text}!"
    >>> shout("so", times=2.5)
    Traceback (most recent call last):
    tenslora_search.spec.table.QuestionError: times is a whole number; got 2.5.
    """

    def of(call: Callable[P, R]) -> Callable[P, R]:
        @wraps(call)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            return cast(Any, call)(*_given(call, args), **_named(call, kwargs, options))

        return told

    return of


def settled(name: str, kind: Any, value: object) -> Any:
    """The value as its annotation has it; `QuestionError` for one of another type."""
    try:
        return _taken(kind, value)
    except TypeError:
        raise QuestionError(f"{name} is {_wanted(kind)}; got {shortened(value)}.") from None


def argument(call: Callable[..., object], name: str, value: object) -> Any:
    """The value as an argument of the call; `QuestionError` for one of another type."""
    return _of(signature(call).parameters[name], value)


@cache
def kinds_of(kind: type) -> Mapping[str, Any]:
    """What people may give for each field of a dataclass, by name."""
    hints = hints_of(kind, include_extras=True)
    known = {one.name: _asked(hints[one.name]) for one in fields(cast(Any, kind))}
    formerly: Mapping[str, str] = getattr(kind, "FORMERLY", {})
    return known | {name: known[now] for name, now in formerly.items()}


def _asked(kind: Any) -> Any:
    """An annotation, with the forms in which people may give it in their place."""
    if get_origin(kind) in (Union, types.UnionType):
        return Union[tuple(_asked(one) for one in get_args(kind))]  # noqa: UP007
    if get_origin(kind) is not Annotated:
        return kind
    plain, *more = get_args(kind)
    return next((one.forms for one in more if isinstance(one, Asked)), plain)


def _given(call: Callable[..., object], args: Sequence[object]) -> list[Any]:
    """Arguments without a name; those that the call does not take are its own to refuse."""
    known = list(signature(call).parameters.values())[: len(args)]
    if len(known) < len(args) or any(one.kind > one.POSITIONAL_OR_KEYWORD for one in known):
        return list(args)
    return [_of(one, value) for one, value in zip(known, args, strict=True)]


def _named(
    call: Callable[..., object],
    named: Mapping[str, object],
    options: type | None,
) -> dict[str, Any]:
    """Arguments by their names."""
    told: dict[str, Any] = {}
    every = signature(call).parameters
    own = {name: one for name, one in every.items() if one.kind != one.VAR_KEYWORD}
    more: Mapping[str, Any] = kinds_of(options) if options is not None else {}
    is_open = len(own) < len(every) and options is None
    for name, value in named.items():
        if name in own:
            told[name] = _of(own[name], value)
        elif name in more:
            told[name] = value if value is None else settled(name, more[name], value)
        elif is_open:
            told[name] = value
        else:
            raise QuestionError(unknown("option", name, [*own, *more]))
    return told


def _of(parameter: Parameter, value: object) -> Any:
    kind = parameter.annotation
    if kind is Parameter.empty or isinstance(kind, str):
        return value
    return settled(parameter.name, _asked(kind), value)


def _taken(kind: Any, value: object) -> Any:
    """The value as `kind` has it; `TypeError` if it is none of it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or ((kind is None or kind is type(None)) and value is None):
        return value
    if origin in (Union, types.UnionType):
        return _taken_of_several(arguments, value)
    if origin is Literal:
        return _confirmed(value, isinstance(value, str | int) and value in arguments)
    if origin is Annotated:
        return _taken(arguments[0], value)
    if origin is Callable:
        return _confirmed(value, callable(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _taken_of_mapping(arguments, value)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _taken_of_list(arguments, value)
    if kind in (int, float):
        return _number(kind, value)
    return _confirmed(value, isinstance(value, cast(type, kind)))


def _number(kind: Any, value: object) -> Any:
    """numpy's and torch's too; neither a text nor a bool."""
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    if isinstance(value, bool | str | bytes) or "bool" in str(getattr(value, "dtype", "")):
        raise TypeError
    try:
        return operator.index(cast(Any, value)) if kind is int else float(cast(Any, value))
    except (ValueError, RuntimeError, OverflowError):
        raise TypeError from None


def _confirmed(value: object, is_right: bool) -> Any:
    if not is_right:
        raise TypeError
    return value


def _taken_of_several(kinds: tuple[Any, ...], value: object) -> Any:
    exact = [one for one in kinds if isinstance(one, type) and type(value) is one]
    for kind in (*exact, *kinds):  # of `float | int` a whole number stays one
        try:
            return _taken(kind, value)
        except TypeError:
            continue
    raise TypeError


def _taken_of_list(arguments: tuple[Any, ...], value: object) -> Any:
    """A list, a tuple or an array; of a text the characters would be taken, and sets have no
    order.
    """
    if isinstance(value, str | bytes | Mapping | Set) or not hasattr(value, "__len__"):
        raise TypeError
    every = list(cast("Sequence[object]", value))
    is_fixed = len(arguments) > 1 and arguments[1] is not Ellipsis
    kinds = arguments if is_fixed else (arguments or (Any,))[:1] * len(every)
    if len(kinds) != len(every):
        raise TypeError
    taken = [_taken(kind, one) for kind, one in zip(kinds, every, strict=True)]
    return taken if isinstance(value, list) else tuple(taken)


def _taken_of_mapping(arguments: tuple[Any, ...], value: object) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError
    every = cast("Mapping[object, object]", value).items()
    return {_taken(arguments[0], name): _taken(arguments[1], one) for name, one in every}


PLAIN: Mapping[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("True or False", "True or False"),
    type(None): ("None", "None"),
    Any: ("anything", "anything"),
}


def _wanted(kind: Any, *, many: bool = False) -> str:
    """What an annotation wants, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        every = list(dict.fromkeys(_wanted(one, many=many) for one in arguments))
        return " or ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is Annotated:
        return _wanted(arguments[0], many=many)
    if origin is Callable:
        return "functions" if many else "a function"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        of = f" from {_wanted(arguments[0], many=True)} to {_wanted(arguments[1], many=True)}"
        return ("mappings" if many else "a mapping") + of
    if isinstance(origin, type) and issubclass(origin, Sequence):
        is_any = not arguments or arguments[0] is Any
        of = "" if is_any else f" of {_wanted(arguments[0], many=True)}"
        return ("lists" if many else "a list") + of
    if kind in PLAIN:
        return PLAIN[kind][many]
    name: str = "path" if kind is Path else kind.__name__
    return f"{name}s" if many else f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
