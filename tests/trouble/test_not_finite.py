"""A trial whose loss is not finite fails alone, with the reason in trials.jsonl, and its pack goes
on.
"""

import math

import pytest

from tenslora_search.spec.scales import SCALES

from .conftest import SMALL, events


@pytest.fixture(autouse=True)
def _a_scale_that_is_no_number(monkeypatch):
    """No number that a space may say is wild enough by itself."""
    entries = {name: SCALES[name] for name in SCALES} | {"wild": lambda *of_a_pair: math.nan}
    monkeypatch.setattr(SCALES, "_entries", entries)


def test_wild_trials_fail_and_calm_ones_go_on(here, tmp_path):
    space = tmp_path / "wild.toml"
    space.write_text(
        'construction = ["none", "depth"]\ndecomposition = ["cp"]\nscale = ["matched", "wild"]\n'
    )
    asked = [
        *SMALL,
        "--space",
        str(space),
        "--executor",
        "inline",
        "--pack",
        "6",
        "--sampler",
        "random",
    ]
    code, out, _ = here(*asked, "--out", str(tmp_path / "run"))
    assert code == 0
    assert "proof: 0 of 6" in out
    found = events(tmp_path / "run")
    scales = {
        event["number"]: event["spec"]["adapter"]["scale"]
        for event in found
        if event["event"] == "proposed"
    }
    failed = {event["number"]: event["reason"] for event in found if event["event"] == "failed"}
    assert failed
    assert set(failed) == {number for number, scale in scales.items() if scale == "wild"}
    assert all("not finite" in reason for reason in failed.values())
    assert {event["number"] for event in found if event["event"] == "complete"} <= set(
        scales
    ) - set(failed)
    assert (tmp_path / "run" / "report.html").read_text().count("not finite") >= 1


def test_every_trial_failed_is_exit_code_4(here, tmp_path):
    space = tmp_path / "wild.toml"
    space.write_text('construction = ["none"]\ndecomposition = ["cp"]\nscale = ["wild"]\n')
    code, _, err = here(
        *SMALL, "--space", str(space), "--executor", "inline", "--out", str(tmp_path / "run")
    )
    assert code == 4
    assert "every trial failed; the first: the loss was not finite" in err
    assert (tmp_path / "run" / "report.html").is_file()
