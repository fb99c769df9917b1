"""The front, its picks, the noise, and what the sentences may say of it: worked by hand."""

import math
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from tenslora_search.report.findings import (
    against_best,
    beside_lora,
    gap_sentence,
    noise_sentence,
    rows_sentence,
    run_noise,
    zero_sentence,
)
from tenslora_search.report.noise import STUDENT, Noise, noise
from tenslora_search.report.pareto import (
    PICKS,
    front,
    hypervolume,
    hypervolume_curve,
    leading,
    picks_of,
)
from tenslora_search.report.reading import RunRecord, read_run
from tenslora_search.report.rows import Row
from tenslora_search.runs.events import HeadAlone
from tenslora_search.runs.run_file import RunFile

HERE = Path(__file__).parent
REPORTS = HERE.parents[1] / "reports"


def trials(*rows) -> list[Row]:
    """(method, n_params, score, report scores); numbered from 0, all complete, one worker-second
    each.
    """
    return [_row(number, *values) for number, values in enumerate(rows)]


def _row(number, method, n_params, score, again) -> Row:
    return Row(
        number=number, state="complete", method=method, construction="none", decomposition="cp",
        ranks="2", n_params=n_params, head_params=0, score=score,
        report_score=statistics.fmean(again) if again else math.nan,
        report_std=statistics.stdev(again) if len(again) > 1 else math.nan,
        step=1, seconds=1.0, reason="", n_retests=len(again), bytes=4 * n_params, extra_macs=1.0,
        peak_memory_mb=math.nan, completed_at=number + 1.0, settings={},
    )  # fmt: skip


def record(*rows, **file) -> RunRecord:
    file = {"rows": {"report": 1000}, **file}
    about = replace(RunFile.read(HERE / "digits"), **file)
    return RunRecord(Path("run"), about, tuple(trials(*rows)))


def test_the_front_leaves_out_what_is_beaten_and_what_is_not_complete():
    rows = trials(
        ("a", 100, 0.7, []), ("b", 200, 0.7, []), ("c", 300, 0.9, []), ("d", 50, 0.99, [])
    )
    rows[3] = replace(rows[3], state="paused")
    assert [one.number for one in front(rows)] == [2, 0]


def test_what_leads_are_the_picks_then_who_gains_most():
    rows = [("a", 10 * 2**k, 0.5 + 0.1 * math.sqrt(k), []) for k in range(16)]
    frame = trials(
        *rows,
        ("near", 10 * 2**15 + 1, 0.5 + 0.1 * math.sqrt(15) - 0.004, []),
        ("far", 10**6, 0.6, []),
    )
    assert list(picks_of(front(frame), 0.01).values()) == [15, 4, 15]
    assert leading(frame, 5) == [15, 4, 0, 1, 2]
    assert sorted(leading(frame, 99)) == list(range(16))
    assert sorted(leading(frame, 99, margin=0.005)) == list(range(17))
    assert leading(trials(), 5) == []


def test_picks():
    rows = front(trials(("a", 10, 0.50, []), ("b", 100, 0.895, []), ("c", 1000, 0.9, [])))
    assert picks_of(rows, 0.01) == {
        "best": 2,
        "knee": 1,
        "smallest": 1,
    }


def test_smallest_goes_by_the_measured_noise():
    def smallest(spread):
        return PICKS["smallest"](
            front(trials(("a", 100, 0.86, [0.8]), ("b", 1000, 0.9, [0.9 - spread, 0.9 + spread])))
        )

    assert smallest(0.05) == 0  # a standard deviation of 0.07
    assert smallest(0.01) == 1  # of 0.014


def test_where_nothing_was_retested_smallest_goes_by_the_noise_of_the_metric():
    rows = front(trials(("a", 100, 0.88, []), ("b", 1000, 0.9, [])))
    assert PICKS["smallest"](rows, 0.03) == 0
    assert PICKS["smallest"](rows, 0.01) == 1
    assert record(metric="accuracy").typical_noise("report") == pytest.approx(0.5 / math.sqrt(1000))
    assert record(metric="of my own").typical_noise("report") == 0.01


def test_a_match_on_a_large_split_is_to_within_its_noise():
    rows = (("LoRA", 8000, 0.9, [0.9, 0.9]), ("a", 2000, 0.899, [0.893, 0.893]))
    assert "matches it (to within 0.01)" in beside_lora(record(*rows))
    large = beside_lora(record(*rows, rows={"report": 100_000}))
    assert "matches" not in large
    assert "below it by more than the noise" in large


def test_hypervolume_by_hand():
    rows = trials(("a", 1000, 0.6, []), ("b", 10_000, 0.8, []), ("c", 20_000, 0.7, []))
    # One decade to the budget of 100k at 0.3 above the floor, one more at 0.1.
    assert hypervolume(rows, floor=0.5, budget=100_000) == pytest.approx(0.3 + 0.1)


