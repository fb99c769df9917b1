"""TrialSpec, TrialResult and Segment: JSON there and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import Segment, TrialResult, TrialSpec

LORA = AdapterSpec.of("none", "cp", (2,), Geometry.attention(12, 3, 2))
RATES = st.floats(1e-9, 1, allow_nan=False)


def through_json(data):
    return json.loads(json.dumps(data))


@given(rate=RATES, head=RATES, decay=RATES, seed=st.integers(0, 2**63))
def test_trial_there_and_back(rate, head, decay, seed):
    spec = TrialSpec(LORA, rate, head, weight_decay=decay, rule="lora_plus", seed=seed)
    assert TrialSpec.from_json(through_json(spec.to_json())) == spec


@pytest.mark.parametrize(
    "result",
    [TrialResult(3, 27, 0.5, 0.1, None, 1.5), TrialResult(4, 9, None, None, "not finite", 0.0)],
)
def test_result_there_and_back(result):
    assert TrialResult.from_json(through_json(result.to_json())) == result


def test_segment_there_and_back():
    trials = tuple((number, TrialSpec(LORA, 1e-3, 1e-4, seed=number)) for number in range(2))
    segment = Segment(
        "a",
        trials,
        (None, "1.safetensors"),
        0,
        9,
        27,
        8,
        "digits-vit",
        {"name": "digits"},
        data_seed=3,
        split="report",
    )
    again = Segment.from_json(through_json(segment.to_json()))
    assert again.to_json() == segment.to_json()
    assert (again.trials, again.states, again.task) == (
        segment.trials,
        segment.states,
        dict(segment.task),
    )


def test_refused():
    data = TrialSpec(LORA, 1e-3, 1e-4).to_json()
    with pytest.raises(QuestionError, match="no trial of ours: colour is missing or unknown"):
        TrialSpec.from_json({**data, "colour": 1})
    with pytest.raises(QuestionError, match="no construction named"):
        TrialSpec.from_json({**data, "adapter": {**data["adapter"], "construction": "nope"}})
