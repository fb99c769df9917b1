"""build(): eight files from a run folder alone; small, quick to open, whole without torch, Ray and
Optuna; compare().
"""

import csv
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tenslora_search.report import build as building
from tenslora_search.report.build import build
from tenslora_search.report.compare import COMPARISONS, compare
from tenslora_search.report.markup import data, outside, table, tag
from tenslora_search.report.pages import PAGES
from tenslora_search.report.pages.choosing import report_score
from tenslora_search.report.pages.evidence import progress
from tenslora_search.report.pages.insight import by_choice
from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import read_run
from tenslora_search.report.rows import columns_of
from tenslora_search.report.svg import log_ticks, short, ticks
from tenslora_search.runs.events import Earlier
from tenslora_search.runs.journal import Journal
from tenslora_search.spec.table import QuestionError, Table

ROOT = Path(__file__).parents[2]
FILES = {
    "report.html", "report.md", "result.json", "front.csv", "trials.csv", "front.png", "front.svg",
    "front.pdf",
}  # fmt: skip


def test_eight_files_from_two(digits):
    assert {path.name for path in digits.iterdir()} == FILES | {"run.json", "trials.jsonl"}
    assert (digits / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (digits / "front.svg").read_text()


def test_the_tables_hold_all_columns(digits):
    record = read_run(digits)
    for name, rows in (("trials.csv", record.rows), ("front.csv", front(record.rows))):
        with (digits / name).open(newline="") as file:
            written = list(csv.DictReader(file))
        assert list(written[0]) == columns_of(record.rows)
        assert [int(row["number"]) for row in written] == [one.number for one in rows]


def test_building_again_gives_the_same(digits):
    before = {name: (digits / name).read_bytes() for name in FILES}
    build(digits)
    assert {name for name in FILES if (digits / name).read_bytes() != before[name]} == set()


def test_an_emptied_journal_leaves_the_report_as_it_is(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 3)
    build(folder)
    before = {name: (folder / name).read_bytes() for name in FILES}
    point = {"number": 3, "n_numbers": 1}
    warm = Earlier("before", 3, point, n_params=9, step=9, score=0.5, is_same=True)
    for left in ([], [warm]):  # what a warm start was told is no trial of its own
        (folder / "trials.jsonl").write_text("")
        Journal(folder / "trials.jsonl").append(*left)
        with pytest.raises(QuestionError, match=r"tells of no trial, and the report there of 3"):
            build(folder)
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_five_hundred_trials_are_a_small_page(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 500)
    build(folder)
    assert (folder / "report.html").stat().st_size <= 300_000


def test_the_page_names_no_address(digits):
    text = (digits / "report.html").read_text()
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<link[^>]+href=\"(?!data:)", text)
    assert " src=" not in text


@pytest.mark.parametrize("name", list(PAGES))
def test_each_page_has_its_section(digits, name):
    section = re.search(
        rf'<section id="{name}">(.*?)</section>',
        (digits / "report.html").read_text(),
        flags=re.DOTALL,
    )
    assert section is not None
    assert len(section[1]) > 50


def test_choices_are_sorted_by_their_best_score(write_run, tmp_path):
    """As numbers: -2.3 before -2.4."""

    def change(event):
        return {**event, "score": (event["score"] - 1) * 25} if "score" in event else event

    folder = write_run(tmp_path / "run", 200, change=change)
    shown = by_choice(read_run(folder))
    for table_ in shown.split("<table")[1:]:
        best = [re.findall(r"<td[^>]*>(.*?)</td>", row)[4] for row in table_.split("<tr")[2:]]
        numbers = [float(text) for text in best if text != "-"]
        assert len(numbers) > 2
        assert numbers == sorted(numbers, reverse=True)
        assert best[len(numbers) :] == ["-"] * (len(best) - len(numbers))


def test_a_new_page_is_one_function_in_one_table(digits, monkeypatch):
    def weather(record):
        """What it is like outside."""
        return tag("p", f"sunny over {record.title} <3")

    monkeypatch.setattr(building, "PAGES", Table("page", {**PAGES, "weather": weather}))
    page = building.page(read_run(digits))
    assert '<section id="weather"><p>sunny over digits on digits-vit &lt;3</p></section>' in page


@pytest.mark.parametrize(
    ("n_trials", "complete", "retests"),
    [(0, True, 0), (1, False, 0), (1, True, 1), (2, True, 0), (3, False, 1), (3, True, 1)],
)
def test_small_runs(write_run, tmp_path, n_trials, complete, retests):
    folder = write_run(tmp_path / "run", n_trials, complete=complete, retests=retests)
    build(folder)
    assert {path.name for path in folder.iterdir()} >= FILES


def test_markdown_fits_a_pull_request(digits):
    text = (digits / "report.md").read_text()
    rows = front(read_run(digits).rows)
    assert text.startswith("# digits on digits-vit\n")
    assert len(text) < 6_000
    assert sum(line.startswith("| ") for line in text.splitlines()) >= len(rows) + 1
    assert "- 0 of 48 over budget" in text


def test_markdown_of_hostile_names_is_text(hostile):
    text = (hostile / "report.md").read_text()
    assert not re.search(r"(?<!\\)<(script|img|svg)", text)
    first_table = text.partition("\n| ")[2].partition("\n\n")[0].splitlines()
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in first_table[2:]]
    assert bars
    assert set(bars) == {9}


