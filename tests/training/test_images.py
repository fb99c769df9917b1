"""From image bytes to pixels: against transformers' own processor, and with bytes that are no image."""

import io
import json

import numpy as np
import pytest
import torch

from tenslora_search.spec.table import QuestionError
from tenslora_search.training.images import CONFIG_NAME, ImageProcessor


def picture(mode: str = "RGB", size: tuple[int, int] = (20, 14), kind: str = "PNG") -> bytes:
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).convert(mode).save(buffer, kind)
    return buffer.getvalue()


CONFIGS = [
    {"size": {"height": 12, "width": 8}, "resample": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    {"size": 8, "resample": 3, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
    {"size": {"height": 8, "width": 8}, "do_normalize": False},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_pixels_are_those_of_transformers(config):
    from PIL import Image
    from transformers import ViTImageProcessorPil

    options = {**config, "size": {"height": 8, "width": 8}} if config["size"] == 8 else config
    theirs = ViTImageProcessorPil(**options)(Image.open(io.BytesIO(picture())), return_tensors="pt")["pixel_values"]
    processor = ImageProcessor.from_config(config, image_size=224)
    ours = processor.normalise(processor.pixels([picture()], names=["it"]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "size", "edge"),
    [
        ({}, (32, 32), None),
        ({"size": 16}, (16, 16), None),
        ({"size": {"shortest_edge": 24}}, (24, 24), 24),
        ({"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": 16}, (16, 16), 24),
        ({"size": {"height": 24, "width": 24}, "do_center_crop": True, "crop_size": {"height": 16, "width": 20}}, (16, 20), 24),
    ],
)
def test_sizes_and_crops(config, size, edge):
    processor = ImageProcessor.from_config(config, image_size=32)
    assert (processor.height, processor.width, processor.shortest_edge) == (*size, edge)
    for shape in ((20, 14), (14, 20), (16, 16)):
        assert processor.pixels([picture(size=shape)], names=["it"]).shape == (1, 3, *size)


def test_the_middle_is_cut_out():
    from PIL import Image

    values = np.zeros((8, 16, 3), dtype=np.uint8)
    values[:, 4:12] = 200
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    assert (ImageProcessor(8, 8, shortest_edge=8).pixels([buffer.getvalue()], names=["it"]) == 200).all()


def test_saved_numbers_read_back(tmp_path):
    for processor in (ImageProcessor(8, 12, mean=(0.1, 0.2, 0.3)), ImageProcessor(8, 8, shortest_edge=10, resample=3)):
        processor.save(tmp_path)
        assert ImageProcessor.from_config(json.loads((tmp_path / CONFIG_NAME).read_text()), image_size=99) == processor


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("1", "PNG"), ("CMYK", "JPEG"), ("RGB", "WEBP")]
)
def test_any_kind_of_image(mode, kind):
    assert ImageProcessor(8, 8).pixels([picture(mode, kind=kind)], names=["it"]).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("wrong", [b"", b"not an image", picture(size=(90, 90))[:400]], ids=["empty", "text", "cut off"])
def test_bytes_that_are_no_image(wrong):
    with pytest.raises(QuestionError, match=r"^row 7 holds no image that Pillow can read \([\d,]+ bytes\)") as error:
        ImageProcessor(8, 8).pixels([picture(), wrong], names=["row 6", "row 7"])
    assert "0x" not in str(error.value)
    assert "\n" not in str(error.value)


def test_scaling_is_no_part_of_the_key_of_the_stored_pixels():
    assert ImageProcessor(8, 8).key == ImageProcessor(8, 8, mean=(0.0, 0.0, 0.0)).key
    assert ImageProcessor(8, 8).key != ImageProcessor(8, 8, resample=3).key
