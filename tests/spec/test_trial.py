"""TrialSpec: JSON there and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec

LORA = AdapterSpec.of("none", "cp", (2,), Geometry.attention(12, 3, 2))
RATES = st.floats(1e-9, 1, allow_nan=False)


def through_json(data):
    return json.loads(json.dumps(data))


@given(rate=RATES, head=RATES, decay=RATES, seed=st.integers(0, 2**63))
def test_trial_there_and_back(rate, head, decay, seed):
    spec = TrialSpec(LORA, rate, head, weight_decay=decay, rule="lora_plus", seed=seed)
    assert TrialSpec.from_json(through_json(spec.to_json())) == spec


def test_refused():
    data = TrialSpec(LORA, 1e-3, 1e-4).to_json()
    with pytest.raises(QuestionError, match="no trial of ours: colour is missing or unknown"):
        TrialSpec.from_json({**data, "colour": 1})
    with pytest.raises(QuestionError, match="no construction named"):
        TrialSpec.from_json({**data, "adapter": {**data["adapter"], "construction": "nope"}})


def test_json_of_before_there_were_maps_knobs_and_allocators():
    """What says nothing of them writes nothing of them, and is read as before."""
    spec = TrialSpec(LORA, 1e-3, 1e-4)
    data = through_json(spec.to_json())
    assert list(data) == [
        "adapter", "learning_rate", "head_learning_rate", "weight_decay", "clip", "warmup", "rule",
        "seed",
    ]  # fmt: skip
    assert not {"options", "after"} & set(data["adapter"])
    assert data["rule"] == "plain"
    assert TrialSpec.from_json(data) == spec


def test_json_with_a_map_and_an_allocator():
    adapter = AdapterSpec.of("none", "cp", (2,), LORA.geometry, after="sinter")
    spec = TrialSpec(adapter, 1e-3, 1e-4, allocator={"name": "ramp", "ratio": 2.0})
    data = through_json(spec.to_json())
    assert data["adapter"]["after"] == {"name": "sinter", "amplitude": 5e-5, "frequency": 1e4}
    assert data["allocator"] == {"name": "ramp", "ratio": 2.0}
    assert TrialSpec.from_json(data) == spec


def test_columns_name_every_field_and_knob():
    adapter = AdapterSpec.of("none", "cp", (2,), LORA.geometry, after="sinter")
    columns = TrialSpec(adapter, 1e-3, 1e-4, rule="lora_plus").columns()
    assert columns["map"] == "sinter"
    assert columns["sinter.amplitude"] == 5e-5
    assert columns["rule"] == "lora_plus"
    assert columns["sites"] == "query key value"
    assert set(TrialSpec.__slots__) - {"adapter"} <= set(columns)


def test_a_wrong_rule_is_refused():
    with pytest.raises(QuestionError, match="no rule named 'chain'"):
        TrialSpec(LORA, 1e-3, 1e-4, rule="chain")
