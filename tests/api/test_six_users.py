"""Six users of the seams, each in a search of digits: trials end, exports answer as the trial did,
and peft refuses what it cannot hold.

The search itself is that of `scripts/check_seams.py`, with few trials of few steps.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tenslora_search import search

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seams():
    found = spec_from_file_location("check_seams", ROOT / "scripts" / "check_seams.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "check_seams", module)
        found.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def found(seams, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seams")
    runs = seams.searches(folder, trials=12, max_steps=4)
    checked = {name: seams.check(run, folder / f"{name}-exports") for name, run in runs.items()}
    return runs, seams.tallies(runs, checked)


def test_every_method_is_searched_and_named(found):
    runs, _ = found
    methods = set(runs["seams"].trials()["method"])
    assert {"LoRA", "SoRA", "NB-LoRA", "LoRAN", "PRILoRA ramp"} <= methods
    assert "SoRA" in set(runs["labels"].trials()["method"])
    assert (runs["labels"].file.goal, runs["labels"].file.metric) == ("labels", "f1_micro")


def test_every_trial_is_complete_and_within_the_budget(found):
    runs, tallies = found
    for run in runs.values():
        assert set(run.trials()["state"]) == {"complete"}
        assert run.proof in ((12, 0), (6, 0))
    assert all(one.states for one in tallies.values())


def test_every_export_answers_as_the_trial_did(seams, found):
    _, tallies = found
    for name, one in tallies.items():
        assert one.differences, name
        assert max(one.differences) < seams.TOLERANCE, name


def test_peft_alone_refuses_and_dense_updates_alone(found):
    """`check` lets no other refusal pass."""
    _, tallies = found
    dense = tallies["LoRAN's map"]
    assert dense.refused == len(dense.states) > 0
    assert tallies["SoRA gates"].refused + tallies["norm-bounded LoRA"].refused <= dense.refused


def test_a_search_of_dense_updates_ends_with_native_adapters(tmp_path):
    """What leads is exported as it can be: peft's LoRA holds no dense update."""
    space = tmp_path / "loran.toml"
    space.write_text('construction = "none"\ndecomposition = "cp"\nmap = "sinter"\n')
    run = search(
        "digits", budget="8k", trials=1, max_steps=4, retest=0, executor="inline", space=space,
        out=tmp_path / "run",
    )  # fmt: skip
    assert list(run.trials()["method"]) == ["LoRAN"]
    assert (run.folder / "adapters" / "0" / "tenslora.safetensors").is_file()
