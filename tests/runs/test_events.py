"""Events: every line is read as its type or named with its number and field, whatever is in it."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenslora_search.runs.events import EVENTS, Proposed, event_of, read_events
from tenslora_search.runs.fields import FieldError
from tenslora_search.runs.replay import replay
from tenslora_search.spec.table import QuestionError

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("reports/*/trials.jsonl"))
PROPOSED = {
    "event": "proposed", "number": 0, "point": {"size": 1.0}, "spec": {}, "n_params": 5,
    "method": "LoRA", "construction": "none", "decomposition": "cp", "ranks": [2],
}  # fmt: skip
RUNG = {"event": "rung", "number": 0, "step": 3, "score": 0.5, "loss": 1.0, "state": "states/0"}
COMPLETE = {"event": "complete", "number": 0, "step": 3, "score": 0.5}
FAILED = {"event": "failed", "number": 0, "step": 3, "reason": "why"}
SEGMENT = {
    "event": "segment", "id": "segment-00001", "numbers": [0], "from_step": 0, "to_step": 3,
    "seconds": 1.0,
}  # fmt: skip
RETEST = {"event": "retest", "number": 0, "seed": 1, "report_score": 0.5, "state": ""}
DEEP = json.loads("[" * 60 + "]" * 60)

WRONG = [
    (PROPOSED, "number", "3"),
    (PROPOSED, "number", -1),
    (PROPOSED, "number", True),
    (PROPOSED, "number", 10**30),
    (PROPOSED, "point", []),
    (PROPOSED, "point", {"size": [1]}),
    (PROPOSED, "point", {"n" * 5000: 1}),
    (PROPOSED, "spec", None),
    (PROPOSED, "spec", {"adapter": DEEP}),
    (PROPOSED, "method", ["LoRA"]),
    (PROPOSED, "construction", 3),
    (PROPOSED, "ranks", "8,8"),
    (PROPOSED, "ranks", [8, "8"]),
    (PROPOSED, "ranks", [[8], [-1]]),
    (RUNG, "score", None),
    (RUNG, "score", "0.5"),
    (RUNG, "score", 10**400),
    (RUNG, "step", 3.5),
    (RUNG, "loss", []),
    (RUNG, "seconds", -1.0),
    (RUNG, "state", 5),
    (RUNG, "state", "/etc/passwd"),
    (RUNG, "state", "states/../../other"),
    (RUNG, "state", "states/\0"),
    (COMPLETE, "score", {}),
    (FAILED, "reason", None),
    (SEGMENT, "numbers", 0),
    (SEGMENT, "numbers", [None]),
    (SEGMENT, "id", {}),
    (RETEST, "report_score", "good"),
    (RETEST, "seed", None),
    (RETEST, "state", "../out.safetensors"),
]


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_folders_of_0_1_0_are_read_and_written_as_they_were(folder):
    lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    events = read_events(folder / "trials.jsonl")
    assert [json.loads(json.dumps(one.to_json())) for one in events] == list(map(json.loads, lines))
    records = replay(events)
    assert all(one.spec.adapter.n_params == one.n_params for one in records.values())


@pytest.mark.parametrize(
    ("line", "field", "value"),
    WRONG,
    ids=[f"{line['event']}.{field}={str(value)[:20]}" for line, field, value in WRONG],
)
def test_a_wrong_field_is_named(tmp_path, line, field, value):
    path = tmp_path / "trials.jsonl"
    opened = json.dumps({"event": "journal", "version": 1})
    path.write_text(f"{opened}\n{json.dumps({**line, field: value})}\n")
    with pytest.raises(QuestionError) as error:
        read_events(path)
    assert f"{path} is damaged: line 2, field {field}" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500 + len(str(path))


@pytest.mark.parametrize("line", [PROPOSED, RUNG, COMPLETE, FAILED, SEGMENT, RETEST])
def test_a_field_may_be_missing_only_where_it_has_a_default(line):
    for field in line:
        less = {name: value for name, value in line.items() if name != field}
        try:
            found = event_of(less)
        except FieldError:
            continue
        assert field == "state" or (line["event"], field) in (("rung", "loss"),), found


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "3", "null", '{"event": 3}', '{"event": "rnug"}', "{", "\xff", "[" * 100_000,
     '{"event": "rung", "number": 0, "step": 3, "score": NaN}',
     '{"event": "rung", "number": 0, "step": 3, "score": 1e999}',
     '{"event": "journal", "version": "new"}', '{"event": ["rung"]}'],
)  # fmt: skip
def test_a_line_that_is_no_event_is_one_line(tmp_path, text):
    path = tmp_path / "trials.jsonl"
    path.write_bytes(text.encode("latin-1") + b"\n")
    with pytest.raises(QuestionError, match="line 1") as error:
        read_events(path)
    assert "\n" not in str(error.value)


def test_fields_of_later_versions_are_ignored():
    assert event_of({**RUNG, "tokens": [1, {}]}) == event_of(RUNG)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from([PROPOSED, RUNG, COMPLETE, FAILED, SEGMENT, RETEST]), st.data())
def test_whatever_stands_in_a_field(line, data):
    field = data.draw(st.sampled_from(sorted(line)))
    value = data.draw(ANY)
    found = ""
    try:
        assert type(event_of({**line, field: value})) in EVENTS.values()
    except FieldError as error:
        found = error.field
    assert not found or found.startswith(field)


def test_a_specification_is_checked_when_it_is_asked_for(lines):
    proposed = next(one for one in lines if one["event"] == "proposed")
    for change in ({"learning_rate": "fast"}, {"adapter": 3}, {"adapter": None}, {"seed": [1]}):
        event = event_of({**proposed, "spec": {**proposed["spec"], **change}})
        assert isinstance(event, Proposed)
        with pytest.raises(QuestionError, match="trial 0 cannot be read: field spec"):
            event.trial_spec()
    ranks = {**proposed["spec"]["adapter"], "ranks": "many"}
    event = event_of({**proposed, "spec": {**proposed["spec"], "adapter": ranks}})
    with pytest.raises(QuestionError, match="trial 0 cannot be read: field spec"):
        event.trial_spec()
