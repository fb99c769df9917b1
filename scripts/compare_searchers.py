"""Replays searchers on recorded curves with a simulated clock: GPU-seconds to a share of the best
baseline's front.

    python scripts/compare_searchers.py curves/trec curves/cola --trials 128 --seeds 10 \
        --out reports/few_trials_replay.md

Every searcher runs the product's own study, with its sampler, pruner and known methods. A point
that it proposes is taken to be the nearest configuration that was recorded and not tried yet, the
same way for all. The clock counts the start of the process, making packs, steps and scoring at the
measured speed of the pack's size, and the seconds in which a searcher thinks while the card is
idle. One trial a process ("alone") is a pack of one, with a start a trial; several of them side by
side on a card are not measured here. A search is worth the area under its front, chosen by select
and scored on report, over log10 parameters, above the reference score; both are the task's alone.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tenslora_search.report.estimates import Encoder
from tenslora_search.report.pareto import front
from tenslora_search.runs.segment import Segment, TrialResult
from tenslora_search.spec.geometry import Geometry
from tenslora_search.study import study as study_module
from tenslora_search.study.samplers import SAMPLERS, Point, Seen
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

REFERENCE_QUANTILE = 0.1
"""Of all final report scores: what an area is measured above."""
TARGETS = (0.90, 0.95, 0.99)
BASELINES = ("random", "tpe", "nsga2", "gp")
PRODUCT_START = 1.0
"""Starts of a process that a packed search has; alone, each trial has one."""


@dataclass(frozen=True)
class Way:
    """A searcher as it is compared."""

    sampler: str
    pruner: str
    pack: int

    @property
    def name(self) -> str:
        where = f"packs of {self.pack}" if self.pack > 1 else "alone"
        return f"{self.sampler}, {self.pruner}, {where}"


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
        self.encoder = Encoder(self.points, self.sizes)
        self.inputs = self.encoder.rows(self.points, self.sizes)
        self.place = {self._key(point): k for k, point in enumerate(self.points)}
        steps, last = self.about["steps"], self.about["max_steps"]
        wanted = [last / 9, last / 3, last]
        self.rungs = tuple(min(steps, key=lambda step, w=w: abs(step - w)) for w in wanted)
        self.reference = float(self.rows["report"].quantile(REFERENCE_QUANTILE))

    def _key(self, point: Mapping[str, Any]) -> str:
        return self.space.key(self.space.trial(point, 0))

    def of(self, point: Mapping[str, Any]) -> int:
        return self.place[self._key(point)]

    def nearest(self, point: Point, tried: set[int]) -> int:
        """The place of the nearest configuration that was not tried."""
        size = self.space.trial(point, 0).adapter.n_params
        gaps = ((self.inputs - self.encoder.rows([point], [size])) ** 2).sum(1)
        gaps[list(tried)] = math.inf
        return int(gaps.argmin())

    def seconds(self, segment: Segment) -> float:
        """Of a segment, at the speed of the next larger pack that was timed."""
        timings = {int(size): one for size, one in self.about["timings"].items()}
        n = len(segment.numbers)
        size = min((one for one in timings if one >= n), default=max(timings))
        one, share = timings[size], max(1.0, n / size)
        n_steps = segment.to_step - segment.from_step
        return share * (one["make"] + n_steps * one["step"] + one["score"])

    def area(self, members: Sequence[tuple[int, float]]) -> float:
        """Under (parameters, report score) above the reference, in score x decades."""
        if not members:
            return 0.0
        done, top = 0.0, self.reference
        edges = sorted(members)
        ends = [*(size for size, _ in edges[1:]), self.about["budget"]]
        for (size, score), end in zip(edges, ends, strict=True):
            top = max(top, score)
            done += (math.log10(end) - math.log10(size)) * (top - self.reference)
        return done


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


def replayed(recorded: Recorded, way: Way, n_trials: int, seed: int) -> list[tuple[float, float]]:
    """(GPU-seconds, area) after each segment."""
    spent, clock = [0.0], recorded.about["start_up_seconds"] * PRODUCT_START
    table = {**dict(SAMPLERS), "snapped": snapping(recorded, way.sampler, spent)}
    study_module.SAMPLERS, study_module.Dashboard = table, Silent  # type: ignore[assignment]
    curve: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        study = Study(
            recorded.space, Path(folder), n_trials=n_trials, rungs=recorded.rungs,
            sampler="snapped", pruner=way.pruner, seed=seed,
        )  # fmt: skip
        while not study.done:
            segment = study.next_segment(way.pack)
            if segment is None:
                break
            is_start = way.pack == 1 and segment.from_step == 0
            clock += recorded.seconds(segment) + recorded.about["start_up_seconds"] * is_start
            study.record(segment, results(recorded, study, segment), {}, 0.0)
            leaders = front(study.records.values())
            members = [(one.n_params, report_of(recorded, one.point)) for one in leaders]
            curve.append((clock + spent[0], recorded.area(members)))
    return curve


def results(recorded: Recorded, study: Study, segment: Segment) -> list[TrialResult]:
    places = [recorded.of(study.records[number].point) for number in segment.numbers]
    scores = recorded.rows[f"select_{segment.to_step}"]
    return [
        TrialResult(number, segment.to_step, float(scores[place]), 0.1, None, 1.0)
        for number, place in zip(segment.numbers, places, strict=True)
    ]


def report_of(recorded: Recorded, point: Mapping[str, Any]) -> float:
    return float(recorded.rows["report"][recorded.of(point)])


def time_to(curve: Sequence[tuple[float, float]], target: float) -> float:
    """Seconds from which on the area is never below the target again; infinite if never."""
    reached = math.inf
    for seconds, area in curve:
        if area < target:
            reached = math.inf
        elif math.isinf(reached):
            reached = seconds
    return reached


def table_of(recorded: Recorded, ways: Sequence[Way], options: argparse.Namespace) -> list[str]:
    curves = {
        way: [replayed(recorded, way, options.trials, seed) for seed in range(options.seeds)]
        for way in ways
    }
    finals = {way: statistics.median(curve[-1][1] for curve in curves[way]) for way in ways}
    packed = [way for way in ways if way.sampler in BASELINES]
    best = max(packed, key=lambda way: finals[way])
    about = recorded.about
    lines = [
        f"## {about['task']} on {about['model']}",
        "",
        f"{len(recorded.points):,} recorded configurations, {options.trials} trials a search, "
        f"{options.seeds} seeds, rungs {', '.join(map(str, recorded.rungs))}, reference score "
        f"{recorded.reference:.4f}; measured on {about['device']}. Best baseline: {best.name}, "
        f"{finals[best]:.4f}. Seconds are the median over seeds; a dash: the median search never "
        "gets there.",
        "",
        "| searcher | area at the end | seconds to 90 % | 95 % | 99 % | seconds in all |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for way in ways:
        times = [
            statistics.median_high([time_to(one, share * finals[best]) for one in curves[way]])
            for share in TARGETS
        ]
        told = " | ".join("-" if math.isinf(one) else f"{one:.1f}" for one in times)
        whole = statistics.median(one[-1][0] for one in curves[way])
        spread = np.std([one[-1][1] for one in curves[way]])
        lines.append(f"| {way.name} | {finals[way]:.4f} ± {spread:.4f} | {told} | {whole:.1f} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    options = arguments()
    random.seed(0)
    ways = [
        *(Way(one, "front", options.pack) for one in (*BASELINES, "lattice")),
        *(Way(one, "none", options.pack) for one in ("random", "tpe", "lattice")),
        *(Way(one, "successive_halving", 1) for one in ("random", "tpe")),
        Way("random", "none", 1),
    ]
    ways = [way for way in ways if way.sampler not in options.without]
    lines = ["# Searchers on recorded curves", "", "Made by `scripts/compare_searchers.py`.", ""]
    for folder in options.folders:
        lines += table_of(Recorded(folder), ways, options)
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
    parser.add_argument("--pack", type=int, default=16)
    parser.add_argument("--without", nargs="*", default=[], help="samplers to leave out")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
