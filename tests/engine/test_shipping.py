"""Entries from outside go to Ray's workers by value, with the user's own modules that they call."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tenslora_search.engine.shipping import is_own

ROOT = Path(__file__).parents[2]
HELPER = "def halved(value):\n    return value / 2\n"
PLUGIN = '''
from helper_of_mine import halved
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import Care, Factor, Form, Rule, bond
from tenslora_search.spec.rules import RULES


def two_sides(modes):
    """CP under another name."""
    r = bond("r")
    sides = [Factor(one.name, (one, r), "uniform", (one.name,)) for one in modes[:-1]]
    return Form((*sides, Factor(modes[-1].name, (modes[-1], r))))


def half_speed():
    """Every factor at half the learning rate."""
    return Rule(care=lambda factor: Care(rate=halved(1.0)))


DECOMPOSITIONS.add("two_sides", two_sides)
RULES.add("half_speed", half_speed)
CONSTRUCTIONS.add("layered", "input output layer projection")
'''
SCRIPT = '''
import json
from ray.tune.logger import LoggerCallback
from tenslora_search import search
from tenslora_search.engine import ray_start
from tenslora_search.spec.scales import SCALES

ray_start._cores_needed = lambda place: 1  # a worker imports for seconds


class Logger(LoggerCallback):
    rows = []

    def log_trial_result(self, iteration, trial, result):
        self.rows.append((result["trials"], result["score"]))


def doubled(alpha, rank, first_step, output):
    """Twice alpha."""
    return 2 * alpha


SCALES.add("doubled", doubled)

if __name__ == "__main__":
    heard = []
    run = search("digits", budget="4k", trials=3, max_steps=8, retest=1, cut=False, executor="ray",
                 space="space.toml", out="run", plugins=["mine.py"],
                 callbacks=[Logger(), heard.append])
    trials = run.trials()
    print(json.dumps({"states": trials["state"].tolist(), "rules": sorted(set(trials["rule"])),
                      "rows": Logger.rows, "heard": [one["event"] for one in heard]}))
'''
SPACE = """
construction = "layered"
decomposition = "two_sides"
rule = "half_speed"
scale = "doubled"
"""


def in_a_fresh_interpreter(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


def written(folder: Path) -> Path:
    texts = {"helper_of_mine.py": HELPER, "mine.py": PLUGIN, "script.py": SCRIPT}
    for name, text in {**texts, "space.toml": SPACE}.items():
        (folder / name).write_text(text)
    return folder


def test_bytes_need_no_file_of_the_sender(tmp_path, tmp_path_factory):
    folder = written(tmp_path)
    send = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tenslora_search.engine.shipping import shipped\n"
        "from tenslora_search.spec.plugins import load_plugin\n"
        "load_plugin('mine.py'); open('entries', 'wb').write(shipped())"
    )
    done = in_a_fresh_interpreter(folder, "-c", send)
    assert done.returncode == 0, done.stderr
    take = (
        "from tenslora_search.engine.shipping import receive\n"
        "from tenslora_search.spec.rules import RULES\n"
        "import sys\n"
        "bytes_ = open(sys.argv[1], 'rb').read(); receive(bytes_); receive(bytes_)\n"
        "print(RULES['half_speed']().care(None).rate)"
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = in_a_fresh_interpreter(elsewhere, "-c", take, str(folder / "entries"))
    assert done.stdout == "0.5\n", done.stderr


def test_what_is_the_users_own():
    import torch

    import tenslora_search

    assert is_own(sys.modules[__name__]) == (sys.modules.get(__name__) is not None)
    assert not any(map(is_own, (torch, tenslora_search, pickle, sys, pytest)))


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> tuple[Path, dict]:
    """The folder in which a script has searched with Ray, and what it said."""
    folder = written(tmp_path_factory.mktemp("script"))
    done = in_a_fresh_interpreter(folder, "script.py")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_search_with_ray_knows_the_entries_of_a_file_and_of_main(searched):
    """The folder names the file, and is not read where nobody names it again."""
    folder, said = searched
    assert said["rules"] == ["half_speed"]
    assert set(said["states"]) <= {"complete", "paused"}
    assert "complete" in said["states"]
    command = ["-m", "tenslora_search"]
    blind = in_a_fresh_interpreter(folder, *command, "report", "run")
    assert blind.returncode == 2
    assert blind.stderr.count("\n") == 1
    assert "'mine.py'; name it again: --plugin FILE" in blind.stderr
    half = in_a_fresh_interpreter(folder, *command, "--plugin", "mine.py", "report", "run")
    assert "entries of a script" in half.stderr
    assert "scale doubled" in half.stderr


@pytest.mark.slow
def test_callbacks_of_ray_hear_of_segments(searched):
    """Those of Tune of every segment, functions of every event of a trial."""
    folder, said = searched
    texts = (folder / "run" / "trials.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in texts]
    segments = [len(event["numbers"]) for event in events if event["event"] == "segment"]
    others = [event for event in events if event["event"] in ("retest", "head_alone")]
    assert sum(n for n, _ in said["rows"]) == sum(segments) + len(others)
    assert said["heard"] == [event["event"] for event in events if "number" in event]
    assert {"rung", "retest"} <= set(said["heard"])
    scores = {event.get("score", event.get("report_score")) for event in events}
    assert {score for _, score in said["rows"]} <= scores
