"""pack_size(): how many trials side by side make full use of a GPU; measured once, then remembered
for this model and card.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import torch

from tenslora_search.backbone.load import Backbone
from tenslora_search.data.task import TaskData
from tenslora_search.hub.cache import cache_folder, write_file
from tenslora_search.spec.trial import Segment
from tenslora_search.training.pack import Pack

SIZES = (8, 16, 32, 64, 128, 256)
GAIN = 1.1
"""A pack of twice the size must bring this much more to be worth it."""
STEPS = 12


def pack_size(segment: Segment, load: Callable[[Segment], tuple[Backbone, TaskData]]) -> int:
    """The size at which trial-steps a second stop growing, of packs made of the segment's trials
    again and again.

    Takes seconds, once for each model, card, batch and length.
    """
    key = capacity_key(segment)
    if (known := known_sizes().get(key)) is not None:
        return known
    backbone, data = load(segment)
    best, best_rate = 1, 0.0
    for size in SIZES:
        try:
            rate = _rate(backbone, data, segment, size)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if rate < GAIN * best_rate:
            break
        best, best_rate = size, rate
    remember(key, best)
    return best


def capacity_key(segment: Segment) -> str:
    """What decides how many trials fit and pay."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return f"{segment.model} | {card} | {segment.batch_size} x {segment.task.get('max_length')}"


def known_sizes() -> dict[str, int]:
    """Pack sizes by key, as remembered in the cache folder; none where it cannot be read."""
    try:
        found = json.loads((cache_folder() / "packs.json").read_text(encoding="utf-8"))
        return {str(key): int(size) for key, size in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def remember(key: str, size: int) -> None:
    """Keeps a size for later searches; where the cache cannot be written it is measured again."""
    text = json.dumps({**known_sizes(), key: size}, indent=2)
    write_file(cache_folder() / "packs.json", lambda path: path.write_text(text, encoding="utf-8"))


def _rate(backbone: Backbone, data: TaskData, segment: Segment, size: int) -> float:
    """Trial-steps a second of a pack."""
    specs = [replace(segment.trials[k % len(segment.trials)][1], seed=k) for k in range(size)]
    with Pack(
        backbone.model, data, specs, max_steps=segment.max_steps, batch_size=segment.batch_size
    ) as pack:
        return size / pack.seconds_a_step(STEPS)
