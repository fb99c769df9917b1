"""Tables: in order, and helpful about wrong names; every table of the specs."""

import pytest

from tenslora_search.spec.adapter import HEAD_LAYOUTS
from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.backbones import BACKBONES
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.families import FAMILIES
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.table import NothingFitsError, QuestionError, Table
from tenslora_search.spec.tasks import TASKS

TABLES = (
    ALLOCATORS,
    BACKBONES,
    CONSTRUCTIONS,
    DECOMPOSITIONS,
    FAMILIES,
    HEAD_LAYOUTS,
    METHODS,
    SCALES,
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


def test_exit_codes():
    assert (QuestionError.exit_code, NothingFitsError.exit_code) == (2, 3)
    assert issubclass(NothingFitsError, QuestionError)
    assert issubclass(QuestionError, ValueError)


def test_methods_are_points_of_the_grid():
    for method in METHODS.values():
        assert method.construction in CONSTRUCTIONS
        assert method.decomposition in DECOMPOSITIONS
    assert len({method[:2] for method in METHODS.values()}) == len(METHODS)
