"""ImageProcessor: from image bytes to the pixels a model was trained on, by the numbers of its
preprocessor config.

Pillow decodes and resizes; nothing else is needed (transformers' own image processors may ask for
torchvision).
"""

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tenslora_search.hub.lines import one_line
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIG_NAME = "preprocessor_config.json"
MOST_PIXELS = 2**13
"""Of a side of the images that a model reads."""


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """Resize to height x width; or to `resized`, or the short side to `shortest_edge`, and cut
    height x width from the middle.

    What a cut lacks is black. Pixels become (value * rescale - mean) / std per channel. `resample`
    is Pillow's number: 2 bilinear, 3 bicubic.
    """

    height: int
    width: int
    shortest_edge: int | None = None
    resized: tuple[int, int] | None = None  # height, width
    resample: int = 2
    rescale: float = 1 / 255
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        sizes = (self.height, self.width, *(self.resized or ()), self.shortest_edge or 1)
        if not all(1 <= size <= MOST_PIXELS for size in sizes) or self.resample not in range(6):
            raise QuestionError(
                f"{CONFIG_NAME} asks for images of {self.height} x {self.width} pixels (resized: "
                f"{self.resized or self.shortest_edge}, resample: {self.resample}); sides are of 1 "
                f"to {MOST_PIXELS:,} pixels, resample is 0 to 5."
            )

    @classmethod
    def from_config(cls, config: dict, *, image_size: int) -> "ImageProcessor":
        """Read a Hugging Face preprocessor config; what it leaves out falls back to `image_size`
        and plain scaling.
        """
        size = config.get("size") or image_size
        size = {"height": size, "width": size} if isinstance(size, int) else dict(size)
        crop = config.get("crop_size") if config.get("do_center_crop") else None
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        edge = size.get("shortest_edge")
        frame = crop or ({"height": edge, "width": edge} if edge else size)
        normalises: bool = config.get("do_normalize", True)
        return cls(
            height=int(frame.get("height", image_size)),
            width=int(frame.get("width", image_size)),
            shortest_edge=int(edge) if edge else None,
            resized=(int(size["height"]), int(size["width"])) if crop and not edge else None,
            resample=int(config.get("resample", 2)),
            rescale=float(config.get("rescale_factor", 1 / 255))
            if config.get("do_rescale", True)
            else 1.0,
            mean=_channels(config.get("image_mean") or 0.5) if normalises else _channels(0.0),
            std=_channels(config.get("image_std") or 0.5) if normalises else _channels(1.0),
        )

    def save(self, folder: Path) -> None:
        """Write the numbers as a preprocessor config that transformers reads too."""
        frame: dict[str, int] = {"height": self.height, "width": self.width}
        height, width = self.resized or (self.height, self.width)
        config = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "size": {"shortest_edge": self.shortest_edge}
            if self.shortest_edge
            else {"height": height, "width": width},
            "resample": self.resample,
            "rescale_factor": self.rescale,
            "image_mean": self.mean,
            "image_std": self.std,
        }
        if self.shortest_edge or self.resized:
            config |= {"do_center_crop": True, "crop_size": frame}
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @property
    def key(self) -> str:
        """What decides the resized pixels, as text: the part of a cache key that this processor
        adds.
        """
        return json.dumps(
            {
                name: value
                for name, value in asdict(self).items()
                if name not in ("rescale", "mean", "std")
            }
        )

    def pixels(self, images: Sequence[bytes], *, names: Sequence[str]) -> Tensor:
        """Decode and resize: (n, 3, height, width) uint8. `names` are what errors call the
        images."""
        out = np.empty((len(images), self.height, self.width, 3), dtype=np.uint8)
        for row, (image, name) in enumerate(zip(images, names, strict=True)):
            out[row] = self._decoded(image, name)
        return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()

    def normalise(self, pixels: Tensor) -> Tensor:
        """From uint8 pixels (..., 3, height, width) to the model's float32."""
        mean, std = (_on_device(values, pixels.device) for values in (self.mean, self.std))
        return (pixels.to(torch.float32) * self.rescale - mean) / std

    def _decoded(self, image: bytes, name: str) -> np.ndarray:
        from PIL.Image import Resampling

        picture = opened(image, name)
        width, height = picture.size
        rows, columns = self.resized or (self.height, self.width)
        if self.shortest_edge is not None:
            short = min(width, height)
            rows, columns = (
                int(self.shortest_edge * height / short),
                int(self.shortest_edge * width / short),
            )
        if (height, width) != (rows, columns):
            picture = picture.resize((columns, rows), resample=Resampling(self.resample))
        top, left = (rows - self.height) // 2, (columns - self.width) // 2
        return np.asarray(picture.crop((left, top, left + self.width, top + self.height)))


def opened(image: bytes, name: str) -> "Image":
    """The picture in RGB, upright: a camera that was held sideways notes it beside the pixels.

    `QuestionError` for what is no picture, or one of more pixels than Pillow decodes without a
    warning; what else it warns of (notes that are broken) is left unsaid.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(image))
            upright = ImageOps.exif_transpose(picture)
            return _in_bytes(upright, name).convert("RGB")
    except QuestionError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise QuestionError(
            f"{name} holds an image of more than {Image.MAX_IMAGE_PIXELS:,} pixels, the most that "
            "is decoded; make it smaller."
        ) from error
    except Exception as error:  # decoders and readers of notes raise errors of many classes
        # an unknown kind's text names a place in memory
        why = "" if isinstance(error, UnidentifiedImageError) else f": {one_line(error)}"
        raise QuestionError(
            f"{name} holds no image that Pillow can read ({len(image):,} bytes){why}."
        ) from error


def _in_bytes(picture: "Image", name: str) -> "Image":
    """A picture of 8 bits a channel: of 16 bits the upper ones, as Pillow itself does with
    colours."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise QuestionError(
            f"{name} holds an image of numbers (mode {picture.mode}), whose white is unknown; "
            "save it with 8 bits."
        )
    return picture


def _channels(values: float | Sequence[float]) -> tuple[float, float, float]:
    """One number a channel, red, green, blue; a lone number, or a list of one, stands for all
    three.
    """
    listed = [values] if isinstance(values, (int, float)) else list(values)
    red, green, blue = listed * 3 if len(listed) == 1 else listed
    return float(red), float(green), float(blue)


@cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(channel, 1, 1), made once: a step that is recorded as a CUDA graph cannot fetch numbers from
    the host.
    """
    return torch.tensor(values, device=device).view(3, 1, 1)
