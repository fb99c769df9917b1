"""A run folder of 0.1.0, to be read and to be spoiled."""

import json
import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "trials.jsonl"):
        shutil.copy(GOLDEN / name, folder)
    return folder


@pytest.fixture
def lines(folder) -> list[dict]:
    text = (folder / "trials.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
