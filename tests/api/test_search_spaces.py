"""Searches over what a space may choose besides structure and ranks, whole, in this process."""

import json

from tenslora_search import search
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
