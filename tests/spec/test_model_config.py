"""A size in a model's config that is none is one line with file, field and value."""

import json

import pytest

from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.model_config import check_config, read_config, read_own_config
from tenslora_search.spec.table import QuestionError

GOOD = {
    "model_type": "t5", "d_model": 32, "num_heads": 4, "num_layers": 2, "d_kv": 8,
    "num_decoder_layers": 2,
}  # fmt: skip
VALUES = ["4", None, [4], {"a": 4}, True, 4.5, -1, 0, 10**400, float("nan")]


@pytest.mark.parametrize("key", [name for name in GOOD if name != "model_type"])
@pytest.mark.parametrize("value", [value for value in VALUES if value is not None])
def test_a_size_that_is_none(tmp_path, key, value):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GOOD | {key: value}))
    with pytest.raises(
        QuestionError, match=rf"config\.json.*: {key} is .*; wanted a whole"
    ) as error:
        geometry_of_model(str(tmp_path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "is no model's config: it holds a list, not names and values"),
        ('"bert"', 'is no model\'s config: it holds "bert"'),
        ('{"model_type": ["bert"]}', "model_type is a list; wanted text"),
        ("[" * 100_000, "cannot be read as a model's config"),
        ("{", "cannot be read as a model's config"),
        ("\0", "cannot be read as a model's config"),
    ],
)
def test_what_is_no_config(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(QuestionError, match=message):
        read_own_config(tmp_path / "config.json")


def test_sizes_under_any_of_their_names():
    check_config(GOOD, "mine")
    found = read_config(GOOD)
    assert (found["hidden"], found["heads"], found["layers"], found["head_dim"]) == (32, 4, 2, 8)
    with pytest.raises(QuestionError, match="mine does not say heads and layers"):
        read_config({"hidden_size": 4}, "mine")
