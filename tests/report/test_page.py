"""report.html in headless Chromium: what people do with it, on real and made-up runs; nothing
breaks, nothing executes.
"""

import ast
import base64
import json
import re
import shlex

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tenslora_search.report.build import build
from tenslora_search.report.compare import compare
from tenslora_search.report.pareto import PICKS, front
from tenslora_search.report.reading import read_run
from tenslora_search.report.rows import frame


def trials_of(folder):
    return frame(read_run(folder).rows)


def leaders(folder):
    return frame(front(read_run(folder).rows))


@pytest.fixture
def visit(browser):
    """Opens a page anew; at the end of the test its console must be empty."""

    def go(path):
        address = path.resolve().as_uri()
        browser.get("about:blank")
        browser.get(address)
        # on a busy machine `get` may be back before the page has run
        is_there = "return document.readyState === 'complete' && location.href === arguments[0]"
        WebDriverWait(browser, 60).until(lambda _: browser.execute_script(is_there, address))
        return browser

    yield go
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None


@pytest.fixture
def page(visit, digits):
    return visit(digits / "report.html")


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def texts(browser, selector):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)", selector
    )


def press(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def choose(browser, selector, value):
    script = (
        "const one = document.querySelector(arguments[0]); one.value = arguments[1]; "
        "one.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(script, selector, value)


def write(browser, selector, text):
    field = find(browser, selector)
    field.clear()
    field.send_keys(text)


def numbers(browser):
    return [int(text) for text in texts(browser, "#trials tbody td:first-child")]


def mark(browser, number):
    return find(browser, f"#front-chart [data-number='{number}']")


def clipboard(browser):
    return browser.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], error => arguments[0](String(error)))"
    )


def test_every_trial_with_a_score_is_a_mark(page, digits):
    trials = trials_of(digits)
    assert (
        len(page.find_elements(By.CSS_SELECTOR, "#front-chart [data-number]"))
        == trials["score"].notna().sum()
    )
    assert texts(page, "#trials thead th")[0] == "trial"
    assert numbers(page) == sorted(trials["number"])


def test_pointing_at_a_mark_shows_its_configuration_and_leaving_takes_it_back(page, digits):
    chosen, other = (int(number) for number in leaders(digits)["number"][:2])
    assert find(page, "#detail h3").text == f"Trial {chosen}"
    press_free = ActionChains(page).scroll_to_element(mark(page, other))
    press_free.move_to_element(mark(page, other)).perform()
    assert find(page, "#detail h3").text == f"Trial {other}"
    ActionChains(page).move_to_element(find(page, "h1")).perform()
    assert find(page, "#detail h3").text == f"Trial {chosen}"


def test_a_click_keeps_a_trial_and_shift_sets_one_beside_it(page, digits):
    rows = leaders(digits)
    first, second = int(rows["number"].iloc[1]), int(rows["number"].iloc[2])
    press(page, mark(page, first))
    assert find(page, "#side-a").get_property("value") == str(first)
    assert f"{rows['n_params'].iloc[1]:,}" in find(page, "#detail").text
    ActionChains(page).key_down(Keys.SHIFT).click(mark(page, second)).key_up(Keys.SHIFT).perform()
    assert find(page, "#side-b").get_property("value") == str(second)
    assert find(page, "#side-a").get_property("value") == str(first)
    assert texts(page, "#sides th")[1:] == [f"A: trial {first}", f"B: trial {second}"]
    assert all(
        name.startswith("differs")
        for name in page.execute_script(
            "return [...document.querySelectorAll('#sides tbody tr')].map(r => r.className)"
        )
    )


def test_the_keyboard_reaches_the_front(page, digits):
    leading = mark(page, int(leaders(digits)["number"].iloc[1]))
    page.execute_script("arguments[0].focus()", leading)
    leading.send_keys(Keys.ENTER)
    assert find(page, "#side-a").get_property("value") == leading.get_attribute("data-number")
    assert "chosen" in mark(page, leading.get_attribute("data-number")).get_attribute("class")


def test_axes_switch(page):
    labels = dict(
        zip(
            ("n_params", "bytes", "lora_rank", "lora_bytes", "extra_macs", "seconds"),
            texts(page, "#across option"),
            strict=True,
        )
    )
    before = find(page, "#front-chart .frontline").get_attribute("d")
    for name in ("bytes", "extra_macs", "seconds"):
        choose(page, "#across", name)
        assert labels[name] in texts(page, "#front-chart text.label")
    assert find(page, "#front-chart .frontline").get_attribute("d") != before
    choose(page, "#across", "n_params")
    assert find(page, "#front-chart .frontline").get_attribute("d") == before
    n_marks = len(page.find_elements(By.CSS_SELECTOR, "#front-chart [data-number]"))
    choose(page, "#up", "report_score")
    assert "report accuracy" in texts(page, "#front-chart text.label")
    assert 0 < len(page.find_elements(By.CSS_SELECTOR, "#front-chart [data-number]")) < n_marks
    assert page.find_elements(By.CSS_SELECTOR, "#front-chart .bar")


