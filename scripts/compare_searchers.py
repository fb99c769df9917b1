"""Replays searchers on recorded curves with a simulated clock: GPU-seconds, and trials, to a share
of the best baseline's front.

    python scripts/compare_searchers.py reports/curves/{trec,cola,sst2,eurosat} --seeds 10 \
        --out reports/few_trials_replay.md --plots reports

Ours is the product's own study, with its waves, sampler, pruner and known methods, in packs on one
card. The baselines are what people run: Ray Tune with OptunaSearch(TPE) and ASHA (arXiv
1810.05934, the stopping form of Ray's ASHAScheduler), random, and MO-ASHA (arXiv 2106.12639), one
process a trial, 1, 2, 4 or 8 of them side by side on the card. A point that a searcher proposes is
taken to be the nearest configuration that was recorded and not tried yet, the same way for all.

The clock counts start-up (imports, Ray, model, data: the same for all), making packs, steps and
scoring at the measured speed of the pack's size, and the seconds in which a searcher thinks while
the card waits for it; a process that has nothing left to do waits until the last one ends. Steps of
several processes share the card: k of them are as many times as fast as one as peft's were measured
to be (reports/bench_packs.md: 5.55 times for eight with MiniLM, 3.0 with a ViT), but no faster than
the fastest pack; their trial code is ours (with CUDA graphs), unless a row says peft, whose 62
steps a second with MiniLM were measured in the same report; nothing is charged for beginning a
trial. All of this is in favour of the baselines.

A search is worth the area under its front, chosen by select and scored on report, over log10
parameters up to the budget, above the reference score of the task; as a share of the area under the
front of all that was recorded.
"""

import argparse
import heapq
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tenslora_search.report.estimates import Encoder
from tenslora_search.report.pareto import front
from tenslora_search.report.worth import estimates_of
from tenslora_search.runs.events import Earlier
from tenslora_search.runs.segment import Segment, TrialResult
from tenslora_search.spec.allocators import Measured
from tenslora_search.spec.geometry import Geometry
from tenslora_search.study import proposals as proposals_module
from tenslora_search.study import study as study_module
from tenslora_search.study.prior import GRADIENT_PROBE, Prior
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.seen import Point, Seen
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

REFERENCE_QUANTILE = 0.1
"""Of all final report scores: what an area is measured above."""
TARGETS = (0.90, 0.95, 0.99)
START_UP = 30.0
"""Seconds: imports 6, Ray 13, model and tokenised data 11 (reports/bench_packs.md)."""
OF_EIGHT = {"minilm": 5.55, "dinov2-small": 3.0}
"""How many times as many steps eight processes make as one."""
PEFT = 62.0
"""Steps a second of one process of peft with MiniLM (reports/bench_packs.md)."""
T = TypeVar("T")
ETA = 3


@dataclass(frozen=True)
class Way:
    """A searcher as it is compared: ours in packs, or one trial a process."""

    sampler: str
    pruner: str
    pack: int = 0
    """trials side by side at most; 0: processes"""
    n_processes: int = 1
    knows: bool = True
    """whether the known methods come first"""
    note: str = ""
    gradient: float = 0.0
    """the weight of what the first gradient promises, in trials (FOLDER/spectra.json)"""
    warm: str = ""
    """what an earlier search, as long and of another seed, was about, whose scores are a prior:
    `the same task`, or `another task`, the folder named before"""
    is_peft: bool = False
    """whether a process steps at the measured speed of peft, not at ours"""

    @property
    def name(self) -> str:
        if self.pack:
            return f"{self.sampler}, {self.pruner}, packs of {self.pack}{self.note}"
        many = "process" if self.n_processes == 1 else "processes"
        code = " of peft" if self.is_peft else ""
        return f"Ray Tune: {self.sampler}, {self.pruner}, {self.n_processes} {many}{code}"

    @property
    def is_baseline(self) -> bool:
        return not self.pack


