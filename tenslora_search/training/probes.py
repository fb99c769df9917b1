"""PROBES: questions about model, data and card that a worker answers, once for a search."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import torch

from tenslora_search.backbone.load import Backbone
from tenslora_search.data.task import TaskData
from tenslora_search.hub.cache import cache_folder, write_file
from tenslora_search.nn.sites import PackError
from tenslora_search.runs.segment import Answer, Probe, Setting
from tenslora_search.spec.table import QuestionError, Table
from tenslora_search.training.dimension import averaged, states_of_layers
from tenslora_search.training.energy import first_gradients, gradient_norms
from tenslora_search.training.memory import is_out_of_memory
from tenslora_search.training.pack import Pack
from tenslora_search.training.spectra import spectra

SIZES = (8, 16, 32, 64, 128, 256)
GAIN = 1.1
"""A pack of twice the size must bring this much more to be worth it."""
STEPS = 12
SHARE_DIGITS = 5


Load = Callable[[Setting], tuple[Backbone, TaskData]]
"""What gives a worker's backbone and data."""


def pack_size(probe: Probe, load: Load) -> Answer:
    """How many trials side by side make full use of a GPU: the size at which trial-steps a second
    stop growing, of packs made of the probe's trials again and again.

    Takes seconds, once for each model, card, batch and length; then it is remembered.
    """
    key = capacity_key(probe.setting)
    if (known := known_sizes().get(key)) is not None:
        return (float(known),)
    backbone, data = load(probe.setting)
    best, best_rate = 1, 0.0
    for size in SIZES:
        try:
            rate = _rate(backbone, data, probe, size)
        except (MemoryError, RuntimeError, PackError) as error:
            if not is_out_of_memory(error) and not isinstance(error, PackError):
                raise
            torch.cuda.empty_cache()
            break
        if rate < GAIN * best_rate:
            break
        best, best_rate = size, rate
    remember(key, best)
    return (float(best),)


def intrinsic_dimension(probe: Probe, load: Load) -> Answer:
    """The dimension of the hidden states that enter each layer, then of those that leave the last,
    by TwoNN: layers + 1 numbers. The same each time on one machine.
    """
    backbone, data = load(probe.setting)
    states = states_of_layers(
        backbone.model.eval(), data.fit, probe.setting.batch_size, data.goal.inputs
    )
    n_layers = probe.specs[0].adapter.geometry.groups[0].layers
    if len(states) != n_layers + 1:
        raise QuestionError(
            f"{type(backbone.model).__name__} shows {len(states)} hidden states; its {n_layers} "
            f"adapted layers need {n_layers + 1}."
        )
    return tuple(averaged(one) for one in states)


def gradient_energy(probe: Probe, load: Load) -> Answer:
    """The norm of the first gradient of each map that the probe's trials adapt: projection by
    projection in the order in which the trials name them, layer by layer.
    """
    backbone, data = load(probe.setting)
    every = [name for spec in probe.specs for name in spec.adapter.geometry.projections]
    norms = gradient_norms(backbone, data, tuple(dict.fromkeys(every)), probe.setting.batch_size)
    if not all(map(math.isfinite, norms)):
        raise QuestionError("the gradients of the frozen model are not finite.")
    return tuple(norms)


def gradient_spectra(probe: Probe, load: Load) -> Answer:
    """What every unfolding of the first gradient holds up to each rank (spec/caught.py), on the
    geometry of each of the probe's trials in turn.
    """
    backbone, data = load(probe.setting)
    found: list[float] = []
    for geometry in (spec.adapter.geometry for spec in probe.specs):
        names = geometry.projections
        gradients = first_gradients(backbone, data, names, probe.setting.batch_size)
        found += [round(one, SHARE_DIGITS) for one in spectra(geometry, gradients)]
    if not all(map(math.isfinite, found)) or not any(found):
        raise QuestionError("the gradients of the frozen model are zero, or not finite.")
    return tuple(found)


PROBES: Table[Callable[[Probe, Load], Answer]] = Table(
    "probe",
    {
        entry.__name__: entry
        for entry in (pack_size, intrinsic_dimension, gradient_energy, gradient_spectra)
    },
)


def capacity_key(setting: Setting) -> str:
    """What decides how many trials fit and pay."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    rows = f"{setting.batch_size} x {setting.task.get('max_length')}"
    return " | ".join(filter(None, (setting.model, card, rows, setting.space)))


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


def _rate(backbone: Backbone, data: TaskData, probe: Probe, size: int) -> float:
    """Trial-steps a second of a pack."""
    specs = [replace(probe.specs[k % len(probe.specs)], seed=k) for k in range(size)]
    setting = probe.setting
    with Pack(
        backbone.model, data, specs, max_steps=setting.max_steps, batch_size=setting.batch_size
    ) as pack:
        return size / pack.seconds_a_step(STEPS)
