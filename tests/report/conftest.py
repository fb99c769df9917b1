"""Run folders to report on: a real one (48 trials on digits), made-up ones of any size; and one
headless browser.
"""

import importlib.util
import shutil
import tempfile
from pathlib import Path

import pytest

from tenslora_search.report.build import build

HERE = Path(__file__).parent
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1000""".split()
BY_CLASS = ((30, 40, 36), (36, 38, 40), (40, 41, 41), (0, 0, 39), (39, 78, 41))
"""Of the 197 rows: found, given, there."""
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "\"'><img src=x onerror='window.hacked = 1'>",
    "</script><svg onload=window.hacked=1>",
    "\u202eright to left \u05d0\u05d1\u05d2 \u0627\u0644\u0639\u0631",
    "long" * 500,
    "$script $data $sections",
    "a|b*c_d`e` \\ &amp; ; ' \" \n new line",
)


def _script(name: str):
    spec = importlib.util.spec_from_file_location(name, HERE.parents[1] / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_run():
    """scripts/synthetic_run.py's: a run folder of any size, nothing trained."""
    return _script("synthetic_run").write_run


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """A copy of a real run's run.json and trials.jsonl, with its report.

    The run is older than counts by class: all its retests get the same, of five classes.
    """
    folder = tmp_path_factory.mktemp("real") / "digits"
    shutil.copytree(HERE / "digits", folder)
    journal = folder / "trials.jsonl"
    counts = f'"event":"retest","by_class": {[list(one) for one in BY_CLASS]}'
    journal.write_text(journal.read_text().replace('"event":"retest"', counts))
    build(folder)
    return folder


@pytest.fixture(scope="session")
def hostile(write_run, tmp_path_factory) -> Path:
    """A run whose names come from an enemy."""
    names = iter(range(10**6))

    def change(event):
        if event["event"] == "proposed" and event["number"]:
            bad = HOSTILE[next(names) % len(HOSTILE)]
            spec = {**event["spec"], "rule": bad}
            return {**event, "method": bad, "construction": bad, "decomposition": bad, "spec": spec}
        return {**event, "reason": HOSTILE[0]} if event["event"] == "failed" else event

    folder = tmp_path_factory.mktemp("hostile") / '<b>it\'s "here" $(touch hacked)'
    about = {
        "task": HOSTILE[0],
        "model": HOSTILE[3],
        "metric": HOSTILE[1],
        "command": HOSTILE[2],
        "data_digest": HOSTILE[4],
    }
    versions, hardware = (
        {HOSTILE[5]: HOSTILE[0]},
        {"cpu": HOSTILE[1], "cores": 1, "gpus": [HOSTILE[6]]},
    )
    write_run(
        folder,
        60,
        change=change,
        versions=versions,
        hardware=hardware,
        importances={HOSTILE[0]: 1.0},
        **about,
    )
    build(folder)
    return folder


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, one for all tests."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip(
            "no chromium with chromedriver on this machine: apt-get install chromium "
            "chromium-driver"
        )
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        made = webdriver.Chrome(options=options, service=Service(driver))
        made.execute_cdp_cmd(
            "Browser.grantPermissions",
            {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
        )
        yield made
        made.quit()