@dataclass(frozen=True)
class Moment:
    """A search at one time: GPU-seconds, trials begun, and the share of the area that it has."""

    seconds: float
    n_trials: int
    share: float
    members: Sequence[int] = ()
    """places of the front's configurations"""
    estimated: float | None = None
    """the share, at a search's end, of the front that is chosen by estimates, as reports do"""


class Recorded:
    """A folder of record_curves.py: what each configuration would score, and what it costs."""

    def __init__(self, folder: Path) -> None:
        table = pq.read_table(folder / "curves.parquet")
        self.about: dict[str, Any] = json.loads(table.schema.metadata[b"about"])
        self.rows: pd.DataFrame = table.to_pandas().dropna(subset=["report"])
        self.rows = self.rows.reset_index(drop=True)
        geometry = Geometry.from_json(self.about["geometry"])
        self.space = SearchSpace.load("default", geometry, self.about["budget"])
        self.points: list[Point] = [json.loads(text) for text in self.rows["point"]]
        self.sizes: list[int] = self.rows["n_params"].tolist()
        self.report: list[float] = self.rows["report"].tolist()
        self.encoder = Encoder(self.points, self.sizes)
        self.inputs = self.encoder.rows(self.points, self.sizes)
        self.spectra = folder / "spectra.json"
        self._by_key = {self._key(point): k for k, point in enumerate(self.points)}
        self._by_text = {_text(point): k for k, point in enumerate(self.points)}
        steps, last = self.about["steps"], self.about["max_steps"]
        wanted = [last / 9, last / 3, last]
        self.rungs = tuple(min(steps, key=lambda step, w=w: abs(step - w)) for w in wanted)
        self.scores = {step: self.rows[f"select_{step}"].tolist() for step in self.rungs}
        self.reference = float(self.rows["report"].quantile(REFERENCE_QUANTILE))
        self.timings = {int(size): one for size, one in self.about["timings"].items()}
        self.whole = self._area(list(zip(self.sizes, self.report, strict=True)))

    def led(self, weight: float) -> SearchSpace:
        """The space with the first gradient as a prior."""
        measured = Measured(tuple(json.loads(self.spectra.read_text())))
        prior = Prior(gradient=weight)
        return replace(self.space, prior=prior, measured={GRADIENT_PROBE: measured})

    def _key(self, point: Mapping[str, Any]) -> str:
        return self.space.key(self.space.trial(point, 0))

    def of(self, point: Point) -> int:
        """The place of a recorded configuration; of one that the study moved, because it had an
        equal one, the nearest.
        """
        found = self._by_text.get(_text(point))
        found = self._by_key.get(self._key(point)) if found is None else found
        return self.nearest(point, set()) if found is None else found

    def nearest(self, point: Point, tried: set[int]) -> int:
        """The place of the nearest configuration that was not tried."""
        size = self.space.trial(point, 0).adapter.n_params
        gaps = ((self.inputs - self.encoder.rows([point], [size])) ** 2).sum(1)
        gaps[list(tried)] = math.inf
        return int(gaps.argmin())

    def seconds(self, segment: Segment) -> float:
        """Of a segment, between the speeds of the two pack sizes next to its own."""
        n = len(segment.numbers)
        n_steps = segment.to_step - segment.from_step
        sizes = sorted(self.timings)
        parts = {
            key: float(np.interp(n, sizes, [self.timings[size][key] for size in sizes]))
            for key in ("make", "step", "score")
        }
        return parts["make"] + n_steps * parts["step"] + parts["score"]

    def seconds_alone(self, n_steps: int, n_processes: int, *, is_peft: bool) -> float:
        """Of one trial's steps and score, while so many processes share the card."""
        alone = dict(self.timings[1])
        if is_peft:
            alone["step"] = 1 / PEFT
        power = math.log(OF_EIGHT[self.model]) / math.log(8)
        fastest = max(size / one["step"] for size, one in self.timings.items())
        rate = min(n_processes**power / alone["step"], max(fastest, 1 / alone["step"]))
        return (n_steps + alone["score"] / alone["step"]) * n_processes / rate

    @property
    def model(self) -> str:
        return next(name for name in OF_EIGHT if name.partition("-")[0] in self.about["model"])

    def share(self, members: Sequence[int]) -> float:
        """Of the area under the front of all, of these places'."""
        return self._area([(self.sizes[k], self.report[k]) for k in members]) / self.whole

    def _area(self, members: Sequence[tuple[int, float]]) -> float:
        """Under (parameters, report score) above the reference, in score x decades."""
        done, top, edges = 0.0, self.reference, sorted(members)
        if not edges:
            return 0.0
        ends = [*(size for size, _ in edges[1:]), self.about["budget"]]
        for (size, score), end in zip(edges, ends, strict=True):
            top = max(top, score)
            done += (math.log10(end) - math.log10(size)) * (top - self.reference)
        return done


