"""The cache: whole files or none, and never a reason to fail."""

import pytest
import torch

from tenslora_search.hub.cache import cache_folder, load_tensors, save_tensors, write_file


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TENSLORA_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    assert cache_folder(tmp_path / "asked") == tmp_path / "asked"
    monkeypatch.delenv("TENSLORA_CACHE")
    assert cache_folder() == tmp_path / ".cache" / "tenslora-search"


def test_tensors_there_and_back(tmp_path):
    file = tmp_path / "deep" / "one.safetensors"
    assert load_tensors(file) is None
    assert save_tensors(file, {"x": torch.arange(3)})
    assert torch.equal(load_tensors(file)["x"], torch.arange(3))
    assert [path.name for path in file.parent.iterdir()] == ["one.safetensors"]


@pytest.mark.parametrize("content", [b"", b"{", bytes(100)])
def test_a_damaged_file_is_as_good_as_none(tmp_path, content):
    (tmp_path / "one.safetensors").write_bytes(content)
    assert load_tensors(tmp_path / "one.safetensors") is None


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    def fails(path):
        path.write_text("half")
        raise OSError("disk full")

    assert not write_file(tmp_path / "one", fails)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    assert not save_tensors(tmp_path / "file" / "one", {"x": torch.zeros(1)})
