"""From image bytes to pixels: against transformers' own processor, and with bytes that are no
image.
"""

import io
import json

import numpy as np
import pytest
import torch

from tenslora_search.hub.images import CONFIG_NAME, ImageProcessor
from tenslora_search.spec.table import QuestionError


def picture(mode: str = "RGB", size: tuple[int, int] = (20, 14), kind: str = "PNG") -> bytes:
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).convert(mode).save(buffer, kind)
    return buffer.getvalue()


HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
DEIT = {"image_processor_type": "DeiTImageProcessor", "do_center_crop": True, "resample": 3, **HALF}
BIT = {**DEIT, "image_processor_type": "BitImageProcessor"}
CONFIGS = {
    "ViT": {"size": {"height": 12, "width": 8}, "resample": 2, **HALF},
    "ViT, old": {
        "size": 8,
        "resample": 3,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
    },
    "as they are": {"size": {"height": 8, "width": 8}, "do_normalize": False},
    "DeiT": {**DEIT, "size": {"height": 16, "width": 16}, "crop_size": {"height": 12, "width": 12}},
    "DeiT, old": {**DEIT, "size": 16, "crop_size": 12},
    "BiT": {**BIT, "size": {"shortest_edge": 9}, "crop_size": {"height": 8, "width": 8}},
    "BiT, wider than the picture": {
        **BIT,
        "size": {"shortest_edge": 9},
        "crop_size": {"height": 12, "width": 13},
    },
}


@pytest.mark.parametrize("size", [(20, 14), (14, 21), (16, 16), (23, 7)], ids=str)
@pytest.mark.parametrize("config", list(CONFIGS.values()), ids=list(CONFIGS))
def test_pixels_are_those_of_transformers(config, size, tmp_path):
    """By the model's own config, and by the one that an export saves."""
    from PIL import Image
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    processor = ImageProcessor.from_config(config, image_size=224)
    ours = processor.normalise(processor.pixels([picture(size=size)], names=["it"]))
    for numbers in ({"image_processor_type": "ViTImageProcessor", **config}, None):
        if numbers:
            (tmp_path / CONFIG_NAME).write_text(json.dumps(numbers))
        else:
            processor.save(tmp_path)
        reader = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
        theirs = reader(Image.open(io.BytesIO(picture(size=size))), return_tensors="pt")[
            "pixel_values"
        ]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ImageProcessor(32, 32)),
        ({"size": 16}, ImageProcessor(16, 16)),
        ({"size": {"shortest_edge": 24}}, ImageProcessor(24, 24, shortest_edge=24)),
        (
            {"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": 16},
            ImageProcessor(16, 16, shortest_edge=24),
        ),
        (
            {"size": 24, "do_center_crop": True, "crop_size": {"height": 16, "width": 20}},
            ImageProcessor(16, 20, resized=(24, 24)),
        ),
    ],
)
def test_sizes_and_crops(config, expected):
    processor = ImageProcessor.from_config(config, image_size=32)
    assert processor == expected
    for shape in ((20, 14), (14, 20), (16, 16)):
        assert processor.pixels([picture(size=shape)], names=["it"]).shape == (
            1,
            3,
            expected.height,
            expected.width,
        )


def test_the_middle_is_cut_out():
    from PIL import Image

    values = np.zeros((8, 16, 3), dtype=np.uint8)
    values[:, 4:12] = 200
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    assert (
        ImageProcessor(8, 8, shortest_edge=8).pixels([buffer.getvalue()], names=["it"]) == 200
    ).all()


def test_saved_numbers_read_back(tmp_path):
    cut = ImageProcessor(8, 8, shortest_edge=10, resample=3), ImageProcessor(8, 8, resized=(10, 12))
    for processor in (ImageProcessor(8, 12, mean=(0.1, 0.2, 0.3)), *cut):
        processor.save(tmp_path)
        assert (
            ImageProcessor.from_config(
                json.loads((tmp_path / CONFIG_NAME).read_text()), image_size=99
            )
            == processor
        )


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("1", "PNG"), ("CMYK", "JPEG"), ("RGB", "WEBP")],
)
def test_any_kind_of_image(mode, kind):
    assert ImageProcessor(8, 8).pixels([picture(mode, kind=kind)], names=["it"]).shape == (
        1,
        3,
        8,
        8,
    )


def test_sixteen_bits_keep_their_shades():
    assert ImageProcessor(1, 4).pixels([grey(np.uint16, [0, 16384, 32768, 65535])], names=["it"])[
        0, 0
    ].tolist() == [[0, 64, 128, 255]]


def test_an_image_whose_white_is_unknown():
    with pytest.raises(QuestionError, match=r"^row 7 holds an image of numbers \(mode F\)"):
        ImageProcessor(1, 4).pixels([grey(np.float32, [0, 1, 2, 3])], names=["row 7"])


def grey(kind: type, values: list[int]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.array([values], dtype=kind)).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "wrong", [b"", b"not an image", picture(size=(90, 90))[:400]], ids=["empty", "text", "cut off"]
)
def test_bytes_that_are_no_image(wrong):
    with pytest.raises(
        QuestionError, match=r"^row 7 holds no image that Pillow can read \([\d,]+ bytes\)"
    ) as error:
        ImageProcessor(8, 8).pixels([picture(), wrong], names=["row 6", "row 7"])
    assert "0x" not in str(error.value)
    assert "\n" not in str(error.value)


def test_scaling_is_no_part_of_the_key_of_the_stored_pixels():
    assert ImageProcessor(8, 8).key == ImageProcessor(8, 8, mean=(0.0, 0.0, 0.0)).key
    assert ImageProcessor(8, 8).key != ImageProcessor(8, 8, resample=3).key