def _text(point: Mapping[str, Any]) -> str:
    return json.dumps(dict(point), sort_keys=True)


# Ours: the product's own study in packs.


def snapping(recorded: Recorded, sampler: str, spent: list[float]) -> Any:
    """A sampler whose points are recorded ones; notes the seconds in which it thought."""

    def make(space: SearchSpace, seed: int, objective: str) -> Any:
        propose = SAMPLERS[sampler](space, seed, objective)

        def snapped(seen: Sequence[Seen], count: int) -> list[Point]:
            began = time.process_time()
            points = propose(seen, count)
            spent[0] += time.process_time() - began
            tried = {recorded.of(one.point) for one in seen}
            found: list[Point] = []
            for point in points:
                if len(tried) < len(recorded.points):
                    place = recorded.nearest(point, tried)
                    tried.add(place)
                    found.append(recorded.points[place])
            return found

        return snapped

    return make


class Silent:
    """No dashboard: nobody looks at a replay."""

    def __init__(self, *arguments: object) -> None: ...
    def proposed(self, record: object) -> None: ...
    def ended(self, record: object) -> None: ...


def in_packs(
    recorded: Recorded, way: Way, n_trials: int, seed: int, told: Sequence[Earlier] = (),
    into: list[Earlier] | None = None,
) -> list[Moment]:  # fmt: skip
    """The search after each segment. `told`: of an earlier search; `into` takes this one's."""
    spent, clock = [0.0], START_UP
    table = {**dict(SAMPLERS), "snapped": snapping(recorded, way.sampler, spent)}
    study_module.SAMPLERS, study_module.Dashboard = table, Silent  # type: ignore[assignment]
    proposals_module.settled = lambda space, point, generator: point  # they are recorded ones
    found: list[Moment] = []
    recorded_space = recorded.led(way.gradient) if way.gradient else recorded.space
    space = recorded_space if way.knows else _without_known(recorded_space)
    with tempfile.TemporaryDirectory() as folder:
        study = Study(
            space, Path(folder), n_trials=n_trials, rungs=recorded.rungs, sampler="snapped",
            pruner=way.pruner, seed=seed, earlier=lambda: told,
        )  # fmt: skip
        while not study.done:
            segment = study.next_segment(way.pack, split=1)
            if segment is None:
                break
            clock += recorded.seconds(segment)
            places = [recorded.of(study.records[number].point) for number in segment.numbers]
            study.record(segment, _results(recorded, segment, places), {}, 0.0)
            leaders = [recorded.of(one.point) for one in front(study.records.values())]
            about = clock + spent[0], len(study.records), recorded.share(leaders), leaders
            found.append(Moment(*about))
        chosen = [recorded.of(study.records[number].point) for number in _by_estimates(study)]
        if into is not None:
            into += [
                Earlier("earlier", k, one.point, one.n_params, one.step, one.score, True)
                for k, one in study.records.items()
                if one.score is not None
            ]
    return [*found[:-1], replace(found[-1], estimated=recorded.share(chosen))]


