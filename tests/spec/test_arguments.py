"""Arguments of what people call: of another type than the annotation, one line says so."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import tenslora_search
from tenslora_search.runs.question import Question
from tenslora_search.spec.arguments import checked, kinds_of, settled
from tenslora_search.spec.table import QuestionError


class Odd:
    """Of no type that anything takes."""


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (int, 2.0, "a whole number"),
        (int, True, "a whole number"),
        (float, "3", "a number"),
        (bool, 1, "True or False"),
        (str | Path, b"x", "a text or a path"),
        (str | int | None, [], "a text, a whole number or None"),
        (Sequence[str], "mlflow", "a list of texts"),
        (Sequence[str | Path], [3], "a list of texts or paths"),
        (Sequence[Any], len, "a list"),
        (Mapping[str, str], [("a", "b")], "a mapping from texts to texts"),
        (Callable[[int], int], 3, "a function"),
        (Literal["a", "b"], "c", "'a' or 'b'"),
        (torch.nn.Module, 3, "a Module"),
    ],
)
def test_a_wrong_type_is_one_line(kind, value, wanted):
    with pytest.raises(QuestionError) as error:
        settled("size", kind, value)
    assert str(error.value).startswith(f"size is {wanted}; got ")
    assert "\n" not in str(error.value)


def test_numbers_of_other_libraries_are_numbers():
    for one in (np.int64(3), torch.tensor(3)):
        assert type(settled("size", int | None, one)) is int
    for one in (np.float32(0.5), torch.tensor(0.5), 1):
        assert type(settled("size", float, one)) is float or one == 1
    assert settled("ranks", Sequence[int], np.array([2, 3])) == (2, 3)
    assert settled("knobs", tuple[tuple[str, float], ...], (("a", 0.5),)) == (("a", 0.5),)


def test_an_unknown_name_is_one_line_and_a_missing_one_is_pythons_own():
    @checked()
    def shout(text: str, *, times: int = 1) -> str:
        return text * times

    assert shout("a", times=np.int64(2)) == "aa"
    with pytest.raises(QuestionError, match=r"no option named 'tmes'\. Did you mean 'times'"):
        shout("a", tmes=2)
    for wrong in ((), ("a", 2, 3)):
        with pytest.raises(TypeError, match=r"shout\(\)"):
            shout(*wrong)


CALLS = [
    one
    for name in tenslora_search.__all__
    if hasattr(one := getattr(tenslora_search, name), "__wrapped__")
]


def test_public_calls_are_checked():
    every = [getattr(tenslora_search, name) for name in tenslora_search.__all__]
    assert [one.__name__ for one in every if not isinstance(one, type)] == [
        one.__name__ for one in CALLS
    ]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_every_argument_of_a_public_call_is_checked(call):
    names = [one.name for one in signature(call).parameters.values() if one.kind != one.VAR_KEYWORD]
    for name in [
        *names,
        *(kinds_of(Question) if len(names) < len(signature(call).parameters) else ()),
    ]:
        with pytest.raises(QuestionError, match=f"^{name} is .*; got .*Odd object"):
            call(**{name: Odd()})
