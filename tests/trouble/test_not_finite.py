"""A trial whose loss is not finite fails alone, with the reason in trials.jsonl, and its pack goes
on.
"""

from .conftest import SMALL, events


def test_wild_trials_fail_and_calm_ones_go_on(here, tmp_path):
    space = tmp_path / "wild.toml"
    space.write_text(
        'construction = ["none", "depth"]\ndecomposition = ["cp"]\nlearning_rate = [1e-2, '
        "1e6]\nclip = 1e6\n"
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
    rates = {
        event["number"]: event["spec"]["learning_rate"]
        for event in found
        if event["event"] == "proposed"
    }
    failed = {event["number"]: event["reason"] for event in found if event["event"] == "failed"}
    assert failed
    assert set(failed) == {number for number, rate in rates.items() if rate == 1e6}
    assert all("not finite" in reason for reason in failed.values())
    assert {event["number"] for event in found if event["event"] == "complete"} <= set(rates) - set(
        failed
    )
    assert (tmp_path / "run" / "report.html").read_text().count("not finite") >= 1


def test_every_trial_failed_is_exit_code_4(here, tmp_path):
    space = tmp_path / "wild.toml"
    space.write_text(
        'construction = ["none"]\ndecomposition = ["cp"]\nlearning_rate = [1e6]\nclip = 1e6\n'
    )
    code, _, err = here(
        *SMALL, "--space", str(space), "--executor", "inline", "--out", str(tmp_path / "run")
    )
    assert code == 4
    assert "every trial failed; the first: the loss was not finite" in err
    assert (tmp_path / "run" / "report.html").is_file()