def test_the_front_of_the_chart_is_the_front(page, digits):
    leading = {int(number) for number in leaders(digits)["number"]}
    shown = page.execute_script(
        "const found = document.querySelectorAll('#front-chart .ours, #front-chart .leading');"
        "return [...found].map(one => Number(one.dataset.number))"
    )
    assert set(shown) == leading


def test_all_trials_sort_by_every_column(page, digits):
    trials = trials_of(digits).set_index("number")
    heads = page.find_elements(By.CSS_SELECTOR, "#trials th button")
    press(page, heads[4])  # parameters, most first
    by_size = trials["n_params"].loc[numbers(page)]
    assert by_size.is_monotonic_decreasing
    press(page, page.find_elements(By.CSS_SELECTOR, "#trials th button")[4])
    assert trials["n_params"].loc[numbers(page)].is_monotonic_increasing
    press(page, heads[2])
    assert list(trials["method"].loc[numbers(page)]) == texts(page, "#trials tbody td:nth-child(3)")
    for head in heads:
        press(page, head)
        assert sorted(numbers(page)) == sorted(trials.index)


def test_all_trials_are_filtered(page, digits):
    trials = trials_of(digits)
    write(page, "#words", "lora cp")
    wanted = trials[
        trials["method"].str.lower().str.contains("lora") & (trials["decomposition"] == "cp")
    ]
    assert set(numbers(page)) == set(wanted["number"])
    write(page, "#words", "")
    find(page, "#words").send_keys("x", Keys.BACKSPACE)
    choose_state = (
        "const one = document.querySelector('#state'); one.value = 'complete'; "
        "one.dispatchEvent(new Event('input'))"
    )
    page.execute_script(choose_state)
    write(page, "#most", "10k")
    small = trials[(trials["state"] == "complete") & (trials["n_params"] <= 10_000)]
    assert set(numbers(page)) == set(small["number"])
    assert texts(page, "#n-shown")[0].strip() == f"{len(small)} of {len(trials)}"


def test_on_paper_a_long_table_says_that_it_is_cut(visit, page, write_run, tmp_path):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = (
            "return [...document.querySelectorAll('#trials tbody tr')]"
            ".filter(one => one.offsetHeight).length"
        )
        assert page.execute_script(shown) == 40
        assert (
            find(page, "#n-printed").text == "On paper: the first 40 of 48; trials.csv holds all."
        )
        folder = write_run(tmp_path / "run", 12)
        build(folder)
        visit(folder / "report.html")
        assert page.execute_script(shown) == 12
        assert find(page, "#n-printed").text == ""
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not find(page, "#n-printed").is_displayed()


def test_choices_that_differ_between_trials_have_a_column(visit, write_run, tmp_path):
    def change(event):
        if event["event"] != "proposed" or event["number"] % 2:
            return event
        return {**event, "spec": {**event["spec"], "rule": "lora_plus"}}

    folder = write_run(tmp_path / "run", 12, change=change)
    build(folder)
    page = visit(folder / "report.html")
    heads = texts(page, "#trials thead th")
    assert "rule" in heads
    assert "allocator" not in heads
    column = heads.index("rule") + 1
    assert set(texts(page, f"#trials tbody td:nth-child({column})")) == {"plain", "lora_plus"}


def test_the_best_under_the_whole_budget_is_the_best(page):
    write(page, "#under", "20k")
    cards = texts(page, "#answer .card .score")
    assert cards[0] == cards[-1]


def test_the_static_tables_sort(page):
    head = find(page, "#members th:nth-child(4) button")
    press(page, head)
    counts = [int(text.replace(",", "")) for text in texts(page, "#members tbody td:nth-child(4)")]
    assert counts == sorted(counts, reverse=True)
    press(page, head)
    assert [
        int(text.replace(",", "")) for text in texts(page, "#members tbody td:nth-child(4)")
    ] == counts[::-1]


def test_the_best_under_a_number_of_parameters(page, digits):
    rows = leaders(digits)
    small = rows[rows["n_params"] <= 4_000].iloc[0]
    write(page, "#under", "4k")
    assert f"{small['n_params']:,}" in find(page, "#under-answer").text
    write(page, "#under", "3")
    assert f"the smallest has {rows['n_params'].min():,}" in find(page, "#under-answer").text
    write(page, "#under", "many")
    assert "Write a number" in find(page, "#under-answer").text


def test_the_picks_are_those_of_the_command_line(page, digits):
    rows = front(read_run(digits).rows)
    shown = [int(text.split()[1]) for text in texts(page, "#answer .card [data-show]")][
        : len(PICKS)
    ]
    assert shown == [pick(rows) for pick in PICKS.values()]


def test_copying_the_export_command_and_the_python_line(page, digits):
    number = PICKS["knee"](front(read_run(digits).rows))
    press(page, page.find_elements(By.CSS_SELECTOR, "#answer [data-export]")[1])
    assert (
        clipboard(page)
        == f"tenslora-search export {digits} --pick {number} --to adapter-{number} --format peft"
    )
    best = PICKS["best"](front(read_run(digits).rows))
    press(page, page.find_elements(By.CSS_SELECTOR, "#detail [data-copy]")[1])
    line = f'load_run("{digits}").export({best}, "adapter-{best}", format="peft")'
    assert clipboard(page) == f"from tenslora_search import load_run\n\n{line}"
    assert find(page, "#detail [data-copy]:not([data-label])").text == "Copy"
    assert page.find_elements(By.CSS_SELECTOR, "#detail [data-label]")[0].text == "Copied"


