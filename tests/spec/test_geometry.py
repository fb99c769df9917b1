"""Geometry: shape groups of unequal maps, and sizes that cannot be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenslora_search.spec.geometry import Geometry, Group
from tenslora_search.spec.table import QuestionError


def test_equal_maps_are_one_group():
    (group,) = Geometry.attention(
        hidden=12, heads=3, layers=2, projections=("query", "key", "value", "out")
    ).groups
    assert group == Group(("query", "key", "value", "out"), 12, 3, 4, 2, transposed=("out",))
    assert [
        group.size(axis) for axis in ("input", "output", "head", "head_dim", "projection", "layer")
    ] == [12, 12, 3, 4, 4, 2]


def test_grouped_query_attention_has_two_groups():
    geometry = Geometry.attention(hidden=12, heads=6, layers=2, kv_heads=2)
    assert [(group.projections, group.output) for group in geometry.groups] == [
        (("query",), 12),
        (("key", "value"), 4),
    ]


def test_heads_wider_than_the_model():
    (group,) = Geometry.attention(hidden=16, heads=4, layers=1, head_dim=8).groups
    assert (group.input, group.output) == (16, 32)


@given(data=st.data())
def test_json_there_and_back(data, geometries):
    geometry = data.draw(geometries)
    assert Geometry.from_json(json.loads(json.dumps(geometry.to_json()))) == geometry


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Geometry.attention(10, 3, 1), "10 features do not divide into 3 heads"),
        (lambda: Geometry.attention(12, 0, 1), "do not divide into 0 heads"),
        (
            lambda: Geometry.attention(12, 4, 1, kv_heads=3),
            "4 heads cannot share 3 key/value heads",
        ),
        (lambda: Geometry.attention(12, 4, 1, kv_heads=0), "cannot share 0"),
        (lambda: Geometry.attention(12, 4, 0), "layers of 1 or more; got 0"),
        (lambda: Geometry.attention(-12, 4, 2), "input of 1 or more; got -12"),
        (
            lambda: Geometry.attention(12, 4, 1, projections=("query", "gate")),
            "gate is a map of the MLP, whose width is not known; give inner (--inner)",
        ),
        (
            lambda: Geometry.attention(12, 4, 1, projections=("qeury",)),
            "no projection named 'qeury'. Did you mean 'query'?",
        ),
        (
            lambda: Geometry.attention(12, 4, 1, projections=("query", "query")),
            "different names; got query, query",
        ),
        (lambda: Geometry.from_json({"groups": [{"input": 3}]}), "no geometry of ours"),
    ],
)
def test_refused(call, message):
    with pytest.raises(QuestionError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["projections", "transposed"])
def test_names_in_json_are_texts(key):
    data = Geometry.attention(hidden=8, heads=2, layers=1).to_json()
    data["groups"][0][key] = [[]]
    with pytest.raises(QuestionError, match=f"{key} are names"):
        Geometry.from_json(data)
