"""run(): trains a segment, the unit of work; probe(): answers a question about the worker.

A worker keeps its backbone and data between segments and halves packs that do not fit.
"""

import gc
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tenslora_search.backbone.load import Backbone, load_backbone
from tenslora_search.backbone.ready import made_ready
from tenslora_search.data.batches import Split
from tenslora_search.data.goals import GOALS
from tenslora_search.data.metrics import by_class
from tenslora_search.data.task import TaskData, load_task
from tenslora_search.hub.contents import stamp
from tenslora_search.hub.places import model_digest
from tenslora_search.hub.turns import TURN
from tenslora_search.nn.sites import PackError
from tenslora_search.runs.segment import (
    Answer,
    ByClass,
    Entrant,
    Probe,
    Segment,
    Setting,
    TrialResult,
)
from tenslora_search.spec.table import QuestionError
from tenslora_search.training.cutting import cut_state
from tenslora_search.training.limit import IsOver, TimeIsUp
from tenslora_search.training.measures import measures, to_device
from tenslora_search.training.memory import is_out_of_memory
from tenslora_search.training.pack import Pack
from tenslora_search.training.probes import PROBES, capacity_key, remember

_largest: dict[str, int] = {}
"""Trials that fit into memory together, by `capacity_key`, once more have not."""


_recomputed: set[str] = set()
"""`capacity_key`s of which a single trial does not fit unless its layers are computed again."""


def run(segment: Segment, folder: Path, is_over: IsOver | None = None) -> list[TrialResult]:
    """Trains the trials to `to_step`, scores them on the segment's split and writes
    `folder/NUMBER.safetensors` for each.

    A pure function of the segment, so it can be run again. A trial whose loss is not finite fails
    alone; a pack that runs out of memory is halved, down to a single trial, whose layers are then
    computed again in backward, and which fails with the reason if that is not enough. Once
    `is_over` says so, trials are cut short: saved at the step they stand on, not scored.
    """
    with TURN:
        return _run(segment, segment.entrants, folder, is_over)


def probe(probe: Probe) -> Answer:
    """The answer of PROBES' function of that name."""
    with TURN:
        return PROBES[probe.name](probe, worker_backbone)


def _run(
    segment: Segment, trials: Sequence[Entrant], folder: Path, is_over: IsOver | None
) -> list[TrialResult]:
    key = capacity_key(segment.setting)
    limit = _largest.get(key, len(trials))
    if len(trials) > limit:
        return [
            result
            for start in range(0, len(trials), limit)
            for result in _run(segment, trials[start : start + limit], folder, is_over)
        ]
    try:
        return _train(segment, trials, folder, is_over)
    except (MemoryError, RuntimeError, PackError) as error:
        if not is_out_of_memory(error) and not isinstance(error, PackError):
            raise
        kind = "no room for" if isinstance(error, PackError) else "out of memory with"
        reason = f"{kind} {len(trials)} trial(s) in the pack: {str(error).splitlines()[0]}"
    # Outside the except block, where the traceback no longer holds the pack's tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(trials) == 1 and kind.startswith("out") and key not in _recomputed:
        _recomputed.add(key)
        return _run(segment, trials, folder, is_over)
    if len(trials) == 1:
        return [TrialResult(trials[0].number, segment.to_step, None, None, reason, 0.0)]
    _largest[key] = len(trials) // 2
    if torch.cuda.is_available():
        remember(key, _largest[key])
    return _run(segment, trials, folder, is_over)


