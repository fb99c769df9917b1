"""What is written may be read by others as far as the umask allows."""

import os

import pytest

from tenslora_search.export.native import save_native
from tenslora_search.export.peft import save_peft
from tenslora_search.hub.permissions import share
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_folder_and_all_in_it(tmp_path, umask):
    (tmp_path / "a" / "b").mkdir(parents=True, mode=0o700)
    (tmp_path / "a" / "b").chmod(0o2700)  # a group's folder, which its new files inherit
    (tmp_path / "a" / "file").touch(mode=0o600)
    (tmp_path / "a" / "program").touch(mode=0o700)
    assert share(tmp_path / "a") == tmp_path / "a"
    assert os.umask(umask) == umask
    assert mode(tmp_path / "a" / "b") == 0o2000 | 0o777 & ~umask
    assert mode(tmp_path / "a" / "file") == 0o666 & ~umask
    assert mode(tmp_path / "a" / "program") == (0o666 | 0o700) & ~umask


@pytest.mark.parametrize("save", [save_peft, save_native])
def test_saved_adapters(tiny, tmp_path, umask, save):
    model, _ = tiny("bert")
    save(
        attach(model, AdapterSpec.of("none", "cp", (1,), geometry_of(model)), seeds=0),
        tmp_path / "adapter",
    )
    assert {mode(path) for path in (tmp_path / "adapter").iterdir()} == {0o666 & ~umask}
