"""Knobs: whole numbers stay whole, and annotations count however they are written."""

import typing
from typing import Annotated

import pytest

from tenslora_search.spec.form import Rule
from tenslora_search.spec.knobs import Choice, Knob, Range, knobs, options
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.space_file import declared


def stepped(*, steps: Annotated[int, Range(1, 8)] = 2, by: Annotated[float, Range(0, 9)] = 1.5):
    """A whole number and another."""
    return Rule()


def from_zero(*, xi: Annotated[float, Range(0.0, 1.0, log=True)] = 0.5) -> Rule:
    """A logarithmic scale that begins at 0."""
    return Rule()


def backwards(*, xi: Annotated[float, Range(1.0, 0.1)] = 0.5) -> Rule:
    """A range whose ends are exchanged."""
    return Rule()


def of_text(
    *,
    one: "typing.Annotated[float, Range(0.0, 1.0)]" = 0.5,
    two: "Annotated[str, Choice(('a', 'b'))]" = "a",
    three: "float" = 1.0,
):
    """As in a file with `from __future__ import annotations`."""


@pytest.fixture
def space_with(tmp_path):
    """What a space says that names a rule from outside, and sets what it is told to."""
    before = set(RULES.added)

    def space(entry, more: str = ""):
        RULES.add(entry.__name__, entry)
        path = tmp_path / "mine.toml"
        path.write_text(f'rule = "{entry.__name__}"\n{more}\n')
        return declared(path)

    yield space
    for name in set(RULES.added) - before:
        RULES.remove(name)


@pytest.mark.parametrize("given", [3, 3.0])
def test_a_whole_number_may_be_written_as_another(given):
    found = dict(options("rule stepped", stepped, {"steps": given}))
    assert found == {"steps": 3, "by": 1.5}
    assert type(found["steps"]) is int


def test_a_fraction_is_no_whole_number():
    with pytest.raises(QuestionError) as raised:
        options("rule stepped", stepped, {"steps": 2.7})
    assert str(raised.value) == ("rule stepped.steps is a whole number, as its default 2; got 2.7.")
    assert dict(options("rule stepped", stepped, {"by": 2.7}))["by"] == 2.7


@pytest.mark.parametrize("said", ["2.7", "[1, 2.7]"])
def test_a_space_says_no_fraction_of_a_whole_number(space_with, said):
    with pytest.raises(QuestionError, match=r"stepped\.steps is a whole number") as raised:
        space_with(stepped, f"stepped.steps = {said}")
    assert "\n" not in str(raised.value)


def test_a_space_says_whole_numbers_and_ranges_of_them(space_with):
    assert space_with(stepped, "stepped.steps = [1, 2.0]").parameters["stepped.steps"] == Choice(
        (1, 2)
    )


def test_a_range_of_the_entry_itself_is_taken(space_with):
    assert space_with(stepped).parameters["stepped.steps"] == Range(1, 8)


@pytest.mark.parametrize("entry", [from_zero, backwards])
def test_a_range_of_the_entry_itself_is_checked(space_with, entry):
    with pytest.raises(QuestionError, match=rf"{entry.__name__}\.xi") as raised:
        space_with(entry)
    assert "\n" not in str(raised.value)


def test_annotations_as_text():
    assert knobs(of_text) == (
        Knob("one", Range(0.0, 1.0), 0.5),
        Knob("two", Choice(("a", "b")), "a"),
    )


@pytest.mark.parametrize(
    "text",
    ["typing.Annotated[float, Rang(0.0)]", "Annotated[float, Range()]", "Annotated[float,, 1]"],
)
def test_an_annotation_that_means_nothing_is_one_line(text):
    def entry(*, one=0.5): ...

    entry.__annotations__["one"] = text
    with pytest.raises(QuestionError, match="the knob ") as raised:
        knobs(entry)
    assert "\n" not in str(raised.value)