def test_hypervolume_over_time_counts_a_trial_with_its_last_score():
    scored = [
        (1.0, 0, 1000, 0.55), (1.0, 1, 10_000, 0.5), (2.0, 0, 1000, 0.6), (3.0, 1, 10_000, 0.8),
        (3.0, 2, 20_000, 0.7),
    ]  # fmt: skip
    assert hypervolume_curve(scored, floor=0.5, budget=100_000) == [
        (1.0, pytest.approx(0.1)),
        (2.0, pytest.approx(0.2)),
        (3.0, pytest.approx(0.4)),
    ]


def test_noise_is_pooled_over_the_retests():
    rows = trials(("a", 1, 0.9, [0.8, 0.9]), ("b", 2, 0.9, [0.7, 0.7, 0.7]), ("c", 3, 0.9, [0.5]))
    known = noise(rows)
    assert known is not None
    assert known.freedom == 3
    assert known.std == pytest.approx(math.sqrt(0.005 / 3))
    assert known.margin(2, 3) == pytest.approx(3.182 * known.std * math.sqrt(1 / 2 + 1 / 3))
    assert noise(trials(("a", 1, 0.9, [0.8]))) is None


def test_noise_is_never_finer_than_the_split():
    known = noise(trials(("a", 1, 0.9, [0.8, 0.8])), least=0.005)
    assert known is not None
    assert known.std == pytest.approx(0.005)


def test_a_loss_is_no_count_of_rows():
    assert record(metric="accuracy").least_noise == 0.5 / 1000
    assert record(metric="minus_loss").least_noise == 0


def test_student():
    from scipy.stats import t

    assert pytest.approx([t.ppf(0.975, k + 1) for k in range(30)], abs=6e-4) == STUDENT
    assert Noise(1.0, 500).margin(1, 1) == Noise(1.0, 30).margin(1, 1)


def test_a_match_is_claimed_when_the_noise_allows_it():
    text = beside_lora(
        record(
            ("LoRA", 8000, 0.90, [0.9, 0.901, 0.899]), ("LoTR", 2000, 0.899, [0.9, 0.901, 0.899])
        )
    )
    assert text == (
        "LoRA r=2 (8,000 parameters) scores 0.9000 on fresh seeds. LoTR 2 (trial 1, 2,000 "
        "parameters, 0.9000) matches it "
        "(to within 0.01), with 25 % of the parameters."
    )


def test_no_match_is_claimed_when_the_noise_is_too_wide():
    text = beside_lora(
        record(("LoRA", 8000, 0.90, [0.85, 0.95]), ("LoTR", 2000, 0.899, [0.86, 0.95]))
    )
    assert "cannot be told apart" in text
    assert "matches it" not in text
    assert "beats" not in text


def test_a_loss_is_said():
    text = beside_lora(
        record(("LoRA", 8000, 0.90, [0.9, 0.901, 0.899]), ("LoTR", 2000, 0.8, [0.8, 0.801, 0.799]))
    )
    assert "below it by more than the noise" in text


def test_a_win_is_said_and_the_smallest_match_beside_it():
    rows = (
        ("LoRA", 8000, 0.90, [0.9, 0.901]),
        ("LoTR", 9000, 0.95, [0.95, 0.951]),
        ("MetaTT", 400, 0.899, [0.9, 0.901]),
    )
    text = beside_lora(record(*rows))
    assert (
        "LoTR 2 (trial 1, 9,000 parameters, 0.9505) beats it by 0.0500, with 1.1 times the "
        "parameters." in text
    )
    assert (
        "MetaTT 2 (trial 2, 400 parameters, 0.9005) matches it (to within 0.01), with 5 % of the "
        "parameters." in text
    )


def test_nothing_is_claimed_beyond_a_member_that_does_not_match():
    """The front is gone through in order: a lucky small one after a failure is no claim."""
    rows = (
        ("LoRA", 8000, 0.90, [0.9, 0.901]),
        ("LoTR", 4000, 0.899, [0.8, 0.801]),
        ("MetaTT", 400, 0.89, [0.9, 0.901]),
    )
    text = beside_lora(record(*rows))
    assert "MetaTT" not in text
    assert "LoTR 2 (trial 1, 4,000 parameters, 0.8005), the best of the rest, is below it" in text


def test_what_is_above_by_more_than_the_noise_is_no_match():
    """Trial 23 of reports/digits: .0482 above, with a margin of .0274."""
    text = beside_lora(
        record(("LoRA", 1536, 0.83, [0.82, 0.821]), ("a", 3584, 0.85, [0.868, 0.869]))
    )
    assert "a 2 (trial 1, 3,584 parameters, 0.8685) beats it by 0.0480" in text
    assert "matches" not in text


def test_the_smallest_match_is_named_though_a_larger_one_is_left_open():
    """As in reports/sst2: between them stands one that is neither matched nor lost."""
    spread = (-0.009, -0.0045, 0.0, 0.0045, 0.009)
    rows = (
        ("LoRA", 27_648, 0.938, [0.867 + one for one in spread]),
        ("a", 108_612, 0.943, [0.869 + one for one in spread]),
        ("b", 23_161, 0.942, [0.863 + one for one in spread]),
        ("FacT-TT", 7224, 0.921, [0.868 + one for one in spread]),
    )
    text = beside_lora(record(*rows))
    assert "FacT-TT 2 (trial 3, 7,224 parameters, 0.8680) matches it" in text
    assert "26 % of the parameters" in text
    assert "3 trials were compared with it" in text


