"""Entries from outside go to Ray's workers by value, with the user's own modules that they call."""

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
import sys
from tenslora_search import load_run, search
from tenslora_search.spec.scales import SCALES


def doubled(alpha, rank, first_step, output):
    """Twice alpha."""
    return 2 * alpha


SCALES.add("doubled", doubled)

if __name__ == "__main__":
    run = search("digits", budget="4k", trials=2, max_steps=8, retest=0, executor="ray",
                 space="space.toml", out="run", plugins=["mine.py"])
    print(*run.trials()["state"], *sorted(set(run.trials()["rule"])))
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


@pytest.fixture
def folder(tmp_path) -> Path:
    texts = {"helper_of_mine.py": HELPER, "mine.py": PLUGIN, "script.py": SCRIPT}
    for name, text in {**texts, "space.toml": SPACE}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_bytes_need_no_file_of_the_sender(folder, tmp_path_factory):
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


@pytest.mark.slow
def test_a_search_with_ray_knows_the_entries_of_a_file_and_of_main(folder):
    """The folder names the file, and is not read where nobody names it again."""
    done = in_a_fresh_interpreter(folder, "script.py")
    assert done.returncode == 0, done.stderr[-2000:]
    states = done.stdout.split()
    assert states[-1] == "half_speed"
    assert set(states[:-1]) <= {"complete", "paused"}
    assert "complete" in states
    command = ["-m", "tenslora_search"]
    blind = in_a_fresh_interpreter(folder, *command, "report", "run")
    assert blind.returncode == 2
    assert blind.stderr.count("\n") == 1
    assert "'mine.py'; name it again: --plugin FILE" in blind.stderr
    half = in_a_fresh_interpreter(folder, *command, "--plugin", "mine.py", "report", "run")
    assert "entries of a script" in half.stderr
    assert "scale doubled" in half.stderr