def _by_estimates(study: Study) -> list[int]:
    """The front's trials by what the model of all scores takes them to be worth."""
    worth = {number: one[0] for number, one in estimates_of(study.records).items()}
    return leading(worth, lambda one: study.records[one].n_params, lambda one: worth[one])


def leading(found: Iterable[T], size: Callable[[T], int], score: Callable[[T], float]) -> list[T]:
    """Those of which none as small has as high a score, by size."""
    members, top = list[T](), -math.inf
    for one in sorted(found, key=lambda one: (size(one), -score(one))):
        if score(one) > top:
            top = score(one)
            members.append(one)
    return members


def _without_known(space: SearchSpace) -> SearchSpace:
    class Bare(SearchSpace):
        def seeds(self) -> list[dict[str, Any]]:
            return SearchSpace.seeds(self)[:1]

    return Bare(**{name: getattr(space, name) for name in space.__dataclass_fields__})


def _results(recorded: Recorded, segment: Segment, places: Sequence[int]) -> list[TrialResult]:
    scores = recorded.scores[segment.to_step]
    return [
        TrialResult(number, segment.to_step, float(scores[place]), 0.1, None, 1.0)
        for number, place in zip(segment.numbers, places, strict=True)
    ]


# Theirs: one trial a process, several of them on the card.


@dataclass
class Alone:
    """A trial of a baseline."""

    number: int
    place: int
    rung: int = 0
    is_over: bool = False


def in_processes(recorded: Recorded, way: Way, n_trials: int, seed: int) -> list[Moment]:
    """The search after each rung of a trial; events in the order of the clock."""
    propose = SAMPLERS[way.sampler](recorded.space, seed, "front")
    judge, trials, tried = _Asha(recorded, way.pruner), list[Alone](), set[int]()
    thinking, found = 0.0, list[Moment]()
    ends: list[tuple[float, int]] = []

    def begin(now: float) -> None:
        nonlocal thinking
        began = time.process_time()
        point = propose([_seen(recorded, one) for one in trials], 1)[0]
        thinking = time.process_time() - began
        place = recorded.nearest(point, tried)
        tried.add(place)
        trials.append(Alone(len(trials), place))
        heapq.heappush(ends, (now + thinking + lasts(0), trials[-1].number))

    def lasts(rung: int) -> float:
        before = recorded.rungs[rung - 1] if rung else 0
        n_active = min(way.n_processes, len(ends) + 1)
        steps = recorded.rungs[rung] - before
        return recorded.seconds_alone(steps, n_active, is_peft=way.is_peft)

    for _ in range(min(way.n_processes, n_trials)):
        begin(START_UP)
    while ends:
        now, number = heapq.heappop(ends)
        one = trials[number]
        goes_on = judge.goes_on(one) and one.rung + 1 < len(recorded.rungs)
        one.rung += 1
        if goes_on:
            heapq.heappush(ends, (now + lasts(one.rung), number))
        else:
            one.is_over = True
            if len(trials) < n_trials:
                begin(now)
        whole = [one for one in trials if one.rung == len(recorded.rungs)]
        scores = recorded.scores[recorded.rungs[-1]]
        at_end = [one.place for one in whole]
        members = leading(at_end, recorded.sizes.__getitem__, scores.__getitem__)
        found.append(Moment(now, len(trials), recorded.share(members), members))
    return found


def _seen(recorded: Recorded, one: Alone) -> Seen:
    rungs = recorded.rungs[: one.rung]
    scores = {step: recorded.scores[step][one.place] for step in rungs}
    state = "complete" if one.is_over else "running"
    return Seen(one.number, recorded.points[one.place], recorded.sizes[one.place], scores, state)


