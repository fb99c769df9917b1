"""The table by method: each by its best trial, with what is left of it and what it costs."""

from dataclasses import replace

from tenslora_search.report.compare import compare
from tenslora_search.report.pages.by_method import best_by_method, by_method, by_method_and_run
from tenslora_search.report.reading import read_run


def test_each_method_stands_once_with_its_best_trial(digits):
    record = read_run(digits)
    rows = best_by_method(record)
    assert [one.method for one in rows] == list(dict.fromkeys(one.method for one in rows))
    assert {one.method for one in rows} == {one.method for one in record.rows if one.step}
    for row in rows:
        alike = [one for one in record.rows if one.method == row.method and one.step]
        complete = [one.score for one in alike if one.is_complete]
        assert row.is_complete == bool(complete)
        assert row.score == max(complete or [one.score for one in alike if one.step == row.step])
    scores = [one.score for one in rows if one.is_complete]
    assert scores == sorted(scores, reverse=True)


def test_the_table_says_what_is_left_and_what_it_costs(digits):
    record = read_run(digits)
    first = best_by_method(record)[0]
    changed = replace(first, n_nonzero=1_234, seconds=56.78, extra_macs=9_876_543.0)
    rows = tuple(changed if one.number == first.number else one for one in record.rows)
    text = by_method(replace(record, rows=rows))
    for said in ("1,234", "56.8", "9,876,543", f"{first.score:.4f} ± ", f"{first.n_params:,}"):
        assert said in text
    assert by_method(replace(record, rows=())) is None
    assert by_method_and_run({}) is None


def test_it_is_in_the_page_and_in_compare(digits, write_run, tmp_path):
    page = (digits / "report.html").read_text()
    assert "By method" in page
    both = compare([digits, write_run(tmp_path / "run", 5)], tmp_path / "both.html").read_text()
    assert both.count("By method") == 1
    assert both.count("not zero in the end") == 1