def test_light_and_dark(page):
    def paper():
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    before = paper()
    press(page, find(page, "#theme"))
    dark = paper()
    assert sum(map(int, re.findall(r"\d+", dark))) < 150 < sum(map(int, re.findall(r"\d+", before)))
    press(page, find(page, "#theme"))
    assert paper() == before


def test_the_page_follows_the_system_into_the_dark(visit, digits, browser):
    wish = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wish})
    try:
        assert (
            visit(digits / "report.html").execute_script(
                "return document.documentElement.dataset.theme"
            )
            == "dark"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_print_to_pdf(page):
    pdf = base64.b64decode(page.print_page())
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 14


def test_a_phone_scrolls_in_one_direction_only(visit, digits, browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        page = visit(digits / "report.html")
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("n_trials", [0, 1, 2, 500])
def test_any_number_of_trials(visit, write_run, tmp_path, n_trials):
    folder = write_run(tmp_path / "run", n_trials, peak_memory=n_trials == 500)
    build(folder)
    assert (folder / "report.html").stat().st_size <= 300_000
    page = visit(folder / "report.html")
    assert len(page.find_elements(By.CSS_SELECTOR, "#trials tbody tr")) == min(n_trials, 250)
    assert bool(page.find_elements(By.CSS_SELECTOR, "#across option[value=peak_memory_mb]")) == (
        n_trials == 500
    )
    if n_trials == 500:
        press(page, find(page, "#n-shown button"))
        assert numbers(page) == list(range(500))
        choose(page, "#across", "peak_memory_mb")
        assert page.find_elements(By.CSS_SELECTOR, "#front-chart [data-number]")


def test_none_complete(visit, write_run, tmp_path):
    folder = write_run(tmp_path / "run", 40, complete=False)
    build(folder)
    page = visit(folder / "report.html")
    assert "None of the 40 trials is complete" in find(page, "#answer").text
    assert len(page.find_elements(By.CSS_SELECTOR, "#front-chart .mark.open")) == 40
    assert not page.find_elements(By.CSS_SELECTOR, "#members")
    assert "Only complete trials can be exported." in find(page, "#detail").text


def test_regression_scores_and_scores_below_zero(visit, write_run, tmp_path):
    def change(event):
        shifted = {name: event[name] - 1.1 for name in ("score", "report_score") if name in event}
        return {**event, **shifted}

    folder = write_run(
        tmp_path / "run", 30, change=change, metric="pearson_spearman", regression=True, labels=[]
    )
    build(folder)
    page = visit(folder / "report.html")
    assert page.find_elements(By.CSS_SELECTOR, "#front-chart .frontline")
    assert any("select pearson_spearman" in one for one in texts(page, "#front-chart text.label"))
    assert any(text.startswith("-") for text in texts(page, "#members tbody td:nth-child(5)"))


def test_hostile_names_are_text(visit, hostile):
    page = visit(hostile / "report.html")
    assert page.execute_script("return document.querySelectorAll('script').length") == 2
    assert page.execute_script("return document.images.length") == 0
    assert "<script>window.hacked = 1</script>" in find(page, "h1").text
    for number in (1, 2, 3, 4, 5, 6, 7):
        choose(page, "#side-a", str(number))
        choose(page, "#side-b", str(8 - number))
        assert texts(page, "#detail h3")[0].strip().startswith("Trial")
    press(page, page.find_elements(By.CSS_SELECTOR, "#answer [data-export]")[0])
    assert shlex.split(clipboard(page))[:3] == ["tenslora-search", "export", str(hostile)]
    python = page.execute_script("return [...document.querySelectorAll('#answer [data-show]')][0]")
    press(page, python)
    lines = texts(page, "#detail .command:nth-of-type(2) pre")[0]
    assert ast.parse(lines).body[1].value.func.value.args[0].value == str(hostile)  # type: ignore[attr-defined]
    write(page, "#words", "<script>")
    assert numbers(page)
    assert page.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_hostile_names_in_a_comparison_are_text(visit, hostile, digits, tmp_path):
    page = visit(compare([hostile, digits], tmp_path / "compare.html"))
    assert page.execute_script("return document.images.length") == 0
    assert len(texts(page, "#runs_table tbody tr")) == 2
    assert len(page.find_elements(By.CSS_SELECTOR, "#fronts svg.chart")) == 2


def test_the_page_asks_the_network_for_nothing(page):
    fetched = page.execute_script(
        "return performance.getEntriesByType('resource').map(one => one.name)"
    )
    assert [name for name in fetched if not name.startswith("data:")] == []
    policy = find(page, "meta[http-equiv='Content-Security-Policy']").get_attribute("content")
    assert policy.startswith("default-src 'none'")
    assert json.loads(texts(page, "#data")[0])["metric"] == "accuracy"
