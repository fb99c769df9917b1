"""record_of(): a dataclass made of JSON, each field checked by its annotation; FieldError names the
field that is wrong.

What a run folder holds was written by anybody: it is read through the types of `events.py`,
`run_file.py` and `question.py` alone, and every value has the type that they say. Fields that a
type does not have are ignored; missing ones take its default.
"""

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from tenslora_search.spec.table import QuestionError

Record = TypeVar("Record")

LONGEST_NAME = 1_000
"""Characters of a name or a path."""
LONGEST_TEXT = 100_000_000
"""Characters of any other text; a report cuts what is too long to show."""
LARGEST = 2**63
DEEPEST = 20
"""Levels of lists and objects in a value of any kind."""


class FieldError(ValueError):
    """A field holds what it cannot hold."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"field {field}: {problem}" if field else problem)
        self.field, self.problem = field, problem


@dataclass(frozen=True, slots=True)
class Check:
    """Put beside an annotation: `accepts` says whether a value will do, `wanted` what would."""

    wanted: str
    accepts: Callable[[Any], bool]


def _leads_inside(text: str) -> bool:
    path = PurePosixPath(text)
    plain = "\0" not in text and "\\" not in text and not path.is_absolute()
    return plain and ".." not in path.parts


NAME = Check(
    f"a text of at most {LONGEST_NAME:,} characters", lambda text: len(text) <= LONGEST_NAME
)
Name = Annotated[str, NAME]
Number = Annotated[int, Check("0 or more", lambda number: number >= 0)]
Count = Annotated[int, Check("1 or more", lambda number: number >= 1)]
Seconds = Annotated[float, Check("0 or more", lambda number: number >= 0)]
Three = Annotated[tuple[Number, ...], Check("three numbers", lambda one: len(one) == 3)]
ByClass = tuple[Three, ...]
"""By class or label: rows of it that were found, rows that were given it, rows that have it."""
INNER = Check("a path within the run folder, such as states/3-160.safetensors", _leads_inside)
InnerPath = Annotated[str, NAME, INNER]
"""Relative, without `..`; "" where there is no file."""


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text; `FieldError` for one that is none, NaN and infinities included."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise FieldError("", "its lists and objects are nested too deep") from None
    except ValueError as error:
        raise FieldError("", str(error)) from None


def record_of(kind: type[Record], data: object, field: str = "") -> Record:
    """A dataclass of JSON's object; `FieldError` for the first field that is missing or wrong."""
    given = _of_mapping(Any, data, field)
    found: dict[str, Any] = {}
    for name, annotation, is_needed in _fields_of(kind):
        place = f"{field}.{name}" if field else name
        if name in given:
            found[name] = value_of(annotation, given[name], place)
        elif is_needed:
            raise FieldError(place, "it is missing")
    try:
        return kind(**found)
    except QuestionError as error:
        raise FieldError(field, str(error)) from error


def value_of(annotation: Any, value: object, field: str) -> Any:
    """The value as the annotation has it (lists as tuples, whole numbers as fractions where those
    are meant).
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        found = value_of(arguments[0], value, field)
        for check in arguments[1:]:
            if isinstance(check, Check) and not check.accepts(found):
                raise wrong(field, check.wanted, value)
        return found
    if origin is Union or origin is types.UnionType:
        return _of_union(arguments, value, field)
    if origin is Literal:
        if value not in arguments:
            raise wrong(field, " or ".join(map(str, arguments)), value)
        return value
    if origin is tuple:
        return _of_tuple(arguments, value, field)
    if origin is not None and issubclass(cast(type, origin), Mapping):
        return _of_mapping(arguments[1], value, field)
    if is_dataclass(annotation):
        return _of_class(cast(type, annotation), value, field)
    return value_of_plain(annotation, value, field)


def value_of_plain(kind: Any, value: object, field: str) -> Any:
    """A text, number, yes or no, nothing; of `Any` whatever JSON has."""
    if kind is Any:
        return _of_any(value, field, DEEPEST)
    if kind is type(None) and value is None:
        return None
    if kind is bool and isinstance(value, bool):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and isinstance(value, int) and is_number and abs(value) < LARGEST:
        return value
    if kind is float and is_number and abs(cast(float, value)) < LARGEST:
        return float(cast(float, value))
    if kind is str and isinstance(value, str) and len(value) <= LONGEST_TEXT:
        return value
    raise wrong(field, WANTED.get(kind, str(kind)), value)


WANTED: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def wrong(field: str, wanted: str, value: object) -> FieldError:
    """The error that says what a field needs and what was found."""
    return FieldError(field, f"{wanted} is needed; found {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, int) and abs(value) >= LARGEST:
        return "a number too large"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


@cache
def _fields_of(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    """(name, annotation, whether it must be given) of a dataclass's fields."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (
            one.name,
            hints[one.name],
            one.default is MISSING and one.default_factory is MISSING,
        )
        for one in fields(cast(Any, kind))
        if one.init
    )


def _of_union(kinds: tuple[Any, ...], value: object, field: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors: list[FieldError] = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return value_of(kind, value, field)
        except FieldError as error:
            errors.append(error)
    raise errors[0]


def _of_tuple(arguments: tuple[Any, ...], value: object, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise wrong(field, "a list", value)
    items = cast("list[object]", value)
    return tuple(value_of(arguments[0], one, f"{field}[{k}]") for k, one in enumerate(items))


def _of_mapping(kind: Any, value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(field, "an object", value)
    items = cast("Mapping[str, object]", value)
    if kind is Any and not field:
        return dict(items)
    return {
        value_of(Name, name, field): value_of(kind, one, f"{field}.{name[:40]}")
        for name, one in items.items()
    }


def _of_class(kind: type[Any], value: object, field: str) -> Any:
    """By its own `from_json` where it has one: what that raises is the field's fault."""
    make: Callable[[object], Any] | None = getattr(kind, "from_json", None)
    if make is None:
        return record_of(kind, value, field)
    _of_any(value, field, DEEPEST)
    try:
        return _confirmed(make(value), field)
    except FieldError as error:
        raise FieldError(f"{field}.{error.field}", error.problem) from error
    except QuestionError as error:
        raise FieldError(field, str(error)) from error
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
        raise FieldError(field, f"{type(error).__name__}: {error}") from error


def _confirmed(made: object, field: str) -> Any:
    """What a `from_json` made, if texts and numbers stand where its annotations say so."""
    for name, annotation, _ in _fields_of(type(made)):
        place, value = f"{field}.{name}", getattr(made, name)
        kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if kind in WANTED:
            value_of_plain(kind, value, place)
        parts = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
        for one in parts:
            if is_dataclass(one):
                _confirmed(one, place)
    return cast(Any, made)


def _of_any(value: object, field: str, depth: int) -> Any:
    if isinstance(value, list | tuple | Mapping) and depth == 0:
        raise FieldError(field, "its lists and objects are nested too deep")
    if isinstance(value, Mapping):
        for name, one in cast("Mapping[str, object]", value).items():
            _of_any(one, f"{field}.{value_of(Name, name, field)[:40]}", depth - 1)
    elif isinstance(value, list | tuple):
        for k, one in enumerate(cast("list[object]", value)):
            _of_any(one, f"{field}[{k}]", depth - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise wrong(field, "a finite number", str(value))
    elif value is not None and not isinstance(value, bool):
        value_of_plain(type(value), value, field)
    return cast(Any, value)