class _Asha:
    """Who goes on: `none` all; `asha` by score, the best third of those that were there before, and
    of the first all; `mo-asha` by the rank of non-dominated sorting over score and parameters.
    """

    def __init__(self, recorded: Recorded, how: str) -> None:
        self.recorded, self.how = recorded, how
        self._told: dict[int, list[tuple[float, int]]] = {}

    def goes_on(self, one: Alone) -> bool:
        step = self.recorded.rungs[one.rung]
        own = self.recorded.scores[step][one.place], self.recorded.sizes[one.place]
        others = self._told.setdefault(one.rung, [])
        before = list(others)
        others.append(own)
        if self.how == "none" or not before:
            return True
        if self.how == "asha":
            cut = np.nanpercentile([score for score, _ in before], (1 - 1 / ETA) * 100)
            return own[0] >= cut
        return _rank([*before, own]) < math.ceil((len(before) + 1) / ETA)


def _rank(pairs: Sequence[tuple[float, int]]) -> int:
    """The place of the last by non-dominated sorting; within a front by distance from the rest in
    log parameters, the farthest first.
    """
    left, n_before = list(range(len(pairs))), 0
    last = len(pairs) - 1
    while True:
        leading = [k for k in left if not any(_beats(pairs[j], pairs[k]) for j in left if j != k)]
        if last in leading:
            break
        n_before += len(leading)
        left = [k for k in left if k not in leading]
    logs = {k: math.log(pairs[k][1]) for k in leading}
    gaps = {k: min((abs(logs[k] - logs[j]) for j in leading if j != k), default=math.inf)
            for k in leading}  # fmt: skip
    return n_before + sum(gaps[k] > gaps[last] for k in leading)


