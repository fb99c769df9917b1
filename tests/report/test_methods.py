"""Methods at equal sizes and over runs: by hand, and Student's t against scipy's."""

import csv
import fcntl
import io
import math
from dataclasses import replace

import pytest

from tenslora_search.report.compare import compare
from tenslora_search.report.comparing import (
    band,
    equal_sizes,
    said_of,
    settings,
    standings,
    titles,
)
from tenslora_search.report.methods import FORMS, SHARES, best_of_methods, cells, sizes
from tenslora_search.report.reading import read_run
from tenslora_search.report.student import quantile, tail, welch
from tenslora_search.runs.paths import LOCK


def test_student_is_scipys():
    from scipy.stats import t, ttest_ind

    for freedom in (1, 2.5, 7, 40, 300):
        for value in (0.0, 0.3, 2.0, 9.0):
            assert tail(value, freedom) == pytest.approx(float(t.sf(value, freedom)), rel=1e-9)
        assert quantile(0.01, freedom) == pytest.approx(float(t.isf(0.01, freedom)), rel=1e-9)
    some, others = [0.8, 0.82, 0.79], [0.7, 0.78, 0.75, 0.77]
    expected = ttest_ind(some, others, equal_var=False).pvalue
    assert welch(some, others) == pytest.approx(float(expected), rel=1e-9)
    assert math.isnan(welch([0.5], others))
    assert (welch([0.5, 0.5], [0.5, 0.5]), welch([0.5, 0.5], [0.6, 0.6])) == (1.0, 0.0)


@pytest.fixture(scope="module")
def runs(write_run, tmp_path_factory):
    """Two seeds of one search, and one of another task."""
    folder = tmp_path_factory.mktemp("runs")
    asked = {"a": {"seed": 0}, "b": {"seed": 1}, "c": {"seed": 2, "task": "rte"}}
    return {name: read_run(write_run(folder / name, 120, **one)) for name, one in asked.items()}


def test_the_best_of_each_method_at_each_size(digits):
    record = read_run(digits)
    budget = record.file.budget
    found = best_of_methods(record.rows, budget)
    assert sizes(budget) == tuple(round(budget * share) for share in SHARES)
    for (method, most), row in found.items():
        alike = [
            one.score for one in record.complete if one.method == method and one.n_params <= most
        ]
        assert row.score == max(alike)
    lora = [one for one in cells([record]) if one.method == "LoRA"]
    assert cells([record])[: len(lora)] == lora  # first


def test_several_seeds_are_one_table(runs):
    groups = settings(runs)
    assert [len(group) for group in groups.values()] == [2, 1]
    both, *_ = [cells(group) for group in groups.values()]
    one = next(cell for cell in both if not cell.is_select and cell.method != "LoRA")
    rows = [best_of_methods(run.rows, run.file.budget).get((one.method, one.most))
            for run in next(iter(groups.values()))]  # fmt: skip
    tested = [row for row in rows if row and row.n_retests]
    assert one.scores == tuple(pytest.approx(row.report_score) for row in tested)  # not its seeds
    assert one.n_seeds == sum(row.n_retests for row in tested) > len(one.scores)
    assert all(len(one.scores) == one.n_seeds for one in cells([runs["a"]]) if one.n_seeds)
    if one.verdict:
        lora = next(cell for cell in both if cell.method == "LoRA" and cell.most == one.most)
        assert one.p == welch(one.scores, lora.scores)
        assert one.difference == pytest.approx(one.mean - lora.mean)


def test_a_run_that_is_named_twice_or_was_copied_is_one_search(runs):
    copied = replace(runs["a"], folder=runs["a"].folder / "copy")
    named = {"a": runs["a"], "again": runs["a"], "copy": copied, "b": runs["b"]}
    groups = settings(named)
    assert list(groups.values()) == [[runs["a"], runs["b"]]]
    assert settings({"copy": copied, "a": runs["a"]})[next(iter(groups))] == [copied]
    _, left_out = said_of({"a": runs["a"], "copy": copied, "b": runs["b"]}, groups)
    assert left_out.startswith(f"{copied.folder}: not counted")


def test_a_search_that_still_runs_is_told(runs, tmp_path, caplog):
    named = {"a": runs["a"], "b": runs["b"]}
    with (runs["a"].folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        *_, line = said_of(named, settings(named))
        compare([one.folder for one in named.values()], tmp_path / "page.html")
    assert line == f"{runs['a'].folder}: its search is still running; what it has so far is counted"
    assert caplog.messages == [line]
    assert len(said_of(named, settings(named))) == 1  # the lock file alone says nothing


def test_runs_that_were_asked_otherwise_are_no_seeds_of_one_setting(runs):
    """Their scores are not pooled; what a retest or a cut adds makes no other setting."""

    def asked(name: str, **options):
        file = runs[name].file
        return replace(runs[name], file=replace(file, question=replace(file.question, **options)))

    longer, again = asked("b", max_steps=50), asked("b", retest=5, cut=False)
    groups = settings({"a": runs["a"], "b": longer, "c": runs["c"]})
    assert [len(group) for group in groups.values()] == [1, 1, 1]
    about = [title.partition(" on ")[2] for title in titles(groups).values()]
    assert about == ["roberta-base, max_steps 1000", "roberta-base, max_steps 50", "roberta-base"]
    assert len(settings({"a": runs["a"], "b": again})) == 1


def test_the_forms(runs):
    found = cells([runs["a"], runs["b"]])
    lines = list(csv.DictReader(io.StringIO(FORMS["csv"](found))))
    assert [float(line["mean"]) for line in lines] == [one.mean for one in found]
    latex, markdown = FORMS["latex"](found), FORMS["markdown"](found)
    assert latex.count("\\\\") == len({one.method for one in found}) + 1
    assert r"\mathbf" in latex
    sizes_ = sorted({one.most for one in found})
    rows = [line.removesuffix(r" \\").split(" & ") for line in latex.splitlines() if " & " in line]
    shown = {row[0].replace("\\", ""): row[1:] for row in rows[1:]}
    for one in found:
        n = "select" if one.is_select else len(one.scores)
        assert shown[one.method][sizes_.index(one.most)].endswith(f" ({n})")
    assert (latex.count("(select)") > 0) == any(one.is_select for one in found)
    assert "_ " not in latex.replace(r"\_", "")
    assert markdown.count("\n") == len({one.method for one in found}) + 2


def test_a_page_of_several_runs(runs):
    assert "Average ranks" in (standings(runs) or "")
    assert "2 runs" in (equal_sizes(runs) or "")
    points = band([runs["a"], runs["b"]])
    assert all(std >= 0 for *_, std in points)
    assert [mean for _, mean, _ in points] == sorted(mean for _, mean, _ in points)
    assert band([runs["a"]]) == []


def test_names_of_an_enemy_stay_text(hostile, tmp_path):
    record = read_run(hostile)
    page = equal_sizes({"<x>": record}) or ""
    assert "<script>" not in page
    assert "\\end{tabular}" in FORMS["latex"](cells([record]))


def test_without_complete_trials_there_is_nothing(write_run, tmp_path):
    empty = {"it": read_run(write_run(tmp_path / "it", 9, complete=False))}
    assert (equal_sizes(empty), standings(empty)) == (None, None)
