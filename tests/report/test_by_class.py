"""The table by class: what the picks find of each, on report."""

import re
from dataclasses import replace

from tenslora_search.report.pages.by_class import by_class, counts_of, shares
from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import read_run


def test_shares_by_hand():
    assert shares((30, 40, 36)) == ("0.750", "0.833", "0.789")
    assert shares((0, 0, 39)) == ("-", "0.000", "0.000")
    assert shares((0, 0, 0)) == ("-", "-", "-")


def test_each_pick_has_three_columns_and_each_class_a_row(digits):
    record = read_run(digits)
    picks = picks_of(front(record.rows), record.typical_noise("select"))
    retested = {number for number in picks.values() if record.trials[number].retests}
    text = str(by_class(record))
    assert text.count("precision</th>") == len(retested) > 0
    assert text.count("<tr>") == 1 + 5
    assert "<td>36</td>" in text, "rows of one retest, not of all"
    number = next(iter(retested))
    n_seeds = len(record.trials[number].retests)
    assert counts_of(record, number)[0] == [n_seeds * one for one in (30, 40, 36)]
    assert re.search("0.750.*0.833.*0.789", text)


def test_nothing_where_nothing_was_counted(digits, write_run, tmp_path):
    record = read_run(digits)
    assert by_class(replace(record, rows=())) is None
    assert by_class(read_run(write_run(tmp_path / "run", 8))) is None