def test_lora_is_taken_at_its_best_on_report():
    """A smaller LoRA that is as good on fresh seeds is what the others must stand beside."""
    rows = (
        ("LoRA", 290_304, 0.94, [0.958, 0.959]),
        ("LoRA", 69_120, 0.93, [0.960, 0.961]),
        ("a", 165_468, 0.941, [0.9585, 0.9590]),
    )
    text = beside_lora(record(*rows))
    assert text.startswith("LoRA r=2 (69,120 parameters) scores 0.9605 on fresh seeds, the best of")
    assert "with 2.4 times the parameters" in text


def test_a_hundred_times_the_parameters_is_a_plain_number():
    text = beside_lora(record(("LoRA", 100, 0.5, []), ("a", 12_345, 0.6, [])))
    assert "with 123 times the parameters" in text


@pytest.mark.parametrize("name", ["digits", "sst2-minilm-h200", "cola-minilm-h200"])
def test_claims_of_the_reference_reports_hold_by_their_own_numbers(name):
    """Whatever is said to beat or match LoRA does so by the scores, the margin and the sizes."""
    run = read_run(REPORTS / name)
    text, known = beside_lora(run), run_noise(run)
    assert known is not None
    tested = [one for one in run.complete if one.method == "LoRA" and one.n_retests]
    reference = max(tested, key=lambda one: one.report_score)
    numbers = [
        int(found) for found in re.findall(r"\(trial (\d+), [^)]*\) (?:beats|matches)", text)
    ]
    for one in run.rows:
        if one.number in numbers:
            margin = known.margin(one.n_retests, reference.n_retests)
            gain = one.report_score - reference.report_score
            verb = "beats" if gain > margin else "matches"
            assert re.search(rf"\(trial {one.number}, [^)]*\) {verb} it", text)
    if name.startswith("sst2"):
        assert "FacT-TT 10,6 (trial 18" in text
        assert "26 % of the parameters" in text


def test_without_retests_nothing_is_proved():
    text = beside_lora(record(("LoRA", 8000, 0.90, []), ("LoTR", 2000, 0.95, [])))
    assert "LoTR 2 scores 0.9500 with 25 % of the parameters" in text
    assert text.endswith("proves nothing.")
    assert "nothing else on the front reaches that" in beside_lora(
        record(("LoRA", 8000, 0.90, []), ("LoTR", 2000, 0.8, []))
    )


def test_lora_needs_someone_to_stand_beside():
    assert (
        beside_lora(record(("LoTR", 1, 0.5, [])))
        == "No LoRA trial is complete, so there is nothing to compare LoRA with."
    )
    assert (
        beside_lora(record(("LoRA", 1, 0.5, [])))
        == "No other trial is complete, so there is nothing to compare LoRA with."
    )


def test_differences_are_noise_or_they_are_not():
    one = record(
        ("a", 3000, 0.9, [0.9, 0.902]),
        ("b", 2000, 0.89, [0.9, 0.898]),
        ("c", 100, 0.5, [0.5, 0.502]),
    )
    assert against_best(one) == {
        0: "the best by select",
        1: "-0.0020, below the noise",
        2: "-0.4000, beyond the noise",
    }
    assert "Members of the front not told apart from its best: 1." in noise_sentence(one)
    assert run_noise(one) == noise(one.rows, 0.5 / 1000)


def test_the_gap_between_select_and_report():
    one = record(("a", 3000, 0.9, [0.88, 0.88]), ("b", 2000, 0.8, [0.79, 0.81]), ("c", 1, 0.1, []))
    assert gap_sentence(one) == (
        "Select scores of the 2 retested trials lie +0.0100 above their report scores on average "
        "(from +0.0000 to +0.0200)."
    )
    assert gap_sentence(record(("a", 3000, 0.9, []))) is None


def test_the_size_of_the_report_split_is_an_error_of_its_own():
    assert "would vary by 0.0095" in (
        rows_sentence(record(("a", 1, 0.9, [0.9]))) or ""
    )  # sqrt(0.9 * 0.1 / 1000)
    assert rows_sentence(record(("a", 1, 0.9, [0.9]), metric="matthews")) is None


@pytest.mark.parametrize(
    ("zero", "is_said"), [((0.80, 0.79, 0.81), True), ((0.5, 0.51, 0.49), False)]
)
def test_a_front_that_is_no_better_than_the_head_alone_is_told(zero, is_said):
    rows = [("LoRA", 100, 0.8, (0.81, 0.80, 0.79)), ("LoTR", 50, 0.79, (0.79, 0.80, 0.78))]
    alone = {seed: HeadAlone(seed, score, 1.0) for seed, score in enumerate(zero, start=1)}
    text = zero_sentence(replace(record(*rows), head_alone=alone))
    assert ("no adapter is worth its parameters" in text) == is_said
