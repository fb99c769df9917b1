"""The backbone that needs no network: a small ViT that knows the digits 0 to 4.

It is trained on first use and kept in the cache; the task is classes 5 to 9, so an adapter has
something to learn.
"""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from tenslora_search.hub.cache import cache_folder, load_tensors
from tenslora_search.hub.images import CONFIG_NAME, ImageProcessor
from tenslora_search.hub.lines import one_line
from tenslora_search.hub.quiet import quiet
from tenslora_search.spec.table import QuestionError

# names the folder in the cache; raise it whenever what is below trains another model
RECIPE = "digits-vit-1"


EPOCHS, BATCH, LEARNING_RATE, SEED = 15, 64, 2e-3, 0


def digits(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 8, 8) uint8, 0 to 255, and labels (n,) of the classes first to last, counted from
    0.
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    chosen = (bunch.target >= first) & (bunch.target <= last)
    return np.rint(bunch.images[chosen] * (255 / 16)).astype(np.uint8), bunch.target[chosen].astype(
        np.int64
    ) - first


def digits_backbone() -> Path:
    """The folder of the trained backbone (config, safetensors, preprocessor): from the cache, else
    trained in seconds.

    Built in a temporary folder and renamed, so processes that build it at once cannot spoil it;
    where the cache cannot be written, the temporary folder itself is used for this process.
    """
    folder = _built(cache_folder())
    if not (folder / "config.json").is_file():  # the cache was cleared since
        _built.cache_clear()
        folder = _built(cache_folder())
    return folder


@cache
def _built(parent: Path) -> Path:
    folder, why = parent / RECIPE, ""
    if _usable(folder):
        return folder
    for home in (parent, Path(tempfile.gettempdir())):
        building = None
        try:
            home.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=f".{RECIPE}.", dir=home))
            _train(building)
            return _moved(building, folder) if home == parent else building
        except (OSError, SafetensorError) as error:
            why = why or one_line(error)
            if building is not None:
                shutil.rmtree(building, ignore_errors=True)
    raise QuestionError(
        f"cannot write {folder}, the model digits-vit: {why}; make room, or name another folder in "
        "TENSLORA_CACHE."
    )


def _moved(building: Path, folder: Path) -> Path:
    """Where the finished model lies: in its place, or, where that cannot be, where it was built."""
    for _ in range(2):
        try:
            building.rename(folder)
        except OSError:  # another process was first, or a damaged folder stands there
            if _usable(folder):
                shutil.rmtree(building, ignore_errors=True)
                return folder
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return folder
    return building


def _usable(folder: Path) -> bool:
    whole = (folder / "config.json").is_file() and (folder / CONFIG_NAME).is_file()
    return whole and load_tensors(folder / "model.safetensors") is not None


def _train(folder: Path) -> None:
    """Train on classes 0 to 4 and save; a pure function of the recipe, the global random state
    stays as it was.
    """
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    processor = ImageProcessor(height=8, width=8)
    sizes: dict[str, Any] = {
        "image_size": 8, "patch_size": 2, "num_channels": 3, "hidden_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 5,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(SEED)  # the library starts its weights from the global state
        model = ViTForImageClassification(ViTConfig(**sizes)).train()
        _fit(model, processor)
    with quiet():
        model.save_pretrained(folder)
    processor.save(folder)


def _fit(model: Any, processor: ImageProcessor) -> None:
    import torch

    images, labels = digits(0, 4)
    generator = torch.Generator().manual_seed(SEED)
    pixels = processor.normalise(torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1))
    truth = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    n_steps = EPOCHS * -(-len(truth) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(truth), generator=generator).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(
                model(pixel_values=pixels[batch]).logits, truth[batch]
            ).backward()
            optimizer.step()
            schedule.step()