def test_markup_escapes_everything_that_is_not_markup():
    assert tag("a", "<b>", title='"<&') == '<a title="&quot;&lt;&amp;">&lt;b&gt;</a>'
    assert tag("p", None, tag("b", 1), 2.25, class_=None) == "<p><b>1</b>2.2</p>"
    assert outside("<i>") == "<bdi>&lt;i&gt;</bdi>"
    assert (
        data({"a": "</script>"}, "x")
        == '<script type="application/json" id="x">{"a":"\\u003c/script>"}</script>'
    )
    assert "<td>2</td>" in table(("<", "n"), [("a", 2)])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.861, 0.912, [0.87, 0.88, 0.89, 0.9, 0.91]),
        (-3, -1, [-3, -2.5, -2, -1.5, -1]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_log_ticks():
    assert log_ticks(90, 2_000) == [100, 200, 500, 1000, 2000]
    assert log_ticks(90, 2e6) == [100, 1000, 10_000, 100_000, 1e6]
    assert log_ticks(110_000, 180_000) == pytest.approx([120_000, 140_000, 160_000, 180_000])
    assert [short(value) for value in (0, 0.25, 900, 1500, 2e6, 3e9)] == [
        "0",
        "0.25",
        "900",
        "1.5k",
        "2M",
        "3G",
    ]


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_needs_neither_torch_nor_ray_nor_optuna(digits, write_run, tmp_path, verb):
    """In a process in which they cannot be imported."""
    other = str(write_run(tmp_path / "run", 5))
    extra = [other, "--out", str(tmp_path / "both.html")] if verb == "compare" else []
    blocked = (
        "torch",
        "ray",
        "optuna",
        "transformers",
        "datasets",
        "sklearn",
        "scipy",
        "safetensors",
        "peft",
    )
    program = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        f"sys.argv = {['tenslora-search', verb, str(digits), *extra]!r}\n"
        "from tenslora_search import cli\ncli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


LONG = "x<y>" * 2_500_000


@pytest.mark.parametrize("name", ["task", "model", "metric", "labels", "command", "versions"])
def test_ten_megabytes_of_text_are_cut_with_a_note(write_run, tmp_path, name):
    value = {"labels": [LONG, "b"], "versions": {"torch": LONG}}.get(name, LONG)
    folder = write_run(tmp_path / "run", 12, **{name: value})
    build(folder)
    compare([folder], tmp_path / "compare.html")
    size = sum((folder / one).stat().st_size for one in FILES)
    assert size + (tmp_path / "compare.html").stat().st_size < 1_000_000
    if name != "labels":
        assert "cut here, 10,000,000 characters in all" in (folder / "report.html").read_text()


def test_long_texts_of_trials_are_cut_with_a_note(write_run, tmp_path):
    def change(event):
        if event["event"] == "failed":
            return {**event, "reason": LONG[: 10**6]}
        if event["event"] == "proposed" and event["number"] == 3:
            return {**event, "method": LONG[: 10**6], "construction": LONG[: 10**6]}
        return event

    folder = write_run(tmp_path / "run", 120, change=change)
    build(folder)
    assert sum((folder / one).stat().st_size for one in FILES) < 1_000_000
    note = "cut here, 1,000,000 characters in all"
    assert (folder / "trials.csv").read_text().count(note) == 4  # two reasons, method, construction


def test_a_card_shows_the_score_that_it_was_picked_by(digits):
    record = read_run(digits)
    rows = front(record.rows)
    cards = (digits / "report.html").read_text().split('<div class="card">')[1:]
    picks = picks_of(rows, record.typical_noise("select"))
    for number, card in zip(picks.values(), cards, strict=False):
        row = next(one for one in rows if one.number == number)
        assert f"{row.score:.4f}<small> select</small>" in card
        assert f"estimate {row.estimate:.4f} ± {row.estimate_error:.4f}" in card
        again = f"report {report_score(row)}, 3 fresh seeds" if row.n_retests else "not retested"
        assert again in card
    assert picks["best"] == max(rows, key=lambda one: one.estimate).number
    assert "All picks go by the estimate" in (digits / "report.html").read_text()


def test_what_time_bought_shows_a_curve_where_all_became_complete_at_once(write_run, tmp_path):
    """Every rung counts: a chart of complete trials alone would be one point."""
    folder = write_run(tmp_path / "run", 30)
    drawn = progress(read_run(folder))
    assert drawn is not None
    places = re.findall(r"translate\((\S+) (\S+)\)", drawn)
    assert len({x for x, _ in places}) == 3
    assert len({y for _, y in places}) == 3


def test_a_folder_that_cannot_be_written(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 2)
    (folder / "report.html").mkdir()
    with pytest.raises(QuestionError, match="cannot write the report"):
        build(folder)


def test_compare_puts_runs_on_one_page(digits, write_run, tmp_path):
    runs = [
        digits,
        write_run(tmp_path / "a" / "run", 40),
        write_run(tmp_path / "b" / "run", 40, seed=1),
        write_run(tmp_path / "none", 5, complete=False),
    ]
    text = compare(runs, tmp_path / "new" / "compare.html").read_text()
    assert "4 searches side by side" in text
    assert text.count('<svg viewBox="0 0 760 380"') == 2  # digits, and the made-up task
    for name in ("digits", str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run")):
        assert name in text
    for name in COMPARISONS:
        assert f'<section id="{name}">' in text


def test_compare_refuses_a_run_named_twice(tmp_path, digits):
    with pytest.raises(QuestionError, match="digits is named twice"):
        compare([digits, digits.parent / "." / digits.name], tmp_path / "compare.html")


def test_compare_says_what_is_no_run(tmp_path, digits):
    with pytest.raises(QuestionError, match="no run folder"):
        compare([digits, tmp_path], tmp_path / "compare.html")


def test_the_packaged_files_are_there():
    page = (
        Path(importlib.import_module("tenslora_search.report.build").__file__ or "").parent / "page"
    )
    assert {path.name for path in page.iterdir()} == {"page.html", "page.css", *building.SCRIPTS}
