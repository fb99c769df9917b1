"""Segments, probes and results: JSON there and back; what is no segment is refused."""

import json

import pytest

from tenslora_search.runs.fields import FieldError
from tenslora_search.runs.segment import Entrant, Probe, Segment, Setting, TrialResult
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.trial import TrialSpec

LORA = AdapterSpec.of("none", "cp", (2,), Geometry.attention(12, 3, 2))
SPEC = TrialSpec(LORA, 1e-3, 1e-4)
SETTING = Setting("digits-vit", {"name": "digits", "columns": {"label": "stars"}}, 8, 27)
SEGMENT = Segment(
    "a", (Entrant(3, SPEC), Entrant(4, SPEC, "4.safetensors")), 0, 9, SETTING, 3, "report"
)


@pytest.mark.parametrize(
    "one",
    [
        TrialResult(3, 27, 0.5, 0.1, None, 1.5),
        TrialResult(4, 9, None, None, "not finite", 0.0, 7.5),
        SEGMENT,
        Probe("pack_size", SETTING, (SPEC, SPEC)),
    ],
)
def test_there_and_back(one):
    assert type(one).from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    ("field", "value"), [("entrants", 3), ("entrants", [{}]), ("from_step", -1), ("setting", None)]
)
def test_what_is_no_segment_is_refused(field, value):
    with pytest.raises(FieldError, match=f"field {field}"):
        Segment.from_json({**SEGMENT.to_json(), field: value})


def test_a_trial_cut_short_has_neither_score_nor_reason():
    assert TrialResult(3, 5, None, 0.1, None, 1.5).is_cut
    assert not TrialResult(3, 5, None, 0.1, "why", 1.5).is_cut
    assert not TrialResult(3, 5, 0.5, 0.1, None, 1.5).is_cut
