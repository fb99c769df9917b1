"""Tables: in order, and helpful about wrong names; every table of the specs."""

import pytest

from tenslora_search.spec.adapter import HEAD_LAYOUTS
from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.backbones import BACKBONES
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.families import FAMILIES
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.table import NothingFitsError, QuestionError, Table, shortened
from tenslora_search.spec.tasks import TASKS

TABLES = (
    ALLOCATORS,
    BACKBONES,
    CONSTRUCTIONS,
    DECOMPOSITIONS,
    FAMILIES,
    HEAD_LAYOUTS,
    MAPS,
    METHODS,
    RULES,
    SCALES,
    SITES,
    TASKS,
)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_a_slip_of_the_pen_finds_the_right_name(table):
    for name in table:
        with pytest.raises(QuestionError) as error:
            table[name + "~"]
        assert str(error.value).startswith(f"no {table.kind} named '{name}~'. Did you mean ")
        assert str(error.value).endswith(f"Known: {', '.join(table)}.")


def test_a_table_is_a_mapping_in_order():
    table = Table("colour", {"red": 1, "blue": 2})
    assert list(table) == ["red", "blue"]
    assert (len(table), table["blue"], "green" in table) == (2, 2, False)
    with pytest.raises(QuestionError) as error:
        table["zzz"]
    assert str(error.value) == "no colour named 'zzz'. Known: red, blue."


def test_what_nobody_knows_may_be_of_a_plugin():
    with pytest.raises(QuestionError, match=r"Known: .* One of your own needs its --plugin"):
        TASKS["zzzzzz"]


def test_exit_codes():
    assert (QuestionError.exit_code, NothingFitsError.exit_code) == (2, 3)
    assert issubclass(NothingFitsError, QuestionError)
    assert issubclass(QuestionError, ValueError)


def test_an_entry_more():
    table = Table("colour", {"red": 1})
    table.add("blue", 2)
    assert list(table) == ["red", "blue"]
    with pytest.raises(QuestionError, match="there is a colour named 'red' already"):
        table.add("red", 3)


def test_a_table_checks_its_functions():
    def red():
        """Like a rose."""

    def blue():
        pass

    assert Table("colour", {"red": red})["red"] is red
    assert list(Table("colour", {"rose": red}, renamed=True)) == ["rose"]
    with pytest.raises(QuestionError, match="a colour has its function's name, red; got 'rose'"):
        Table("colour", {"rose": red})
    with pytest.raises(QuestionError, match="colour blue has no docstring"):
        Table("colour", {"blue": blue})


@pytest.mark.parametrize(
    "value",
    ["x" * 5000, 16**5000, ["x"] * 5000, "two\nlines"],
    ids=("text", "int", "list", "lines"),
)
def test_a_value_in_a_message_is_one_short_line(value):
    line = shortened(value)
    assert len(line) < 90
    assert "\n" not in line
