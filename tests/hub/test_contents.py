"""What is remembered of a model is remembered by its files: changed ones are others at once."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.goals import Classes
from tenslora_search.data.processors import load_processor
from tenslora_search.hub import contents, digits_vit, made
from tenslora_search.hub.places import model_digest, place_and_config
from tenslora_search.spec.table import QuestionError

GOAL = Classes(("no", "yes"), "accuracy")


@pytest.fixture
def model(tiny_bert, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def change(file: Path, old: str, new: str) -> None:
    """Of one length, with the file's times as they were."""
    about, text = file.stat(), file.read_text()
    assert len(old) == len(new)
    assert old in text
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_config_that_is_changed(model):
    assert place_and_config(str(model))[1].layer_norm_eps == 1e-12
    change(model / "config.json", "1e-12", "1e-11")
    assert place_and_config(str(model))[1].layer_norm_eps == 1e-11


def test_a_tokenizer_that_is_changed(model):
    before = load_processor(str(model))("good film")["input_ids"]
    change(model / "tokenizer.json", '"good"', '"gooo"')
    assert load_processor(str(model))("good film")["input_ids"] != before


def test_a_model_of_another_width_in_the_same_folder(model, tiny_vit):
    assert load_backbone(str(model), GOAL).model.config.model_type == "bert"
    shutil.rmtree(model)
    shutil.copytree(tiny_vit, model)
    assert load_backbone(str(model), GOAL).model.config.model_type == "vit"


def test_a_digest_is_of_what_the_files_hold(model, tmp_path):
    before = model_digest(str(model))
    copied = shutil.copytree(model, tmp_path / "other")
    (copied / "notes.md").write_text("of no account")
    assert model_digest(str(copied)) == before
    change(model / "config.json", "1e-12", "1e-11")
    assert model_digest(str(model)) != before


def test_large_files_are_told_by_their_times(model, monkeypatch):
    monkeypatch.setattr(contents, "SMALL", 10)
    before = contents.signature(model), contents.stamp(model)
    assert (contents.signature(model), contents.stamp(model)) == before
    change(model / "config.json", "1e-12", "1e-11")
    assert contents.signature(model) != before[0]
    assert contents.stamp(model) != before[1]


def test_a_cleared_cache_is_filled_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TENSLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits_vit, "EPOCHS", 1)
    folder = digits_vit.digits_backbone()
    shutil.rmtree(folder)
    assert (digits_vit.digits_backbone() / "config.json").is_file()


def test_a_full_cache_is_one_line(monkeypatch, tmp_path):
    def full(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({}))
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TENSLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(made.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(digits_vit, "_train", full)
    with pytest.raises(
        QuestionError, match=r"cannot write .*digits-vit: .*No space left.*TENSLORA_CACHE"
    ) as error:
        digits_vit.digits_backbone()
    assert "\n" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
