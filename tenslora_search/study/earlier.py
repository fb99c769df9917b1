"""Warm start: trials of earlier runs as a prior of the sampler. They are never trials of the search
that is told of them, nor on its front.

A trial is carried over as a point of the new space: its structure or method by name, its numbers
moved into the new ranges, its size as a share of the new budget. One that is larger than that is
made as large as it allows. Of a run on other data, metric or model only the order of the scores is
believed, on the scale of the new ones, and less the more new ones there are.
"""

import logging
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tenslora_search.runs.events import Earlier
from tenslora_search.runs.question import Question
from tenslora_search.runs.replay import Record, replayed
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.knobs import Choice
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.parameters import has, nearest
from tenslora_search.study.seen import Seen
from tenslora_search.study.space import SearchSpace

LOGGER = logging.getLogger("tenslora_search")
SCALE = ("task", "goal", "metric")
"""Parts of a question; where they are equal, and data and model hold the same, scores are on one
scale.
"""
CUT = ("seed", "fit_rows", "group", "columns", "drop_unlabelled")
"""Parts of a question that decide which rows of the same data are in which part."""
MOST = 400
"""Trials that are carried over of one run: those that came furthest."""
FADES_AFTER = 16
"""New trials after which half of what ran on something else is still told."""
FEWEST = 4
"""Scores that make a scale."""


def earlier_of(
    question: Question, space: SearchSpace, digests: Mapping[str, str | None]
) -> list[Earlier]:
    """The trials that a question's earlier runs bring; what they do not is said in one line.
    `digests` of "data" and "model", where they are known.

    `QuestionError` as `check_earlier`.
    """
    found: list[Earlier] = []
    lost: Counter[str] = Counter()
    for folder in question.warm_start or ():
        file, trials = _read(Path(folder), space)
        is_same = is_same_scale(file, question, digests)
        found += _carried(Path(folder), file, trials, question, space, lost, is_same=is_same)
    if question.warm_start:
        why = "; ".join(f"{count} {reason}" for reason, count in lost.most_common())
        LOGGER.warning(
            "warm start: %d of %d earlier trials are carried over%s",
            len(found), len(found) + lost.total(), f"; left out are {why}" if why else "",
        )  # fmt: skip
    return found


def check_earlier(question: Question, space: SearchSpace, out: Path | None = None) -> None:
    """`QuestionError` for a folder that holds no run, or one on a model of other maps. Where `out`
    holds this search already, its journal has what they brought, and they may be gone.
    """
    if out is not None and (out / "trials.jsonl").exists():
        return
    for folder in question.warm_start or ():
        _ = _read(Path(folder), space)


def _read(folder: Path, space: SearchSpace) -> tuple[RunFile, list[Record]]:
    """A run and its trials, those that came furthest first."""
    file = RunFile.read(folder)
    _, told = replayed(folder / "trials.jsonl")
    trials = sorted(told.trials.values(), key=lambda one: (-one.step, one.number))
    sizes = {group for geometry in space.geometries.values() for group in geometry.groups}
    theirs = {group for one in (file.geometries or {"": file.geometry}).values()
              for group in one.groups}  # fmt: skip
    if not sizes & theirs:
        raise QuestionError(
            f"--warm-start {folder}: it is about {file.model}, whose maps have other shapes than "
            f"those that space {space.name} adapts here; name runs on this model, or one like it."
        )
    return file, trials


def _carried(
    folder: Path, file: RunFile, trials: Sequence[Record], question: Question, space: SearchSpace,
    lost: Counter[str], *, is_same: bool,
) -> list[Earlier]:  # fmt: skip
    """The trials as points of the space; why the others are none is counted in `lost`."""
    found: list[Earlier] = []
    for record in trials:
        spec = _known_spec(record)
        point = _point(record, spec, space) if spec else None
        if record.state == "failed" or record.score is None:
            lost["without a score"] += 1
        elif point is None:
            lost["of structures, sites or choices that the space does not hold"] += 1
        elif len(found) == MOST:
            lost[f"more than {MOST} of one run"] += 1
        else:
            size = space.trial(point, 0).adapter.n_params
            step = max(1, round(record.step / file.rungs[-1] * question.max_steps))
            about = str(folder), record.number, point, size, step, record.score, is_same
            found.append(Earlier(*about))
    return found


