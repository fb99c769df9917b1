"""measures(): what a retest measures of trials besides their score: what they write, and how much
they have forgotten.
"""

from collections.abc import Callable

import numpy as np
import torch

from tenslora_search.data.processors import load_processor
from tenslora_search.data.retain import load_retained
from tenslora_search.data.task import TaskData
from tenslora_search.runs.segment import Setting
from tenslora_search.spec.tasks import TASKS
from tenslora_search.training.limit import IsOver
from tenslora_search.training.pack import Pack
from tenslora_search.training.writing import measures_of_writing

RETAINED = 256
"""Rows of the text to be retained that are measured at most."""
FORGETTING = "forgetting"
"""The rise of the mean loss a token, in nats, over that of the model without an adapter."""


def measures(
    pack: Pack,
    setting: Setting,
    data: TaskData,
    place: Callable[[TaskData], TaskData],
    is_over: IsOver | None = None,
) -> list[dict[str, float]]:
    """By trial; `place` puts data onto the worker's device. `TimeIsUp` once `is_over` says so."""
    found: list[dict[str, float]] = [{} for _ in pack.specs]
    name = setting.task.get("name")
    answers = TASKS[name].answers if name else ()
    if answers:
        tokenizer = load_processor(setting.model)
        written = measures_of_writing(pack, data.report, tokenizer, answers, is_over)
        found = [one | more for one, more in zip(found, written, strict=True)]
    if setting.retain:
        max_length = setting.task.get("max_length", 128)
        retained = place(load_retained(setting.retain, setting.model, max_length))
        found = [
            one | {FORGETTING: rise}
            for one, rise in zip(found, _forgotten(pack, retained, is_over), strict=True)
        ]
    return found


def _forgotten(pack: Pack, retained: TaskData, is_over: IsOver | None) -> list[float]:
    """Each trial's rise of the loss on the first rows of report."""
    split = retained.report.take(np.arange(len(retained.report)) < RETAINED)
    targets = split.labels.cpu().numpy()
    bare, mine = (
        [
            retained.goal.score(one, targets)
            for one in pack.predict(split, retained.goal, is_bare=is_bare, is_over=is_over)
        ]
        for is_bare in (True, False)
    )
    return [before - after for before, after in zip(bare, mine, strict=True)]


def to_device(data: TaskData) -> TaskData:
    """The data with its tensors on the GPU, if there is one."""
    if torch.cuda.is_available():
        for part in (data.fit, data.select, data.report):
            part.inputs = {name: value.to("cuda") for name, value in part.inputs.items()}
            part.labels = part.labels.to("cuda")
    return data
