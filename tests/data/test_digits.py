"""The task and the backbone that need no network: pictures of 5 to 9, and a model that learned 0 to
4, the same each time.
"""

import io

import numpy as np
import pytest
import torch

from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.digits import digits_frame
from tenslora_search.data.goals import Classes
from tenslora_search.data.processors import load_processor
from tenslora_search.hub import digits_vit


def test_the_task_is_pictures_of_the_classes_5_to_9():
    from PIL import Image

    frame = digits_frame()
    assert frame.equals(digits_frame())
    counts = frame["label"].value_counts()
    assert set(counts.index) == set("56789")
    assert counts.min() > 0.9 * counts.max()
    assert frame["image"].nunique() == len(frame) == 896
    images, labels = digits_vit.digits(5, 9)
    read = [np.asarray(Image.open(io.BytesIO(image))) for image in frame["image"]]
    assert np.array_equal(read, images)
    assert (labels + 5).astype(str).tolist() == frame["label"].tolist()
    assert (images.min(), images.max()) == (0, 255)


def test_the_backbone_knows_0_to_4():
    folder = digits_vit.digits_backbone()
    assert folder.name == digits_vit.RECIPE
    images, labels = digits_vit.digits(0, 4)
    processor = load_processor("digits-vit")
    pixels = processor.normalise(torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1))
    with torch.no_grad():
        guesses = (
            load_backbone("digits-vit", Classes(tuple("01234")))
            .model(pixel_values=pixels)
            .logits.argmax(1)
        )
    assert (guesses.numpy() == labels).mean() > 0.99


@pytest.fixture
def short(monkeypatch):
    """Trained for one epoch only."""
    monkeypatch.setattr(digits_vit, "EPOCHS", 1)
    digits_vit._built.cache_clear()
    yield
    digits_vit._built.cache_clear()


def test_the_same_weights_each_time_and_the_global_generator_is_left_alone(short, tmp_path):
    before = torch.random.get_rng_state()
    one = digits_vit._built(tmp_path / "one")
    torch.rand(3)
    other = digits_vit._built(tmp_path / "other")
    torch.random.set_rng_state(before)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == [
        digits_vit.RECIPE
    ]  # nothing half-built is left


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_damaged_folder_is_built_anew(short, tmp_path, damage):
    from safetensors.torch import save_file

    folder = tmp_path / digits_vit.RECIPE
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    assert digits_vit._usable(folder)
    (folder / damage).unlink()
    (folder / damage).with_suffix(".part").write_bytes(b"left by a crash")
    assert digits_vit._built(tmp_path) == folder
    assert digits_vit._usable(folder)
    assert not list(folder.glob("*.part"))


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(short, tmp_path):
    (tmp_path / "file").write_text("in the way")
    folder = digits_vit._built(tmp_path / "file" / "cache")
    assert digits_vit._usable(folder)