def is_same_scale(file: RunFile, question: Question, digests: Mapping[str, str | None]) -> bool:
    """Whether the scores of an earlier run are on the scale of this question's.

    Data and models are known by what they hold, wherever they lie; by their names where nobody has
    looked, and data too where they were cut otherwise, which makes another digest.
    """

    def equal(names: Sequence[str]) -> bool:
        return all(getattr(file.question, name) == getattr(question, name) for name in names)

    model, data = digests.get("model"), digests.get("data")
    by_model = model is not None and file.model_digest is not None
    by_data = data is not None and file.data_digest is not None and equal(CUT)
    return (
        equal(SCALE)
        and (file.model_digest == model if by_model else equal(["model"]))
        and (file.data_digest == data if by_data else equal(["data"]))
    )


def _known_spec(record: Record) -> TrialSpec | None:
    try:
        return record.spec
    except QuestionError:
        return None


def _point(record: Record, spec: TrialSpec, space: SearchSpace) -> dict[str, Any] | None:
    """The trial as a point; None if the space does not hold its structure or method, its sites, or
    one of its choices.
    """
    adapter, said = spec.adapter, spec.columns()
    structure = f"{adapter.construction} x {adapter.decomposition}"
    names = [spec.method] if space.own else [record.point.get("structure"), structure]
    name = next((one for one in names if one in space.structures), None)
    sites = [sites for sites, one in space.geometries.items() if one == adapter.geometry]
    if name is None or not sites:
        return None
    own = {one: said[key] for key, one in space.own.get(name, {}).items() if key in said}
    known = {**space.usual, **said, **own, **record.point}
    known |= {"sites": sites[0], space.kind: name, "size": record.n_params / space.budget}
    found: dict[str, Any] = {}
    for key, one in space.searched.items():
        if isinstance(one, Choice) and key != "size" and not has(one, known[key]):
            return None
        found[key] = nearest(one, known[key])
    return found


def as_seen(earlier: Sequence[Earlier], own: Sequence[Seen]) -> list[Seen]:
    """What a sampler is told of them beside a search's own trials: those of the same task as they
    are; of others, the best and the worst alike, as many as n / (1 + trials / FADES_AFTER).
    """
    same = [one for one in earlier if one.is_same]
    scores = [one.score for one in own if one.score is not None] or [one.score for one in same]
    found = list(same)
    runs = dict.fromkeys(one.run for one in earlier if not one.is_same)
    for run in runs:
        of_run = [one for one in earlier if one.run == run]
        kept = round(len(of_run) / (1 + len(own) / FADES_AFTER))
        ranked = sorted(of_run, key=lambda one: (-one.score, one.trial))
        places = [k * len(ranked) // kept for k in range(kept)]
        found += _on_scale([ranked[place] for place in places], of_run, scores)
    return [
        Seen(-1 - k, one.point, one.n_params, {one.step: one.score}, "complete")
        for k, one in enumerate(found)
    ]


def _on_scale(
    told: Sequence[Earlier], of_run: Sequence[Earlier], scores: Sequence[float]
) -> list[Earlier]:
    """With the middle and the spread of the new scores; while there are too few for a spread, with
    one of 1, so that several runs are on one scale at any time.
    """
    old = [one.score for one in of_run]
    middle, target = statistics.median(old), statistics.median(scores or [0.0])
    ratio = (_spread(scores) if len(scores) >= FEWEST else 1.0) / (_spread(old) or math.inf)
    return [replace(one, score=target + (one.score - middle) * ratio) for one in told]


def _spread(scores: Sequence[float]) -> float:
    """Of the middle half; of few scores, of all."""
    if len(scores) < FEWEST:
        return max(scores) - min(scores)
    low, _, high = statistics.quantiles(scores, n=4, method="inclusive")
    return high - low


def leaders(earlier: Sequence[Earlier]) -> list[dict[str, Any]]:
    """Points of the fronts of the earlier runs, the largest first, each run's in turn."""
    found: list[dict[str, Any]] = []
    for run in dict.fromkeys(one.run for one in earlier):
        top = float("-inf")
        last = max(one.step for one in earlier if one.run == run)
        members: list[dict[str, Any]] = []
        whole = [one for one in earlier if one.run == run and one.step == last]
        for one in sorted(whole, key=lambda one: (one.n_params, -one.score, one.trial)):
            if one.score > top:
                top = one.score
                members.append(dict(one.point))
        found += members[::-1]
    return found
