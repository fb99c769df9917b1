"""Pickles that are planted where we read: nothing of them is run."""

import os
import pickle
import shutil
from pathlib import Path

import pytest

from tenslora_search import load_adapter, load_run
from tenslora_search.data.sources import read_local
from tenslora_search.spec.table import QuestionError

GOLDEN = Path(__file__).parent / "golden" / "run"


@pytest.fixture
def planted(tmp_path):
    """planted(PATH) writes a pickle there that makes a folder when it is opened; it never did."""
    told = tmp_path / "it_ran"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(told),)

    yield lambda path: path.write_bytes(pickle.dumps(Bomb()) + b"\n")
    assert not told.exists()


@pytest.mark.parametrize("name", ["states/0-160.safetensors", "states/retest-0-1.safetensors"])
def test_in_the_states_of_a_run(planted, tmp_path, name):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    planted(folder / name)
    planted(folder / "study.journal")
    run = load_run(folder)
    assert run.report().is_file()
    if "retest" in name:
        with pytest.raises(QuestionError, match="no whole safetensors file"):
            run.export(0, tmp_path / "adapter", "native")


@pytest.mark.parametrize("name", ["run.json", "trials.jsonl"])
def test_in_the_records_of_a_run(planted, tmp_path, name):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    planted(folder / name)
    with pytest.raises(QuestionError):
        load_run(folder).report()


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl", "train.json", "train.parquet"])
def test_in_data(planted, tmp_path, name):
    planted(tmp_path / name)
    with pytest.raises(QuestionError):
        read_local(tmp_path / name)


def test_in_an_adapter(planted, tmp_path, tiny):
    model, _ = tiny("bert")
    for name in ("tenslora.safetensors", "adapter_model.bin"):
        planted(tmp_path / name)
        with pytest.raises(QuestionError):
            load_adapter(model, tmp_path / name)
    with pytest.raises(QuestionError):
        load_adapter(model, tmp_path)