def _train(
    segment: Segment, trials: Sequence[Entrant], folder: Path, is_over: IsOver | None
) -> list[TrialResult]:
    backbone, data = worker_backbone(segment.setting)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    scorer, split = _scorer(segment, backbone, data), _scored_on(segment, data)
    files = [folder / f"{one.number}.safetensors" for one in trials]
    trained, rows = _trained(trials)
    with _pack(segment, backbone, data, trained, segment.from_step) as pack:
        told = _advance(pack, segment.to_step, is_over)
        losses, reasons = [told[row] for row in rows], [pack.failure(row) for row in rows]
        left = [_left(pack, row, one) for row, one in zip(rows, trials, strict=True)]
        for row, file in zip(rows, files, strict=True):
            pack.save(row, file)
        step = pack.step
        is_cut = step < segment.to_step
        is_scored = scorer is backbone and not is_cut and not any(one.cut_to for one in trials)
        found = _scored(pack, split, segment, data, is_over) if is_scored else []
    if not is_scored and not is_cut:
        ended = [_ended(*one) for one in zip(trials, files, reasons, strict=True)]
        with _pack(segment, scorer, data, ended, segment.to_step) as pack:
            found = _scored(pack, split, segment, data, is_over)
    seconds = (time.perf_counter() - began) / len(trials)
    memory = torch.cuda.max_memory_allocated() / 1e6 / len(trials) if on_gpu else None
    results: list[TrialResult] = []
    for place, (one, file) in enumerate(zip(trials, files, strict=True)):
        score, measured, classes, why = found[place] if found else _Scored()
        reason, loss = reasons[place] or why, losses[place]
        if reason:
            file.unlink()
            score = loss = measured = classes = None
        rest = seconds, memory, left[place], measured, classes
        results.append(TrialResult(one.number, step, score, loss, reason, *rest))
    return results


class _Scored(NamedTuple):
    """What a trial's answers come to; `score` is None where it was cut short."""

    score: float | None = None
    measures: dict[str, float] | None = None
    by_class: ByClass | None = None
    reason: str | None = None
    """why the score is none"""


def _scored(
    pack: Pack, split: Split, segment: Segment, data: TaskData, is_over: IsOver | None
) -> list[_Scored]:
    """Scores, and in a retest what is measured besides; none where time is up meanwhile."""
    targets, is_report = split.labels.cpu().numpy(), segment.split == "report"
    try:
        answers = pack.predict(split, is_over=is_over if is_report else None)
        scores = [data.goal.score(one, targets) for one in answers]
        whys = [_why(*one, data) for one in zip(scores, answers, strict=True)]
        if not is_report:
            return [_Scored(score, reason=why) for score, why in zip(scores, whys, strict=True)]
        more = measures(pack, segment.setting, data, to_device, is_over)
    except TimeIsUp:
        return []
    classes = [by_class(one, targets) if data.goal.names else None for one in answers]
    return [_Scored(*one) for one in zip(scores, more, classes, whys, strict=True)]


def _why(score: float, answers: np.ndarray, data: TaskData) -> str | None:
    """Why a score is not finite: the trial's answers, or the metric, which made it of finite
    ones.
    """
    if math.isfinite(score):
        return None
    if not np.isfinite(answers).all():
        return "its predictions are not finite"
    return f"metric {data.goal.metric} gives {score} of predictions that are all finite"


def _trained(trials: Sequence[Entrant]) -> tuple[list[Entrant], list[int]]:
    """What is trained for them, of those that are cut down each once, however often; of each trial
    its place there.
    """
    if not any(one.cut_to for one in trials):
        return list(trials), list(range(len(trials)))
    alike = [replace(one, number=0, cut_to=None) for one in trials]
    places = {one: place for place, one in enumerate(dict.fromkeys(alike))}
    return list(places), [places[one] for one in alike]


def _ended(one: Entrant, file: Path, reason: str | None) -> Entrant:
    """With the state in its file; what is to be cut down, and has not failed, is cut down there."""
    if one.cut_to is None or reason:
        return replace(one, state=str(file))
    return Entrant(one.number, one.ended, str(cut_state(file, one.ended)))


def _left(pack: Pack, place: int, one: Entrant) -> int | None:
    """How many trained numbers still matter, where these are not all."""
    n_left = pack.n_nonzero(place)
    return n_left if n_left < one.spec.adapter.n_params and not one.cut_to else None


FIRST_STEPS, LEAST_SECONDS = 1, 0.5
"""Steps between two looks at the time: they double until they take this long."""


