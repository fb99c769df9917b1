"""run.json: read as its type or named with the field that is wrong; written whole."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenslora_search.runs.fields import FieldError
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.table import QuestionError


@pytest.fixture
def run(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "run.json is missing"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("[" * 100_000, "nested too deep"),
        ('{"version": NaN}', "cannot be read"),
        ('{"version": 99}', "newer tenslora-search"),
        ('{"version": 1}', "is damaged: question, budget, .* is missing"),
    ],
)
def test_a_run_file_that_cannot_be_used_is_one_line(tmp_path, content, line):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(QuestionError, match=line):
        RunFile.read(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("budget", "4000"), ("budget", -1), ("head_params", None), ("task", 5),
        ("model", []), ("labels", "ab"), ("labels", [1]), ("goal", 3), ("geometry", 3),
        ("geometry", {"groups": 3}), ("geometry", {"groups": [{}]}), ("rungs", []),
        ("rungs", [9, 3]), ("rungs", [0]), ("rungs", "18"), ("versions", ["torch"]),
        ("versions", {"torch": 2}), ("rows", {"fit": "many"}), ("hardware", {"gpus": 3}),
        ("wall_seconds", "long"), ("importances", {"size": None}), ("question", {"budget": 1}),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(folder, run, field, value):
    (folder / "run.json").write_text(json.dumps({**run, field: value}))
    with pytest.raises(QuestionError) as error:
        RunFile.read(folder)
    assert field in str(error.value)
    assert "run.json is damaged" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_length", "1); import os #"), ("max_steps", 0), ("eta", 1), ("objective", "speed"),
        ("sampler", 3), ("goal", "words"), ("columns", {"text": 1}), ("count_head", 1),
    ],
)  # fmt: skip
def test_a_wrong_field_of_the_question_is_named(folder, run, field, value):
    run["question"][field] = value
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(QuestionError, match=f"run.json is damaged: field question.{field}"):
        RunFile.read(folder)


def test_it_is_written_as_it_was_read(folder, run):
    """What folders of before 0.2 say of labels is written by its name of today."""
    RunFile.read(folder).write(folder)
    written = json.loads((folder / "run.json").read_text())
    del run["regression"], run["question"]["labels"]
    assert {name: written[name] for name in run if name != "question"} == {
        name: one for name, one in run.items() if name != "question"
    }
    assert run["question"].items() <= written["question"].items()
    assert (written["goal"], written["question"]["goal"]) == ("classes", None)
    RunFile.read(folder).write(folder)
    assert json.loads((folder / "run.json").read_text()) == written
    replace(RunFile.read(folder), wall_seconds=3.0).write(folder)
    assert RunFile.read(folder).wall_seconds == 3.0
    assert not (folder / "run.json.part").exists()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(st.data())
def test_whatever_stands_in_a_field(run, data):
    run = {**run, "goal": "classes"}
    name = data.draw(st.sampled_from(sorted(run)))
    found = ""
    try:
        RunFile.from_json({**run, name: data.draw(ANY)})
    except FieldError as error:
        found = error.field
    assert not found or found.startswith(name) or name == "rungs"