def _beats(one: tuple[float, int], other: tuple[float, int]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other


# What came out.


def time_to(curve: Sequence[Moment], target: float, of: Callable[[Moment], float]) -> float:
    """Seconds, or trials, from which on the share is never below the target again; infinite if
    never.
    """
    reached = math.inf
    for one in curve:
        if one.share < target:
            reached = math.inf
        elif math.isinf(reached):
            reached = of(one)
    return reached


def ways_of(pack: int) -> list[Way]:
    """Ours with its defaults, each lever off in turn; the baselines."""
    packed = [Way(one, "front", pack) for one in ("random", "tpe", "lattice", "nsga2")]
    bare = Way("tpe", "front", pack, knows=False, note=", known methods not first")
    return [
        *packed,
        *(Way(one, "none", pack) for one in ("random", "tpe", "lattice")),
        bare,
        replace(bare, sampler="lattice"),
        replace(bare, sampler="random", pruner="none"),
        *(
            Way(sampler, "none", pack, gradient=weight, note=f", gradient prior {weight:g}")
            for sampler, weight in (("random", 64.0), ("tpe", 64.0), ("tpe", 1e6))
        ),
        *(
            Way("tpe", "none", pack, warm=about, note=f", warm start from {about}")
            for about in (SAME, OTHER)
        ),
        Way("tpe", "none", 1),
        *(Way("tpe", "asha", n_processes=n) for n in (1, 2, 4, 8)),
        Way("random", "none", n_processes=8),
        Way("random", "asha", n_processes=8),
        Way("tpe", "mo-asha", n_processes=8),
        *(Way("tpe", "asha", n_processes=n, is_peft=True) for n in (1, 8)),
        Way("gp", "front", pack),
    ]


def replayed(
    recorded: Recorded, way: Way, n_trials: int, seed: int, before: Recorded | None
) -> list[Moment]:
    if not way.pack:
        return in_processes(recorded, way, n_trials, seed)
    told: list[Earlier] = []
    if way.warm:
        of = recorded if way.warm == SAME else before
        assert of is not None
        in_packs(of, replace(way, warm=""), n_trials, seed + 1000, into=told)
        told = [replace(one, is_same=of is recorded) for one in told]
    return in_packs(recorded, way, n_trials, seed, told)


SAME, OTHER = "the same task", "another task"


def compared(
    recorded: Recorded, ways: Sequence[Way], options: argparse.Namespace, before: Recorded | None
) -> Any:
    """{way: a curve a seed}, kept in a file so that a second call goes on."""
    name = recorded.about["task"]
    kept = options.keep / f"{name}-{options.trials}.json" if options.keep else None
    known = json.loads(kept.read_text()) if kept and kept.exists() else {}
    curves: dict[Way, list[list[Moment]]] = {}
    for way in ways:
        found = known.setdefault(way.name, [])
        for seed in range(len(found), options.seeds):
            curve = replayed(recorded, way, options.trials, seed, before)
            found.append([vars(one) for one in curve])
            if kept:
                kept.write_text(json.dumps(known))
        curves[way] = [[Moment(**one) for one in curve] for curve in found[: options.seeds]]
        final = statistics.median(curve[-1].share for curve in curves[way])
        print(f"{name}: {way.name}: {final:.3f}", flush=True)
    return curves


def table_of(recorded: Recorded, curves: Mapping[Way, Any], options: argparse.Namespace) -> str:
    finals = {way: statistics.median(one[-1].share for one in curves[way]) for way in curves}
    best = max((way for way in curves if way.is_baseline), key=lambda way: finals[way])
    about = recorded.about
    lines = [
        f"### {about['task']} on {recorded.model}",
        "",
        f"{len(recorded.points):,} recorded configurations, {options.trials} trials a search, "
        f"{options.seeds} search seeds, rungs {', '.join(map(str, recorded.rungs))}, reference "
        f"score {recorded.reference:.4f} (the lowest tenth); {about['device']}. Best baseline: "
        f"{best.name}, {finals[best]:.3f}. Median over seeds; a dash: the median search never gets "
        "there. Area: the share of that under the front of all that was recorded; at the end also "
        "of the front chosen by estimates instead of the luckiest scores, as reports choose it.",
        "",
        "| searcher | area at the end | by estimates | s to 90 % | 95 % | 99 % | trials to 95 % | "
        "s in all |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for way, found in curves.items():
        cells = [_median(found, share * finals[best], "seconds") for share in TARGETS]
        cells.append(_median(found, 0.95 * finals[best], "n_trials"))
        whole = statistics.median(one[-1].seconds for one in found)
        spread = np.std([one[-1].share for one in found])
        told = " | ".join("-" if math.isinf(one) else f"{one:.0f}" for one in cells)
        estimated = [one[-1].estimated for one in found if one[-1].estimated is not None]
        chosen = f"{statistics.median(estimated):.3f}" if estimated else "-"
        lines.append(
            f"| {way.name} | {finals[way]:.3f} ± {spread:.3f} | {chosen} | {told} | {whole:.0f} |"
        )
    return "\n".join([*lines, ""])


def _median(found: Sequence[Sequence[Moment]], target: float, what: str) -> float:
    return statistics.median_high(
        [time_to(one, target, lambda moment: getattr(moment, what)) for one in found]
    )


SIZES = (1 / 4, 1, 4, 16)
"""Parameters, as multiples of LoRA's of rank 1, at which picks are looked at."""


def sizes_of(recorded: Recorded, sweep: Recorded, curves: Mapping[Way, Any]) -> str:
    """The best by select of at most so many parameters, scored on report: of an exhaustive sweep of
    LoRA's ranks and learning rates, each the mean of two seeds, and of the searches.
    """
    unit = min(sweep.sizes)
    sizes = [round(unit * one) for one in SIZES if unit * one <= recorded.about["budget"]]
    last = f"select_{sweep.rungs[-1]}"
    lora = sweep.rows.groupby("point").agg({last: "mean", "report": "mean", "n_params": "first"})
    cells = []
    for size in sizes:
        fits = lora[lora["n_params"] <= size]
        cells.append("-" if fits.empty else f"{fits.loc[fits[last].idxmax(), 'report']:.4f}")
    lines = [
        f"The pick at most so large, on report ({recorded.about['task']}); of the searches the "
        f"median over seeds. The sweep: {len(lora)} pairs of rank and rate, each "
        f"trained twice, {sum(sweep.rows['training_seconds']):.0f} GPU-seconds in packs.",
        "",
        "| by | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "| --- |" + " --: |" * len(sizes),
        "| LoRA, rank x learning rate | " + " | ".join(cells) + " |",
    ]
    scores = recorded.scores[recorded.rungs[-1]]
    for way, found in curves.items():
        cells = []
        for size in sizes:
            picks = [
                max((k for k in one[-1].members if recorded.sizes[k] <= size), default=None,
                    key=lambda k: scores[k])
                for one in found
            ]  # fmt: skip
            reports = [-math.inf if pick is None else recorded.report[pick] for pick in picks]
            middle = statistics.median_low(reports)
            cells.append("-" if math.isinf(middle) else f"{middle:.4f}")
        lines.append(f"| {way.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


PLOTTED = (
    "tpe, front, packs of 64",
    "tpe, none, packs of 64",
    "random, none, packs of 64",
    "Ray Tune: random, none, 8 processes",
    "Ray Tune: tpe, asha, 8 processes",
    "Ray Tune: tpe, mo-asha, 8 processes",
    "Ray Tune: tpe, asha, 8 processes of peft",
)
"""Names of searchers; all of them in one chart would hide each other."""


def plot(recorded: Recorded, curves: Mapping[Way, Any], path: Path) -> None:
    """The median area over GPU-seconds, with the middle half of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    shown = [(way, curves[way]) for way in curves if way.name in PLOTTED]
    last = max(one[-1].seconds for _, found in shown for one in found)
    at = np.geomspace(START_UP, last, 200)
    for place, (way, found) in enumerate(shown):
        rows = np.array([[_share_at(one, second) for second in at] for one in found])
        low, middle, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
        look = {"color": f"C{place % 10}", "ls": "--" if way.is_baseline else "-"}
        axes.plot(at, middle, label=way.name, lw=1.4, **look)
        axes.fill_between(at, low, high, color=look["color"], alpha=0.12, lw=0)
    axes.set(xscale="log", xlabel="GPU-seconds, start-up included", ylabel="share of the area",
             title=f"{recorded.about['task']} on {recorded.model}", ylim=(0.4, 1.0))  # fmt: skip
    axes.grid(alpha=0.2)
    axes.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=150)


def _share_at(curve: Sequence[Moment], second: float) -> float:
    return next((one.share for one in reversed(curve) if one.seconds <= second), 0.0)


def main() -> None:
    options = arguments()
    random.seed(0)
    os.fsync = lambda file: None  # nothing of a replay has to survive
    lines = ["# Searchers on recorded curves", "", "Made by `scripts/compare_searchers.py`.", ""]
    recorded: Recorded | None = None
    for folder in options.folders:
        last, recorded = recorded, Recorded(folder)
        before = last if last and last.space.geometry == recorded.space.geometry else None
        ways = [way for way in ways_of(options.pack) if way.sampler not in options.without]
        ways = [way for way in ways if not way.is_peft or recorded.model == "minilm"]
        ways = [way for way in ways if not way.gradient or recorded.spectra.exists()]
        ways = [way for way in ways if way.warm != OTHER or before]
        ways = [way for way in ways if all(word in way.name for word in options.only)]
        curves = compared(recorded, ways, options, before)
        if any(way.is_baseline for way in curves):
            lines.append(table_of(recorded, curves, options))
        sweep = folder.with_name(f"{folder.name}-lora")
        if sweep.is_dir():
            lines.append(sizes_of(recorded, Recorded(sweep), curves))
        if options.plots:
            plot(recorded, curves, options.plots / f"few_trials_{recorded.about['task']}.png")
    print(*lines, sep="\n")
    if options.out:
        options.out.write_text("\n".join(lines), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pack", type=int, default=64)
    parser.add_argument("--without", nargs="*", default=[], help="samplers to leave out")
    parser.add_argument("--only", nargs="*", default=[], help="words of the names of searchers")
    parser.add_argument("--keep", type=Path, help="a folder of the curves, to go on from")
    parser.add_argument("--plots", type=Path, help="a folder")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
