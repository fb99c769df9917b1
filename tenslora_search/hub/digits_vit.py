"""The backbone that needs no network: a small ViT that knows the digits 0 to 4.

It is trained on first use and kept in the cache; the task is classes 5 to 9, so an adapter has
something to learn.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tenslora_search.hub.cache import load_tensors
from tenslora_search.hub.images import CONFIG_NAME, ImageProcessor
from tenslora_search.hub.made import built, kept_folder
from tenslora_search.hub.quiet import quiet

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
    """
    return kept_folder(_built)


@cache
def _built(parent: Path) -> Path:
    return built(parent, RECIPE, "digits-vit", _train, _usable)


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
