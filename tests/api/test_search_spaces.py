"""Searches over what a space may choose besides structure and ranks, whole, in this process."""

import json

import pytest

from tenslora_search import ask_tell, search
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec

RAMPS = """
construction = ["none", "qkv"]
decomposition = ["cp", "tucker"]
allocator = ["level", "ramp"]
"""


def test_allocators_in_a_search(tmp_path):
    """Ramped trials are within the budget and canonical; the report calls them by their name."""
    path = tmp_path / "ramps.toml"
    path.write_text(RAMPS)
    run = search(
        "digits", budget="8k", trials=8, max_steps=24, retest=0, executor="inline", space=path,
        out=tmp_path / "run",
    )  # fmt: skip
    assert run.proof == (8, 0)
    trials = run.trials()
    assert {"LoRA", "PRILoRA ramp"} <= set(trials["method"])
    events = map(json.loads, (run.folder / "trials.jsonl").read_text().splitlines())
    specs = [TrialSpec.from_json(one["spec"]) for one in events if one["event"] == "proposed"]
    ramped = [spec for spec in specs if spec.allocator.name == "ramp"]
    assert ramped
    assert all(spec.adapter == spec.adapter.canonical() for spec in specs)
    assert all(len(set(spec.adapter.ranks)) > 1 for spec in ramped)
    assert "PRILoRA ramp" in run.report().read_text()


MEASURED = """
construction = ["none", "qkv"]
decomposition = ["cp"]
allocator = ["level", "ramp", "gelora", "gradient"]

[prior]
gradient = 1
"""


def proposed(run) -> list[dict]:
    events = map(json.loads, (run.folder / "trials.jsonl").read_text().splitlines())
    return [one for one in events if one["event"] == "proposed"]


def test_allocators_and_a_prior_that_measure_the_model(tmp_path, monkeypatch):
    """Each probe is asked once, a resumed search goes on from the answers, and trials are those of
    a search that was not interrupted.
    """
    path = tmp_path / "measured.toml"
    path.write_text(MEASURED)
    asked = {
        "budget": "8k", "max_steps": 4, "retest": 0, "executor": "inline", "space": path,
    }  # fmt: skip
    run = search("digits", trials=8, out=tmp_path / "run", **asked)
    answers = json.loads((run.folder / "run.json").read_text())["probes"]
    assert list(answers) == ["intrinsic_dimension", "gradient_energy", "gradient_spectra"]
    assert "gelora" in [one["spec"].get("allocator") for one in proposed(run)]
    assert all(one["n_params"] <= 8000 for one in proposed(run))
    other = search("digits", trials=8, out=tmp_path / "other", **asked)
    assert [one["spec"] for one in proposed(other)] == [one["spec"] for one in proposed(run)]

    def refused(probe):
        raise AssertionError("asked again")

    monkeypatch.setattr("tenslora_search.training.segment.probe", refused)
    again = search("digits", trials=9, out=tmp_path / "run", **asked)
    assert json.loads((run.folder / "run.json").read_text())["probes"] == answers
    assert len(again.trials()) == 9
    assert proposed(again)[:8] == proposed(other)


def test_a_probe_that_fails_ends_the_search_before_anything_is_trained(tmp_path, monkeypatch):
    path = tmp_path / "measured.toml"
    path.write_text(MEASURED)

    def broken(probe):
        raise ZeroDivisionError("no such number")

    monkeypatch.setattr("tenslora_search.training.segment.probe", broken)
    with pytest.raises(QuestionError) as error:
        search("digits", budget="8k", trials=2, executor="inline", space=path, out=tmp_path / "run")
    assert str(error.value).startswith("the probe intrinsic_dimension, which an allocator")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    assert not (tmp_path / "run" / "trials.jsonl").exists()


def test_a_loop_of_ones_own_refuses_allocators_that_measure(tmp_path):
    path = tmp_path / "measured.toml"
    path.write_text(MEASURED)
    with pytest.raises(QuestionError, match="needs the probe intrinsic_dimension"):
        ask_tell(budget="8k", model="digits-vit", space=path, out=tmp_path / "run")


def test_sites_in_a_search(tmp_path):
    """Each trial adapts the maps it chose; the folder keeps all geometries and goes on."""
    path = tmp_path / "sites.toml"
    path.write_text('structure = "none x cp"\nsites = ["qv", "qkv", "qkvo"]\n')
    asked = {
        "budget": "4k", "max_steps": 8, "retest": 0, "executor": "inline", "space": path,
        "out": tmp_path / "run",
    }  # fmt: skip
    run = search("digits", trials=6, **asked)
    assert len(search("digits", trials=7, **asked).trials()) == 7
    events = map(json.loads, (run.folder / "trials.jsonl").read_text().splitlines())
    specs = [TrialSpec.from_json(one["spec"]) for one in events if one["event"] == "proposed"]
    found = {spec.adapter.geometry.projections for spec in specs}
    assert len(found) > 1
    assert ("query", "value") in found
    kept = json.loads((run.folder / "run.json").read_text())["geometries"]
    assert list(kept) == ["qv", "qkv", "qkvo"]
