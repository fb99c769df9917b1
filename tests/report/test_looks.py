"""Colours and marks for any number of methods and runs: a row more in METHODS is enough."""

import pytest
from selenium.webdriver.common.by import By

from tenslora_search.report import looks, payload
from tenslora_search.report.build import build
from tenslora_search.report.compare import compare
from tenslora_search.report.looks import COLOURS, SHAPES, baselines, look, marker, outline
from tenslora_search.report.reading import read_run
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.table import Table

N_METHODS = 30


@pytest.fixture
def thirty(monkeypatch):
    """METHODS with so many rows that 30 are no TensLoRA; only their names are looked at here."""
    named = [name for name in METHODS if not name.startswith("TensLoRA")]
    extra = {f"New {k}": next(iter(METHODS.values())) for k in range(N_METHODS - len(named))}
    monkeypatch.setattr(looks, "METHODS", Table("method", {**METHODS, **extra}))
    return list(baselines())


@pytest.fixture
def many(thirty, write_run, tmp_path):
    """A run with all thirty among its complete trials."""

    def change(event):
        if event["event"] == "proposed":
            return {**event, "method": thirty[event["number"] % N_METHODS]}
        return event

    return write_run(tmp_path / "many", 300, change=change)


def test_seventy_eight_looks_are_all_different():
    assert len({look(place) for place in range(78)}) == 78 == len(SHAPES) * len(COLOURS)
    assert look(78) == look(0)


def test_the_first_is_the_orange_triangle_that_stands_for_lora_elsewhere():
    assert next(iter(baselines())) == "LoRA"
    assert baselines()["LoRA"] == (0, "triangle")


def test_a_shape_is_the_same_in_page_and_figure():
    assert outline("triangle", 5) == "M0.0 -5.0L5.0 4.0L-5.0 4.0Z"
    assert marker("triangle") == [(0, 1), (1, -0.8), (-1, -0.8)]


def test_thirty_methods_are_told_apart_in_the_figures(thirty, many):
    build(many)
    record = read_run(many)
    text = (many / "front.svg").read_text()
    present = {one.method for one in record.complete}
    assert len(present) > 15
    for name in present:
        assert f">{name}</text>" in text
    told = payload.payload(record)["looks"]
    assert [name for name, _, _ in told] == thirty
    assert len({(path, colour) for _, path, colour in told}) == N_METHODS


def test_thirty_methods_are_told_apart_in_the_page(browser, many):
    build(many)
    browser.get((many / "report.html").resolve().as_uri())
    present = {one.method for one in read_run(many).complete}
    entries = browser.find_elements(By.CSS_SELECTOR, "#legend span")
    marks = {}
    for entry in entries:
        if entry.text in present:
            path = entry.find_element(By.TAG_NAME, "path")
            colour = browser.execute_script("return getComputedStyle(arguments[0]).fill", path)
            marks[entry.text] = (path.get_attribute("d"), colour)
    assert set(marks) == present
    assert len(set(marks.values())) == len(present)
    assert browser.get_log("browser") == []


def test_a_method_named_after_what_every_object_has(browser, write_run, tmp_path):
    def change(event):
        return {**event, "method": "constructor"} if event["event"] == "proposed" else event

    folder = write_run(tmp_path / "run", 30, change=change)
    build(folder)
    browser.get((folder / "report.html").resolve().as_uri())
    assert browser.find_elements(By.CSS_SELECTOR, "#front-chart .mark.ours")
    assert browser.get_log("browser") == []


def test_many_runs_are_told_apart_in_a_comparison(write_run, tmp_path):
    runs = [write_run(tmp_path / f"run{k}", 12, seed=k) for k in range(9)]
    text = compare(runs, tmp_path / "compare.html").read_text()
    legend = text.partition('class="legend"')[2].partition("</figure>")[0]
    shown = {piece.partition("</svg>")[0] for piece in legend.split("<svg")[1:]}
    assert len(shown) == 9