def _advance(pack: Pack, to_step: int, is_over: IsOver | None) -> list[float]:
    """Trains to `to_step`, or to where `is_over` said so; each trial's mean loss meanwhile."""
    if is_over is None:
        return pack.advance(to_step)
    from_step, n_steps = pack.step, FIRST_STEPS
    sums = [0.0] * len(pack.specs)
    while pack.step < to_step and not is_over(pack.step):
        began, start = time.perf_counter(), pack.step
        losses = pack.advance(min(to_step, start + n_steps), goal=to_step)
        sums = [sum_ + loss * (pack.step - start) for sum_, loss in zip(sums, losses, strict=True)]
        if time.perf_counter() - began < LEAST_SECONDS:
            n_steps *= 2
    return [one / max(1, pack.step - from_step) for one in sums]


def _pack(
    segment: Segment, backbone: Backbone, data: TaskData, trials: Sequence[Entrant], from_step: int
) -> Pack:
    return Pack(
        backbone.model,
        data,
        [one.spec for one in trials],
        max_steps=segment.setting.max_steps,
        batch_size=segment.setting.batch_size,
        data_seed=segment.data_seed,
        from_step=from_step,
        states=[Path(one.state) if one.state else None for one in trials],
        anew=backbone.anew,
        recomputes=capacity_key(segment.setting) in _recomputed,
    )


def _scorer(segment: Segment, backbone: Backbone, data: TaskData) -> Backbone:
    """The backbone that trials are scored with: in a retest in float32 (or quantized), as users
    load an export.
    """
    dtype = next(backbone.model.parameters()).dtype
    is_as_loaded = dtype == torch.float32 or getattr(backbone.model, "is_quantized", False)
    is_exact = segment.split == "select" or is_as_loaded
    return backbone if is_exact else _backbone(*_backbone_key(segment.setting, data), exact=True)


def _scored_on(segment: Segment, data: TaskData) -> Split:
    """Report, or select; few rows of select if below the top the trials have learnt from fewer than
    it has.
    """
    if segment.split == "report":
        return data.report
    n_learnt = segment.to_step * segment.setting.batch_size
    return (
        data.select
        if segment.to_step == segment.setting.max_steps or n_learnt >= len(data.select)
        else data.glance
    )


def worker_backbone(setting: Setting) -> tuple[Backbone, TaskData]:
    """This process's backbone, on its GPU if it has one, and the task's data; loaded once as long
    as both are what the search began with.
    """
    task = json.dumps(dict(setting.task), sort_keys=True)
    if "expected" in setting.task:
        data = _data(setting.model, task)
    else:  # nobody says what the files held when the search began
        place = setting.task.get("data")
        data = _data(setting.model, task, model_digest(setting.model), place and stamp(place))
    return _backbone(*_backbone_key(setting, data)), data


def _backbone_key(setting: Setting, data: TaskData) -> tuple[str, str | None, str, tuple[str, ...]]:
    expected = setting.task.get("expected")
    digest = expected.get("model") if expected else model_digest(setting.model)
    return setting.model, digest, data.goal.name, data.goal.names


@lru_cache(maxsize=2)
def _backbone(
    name: str, digest: str | None, goal: str, names: tuple[str, ...], *, exact: bool = False
) -> Backbone:
    """`digest`: of the model's files, by which a model that was saved anew is another."""
    if digest and model_digest(name) != digest:
        raise QuestionError(f"the model {name} has changed since the search began.")
    model, anew = load_backbone(name, GOALS[goal].again(names, "", {}))
    return Backbone(made_ready(model, exact=exact), anew)


@lru_cache(maxsize=2)
def _data(model: str, task: str, *known_by: object) -> TaskData:
    """`task`: as JSON, since what a cache is asked for must be hashable, and columns by role are
    not. It holds the digests of data and model, else `known_by` does: changed ones are others.
    """
    return to_device(load_task(**json.loads(task), model=model))
