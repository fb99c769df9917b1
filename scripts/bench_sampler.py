"""Milliseconds a proposal, asked for in packs, by sampler and number of trials so far; and what the
study adds to it.

    python scripts/bench_sampler.py --out reports/bench_sampler.md
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tenslora_search.runs.events import Paused, Proposed, Rung
from tenslora_search.runs.segment import Segment, TrialResult
from tenslora_search.spec.geometry import Geometry
from tenslora_search.study.samplers import SAMPLERS, Point, Seen
from tenslora_search.study.sizes import settled
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

RUNGS = (67, 200, 600)


def main() -> None:
    options = arguments()
    space = SearchSpace.load("default", Geometry.attention(384, 12, 6), 300_000)
    lines = [
        "# Milliseconds a proposal",
        "",
        f"CPU time, {options.pack} proposals at a time, the default space on MiniLM's geometry, "
        "budget 300k. Made by `scripts/bench_sampler.py`.",
        "",
        "| sampler | " + " | ".join(f"{n:,} trials" for n in options.trials) + " |",
        "| --- |" + " --: |" * len(options.trials),
    ]
    known = {n: trials(space, n) for n in options.trials}
    for name in options.samplers:
        took = []
        for n in options.trials:
            propose = SAMPLERS[name](space, 0, "front")
            seconds = timed(lambda p=propose, n=n: p(known[n], options.pack))
            took.append(f"{1000 * seconds / options.pack:.1f}")
        lines.append(f"| {name} | " + " | ".join(took) + " |")
        print(lines[-1], flush=True)
    lines += ["", *study_lines(space, options.study, options.pack)]
    print(*lines, sep="\n")
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def trials(space: SearchSpace, count: int) -> list[Seen]:
    """Made up: a third of them went on at each rung."""
    generator = random.Random(0)
    found = []
    for number in range(count):
        point = settled(space, space.nudged({"structure": "none x cp"}, generator, 2.0), generator)
        spec = space.trial(point, number)
        level = 0.9 - (spec.adapter.n_params / 1000) ** -0.3 / 4
        n_rungs = generator.choice((1, 1, 1, 1, 2, 2, 3))
        scores = {step: level - step**-0.5 + generator.gauss(0, 0.01) for step in RUNGS[:n_rungs]}
        found.append(Seen(number, point, spec.adapter.n_params, scores, "paused"))
    return found


def study_lines(space: SearchSpace, counts: list[int], pack: int) -> list[str]:
    """What the study itself takes a trial, the sampler left out, at so many trials."""
    lines = ["Proposing and recording a trial, beside the sampler, by the trials so far:", ""]
    lines += ["| trials | propose, ms | record, ms |", "| --: | --: | --: |"]
    points = [one.point for one in trials(space, 200)]
    for count in counts:
        propose, record = of_study(space, points, count, pack)
        lines.append(f"| {count:,} | {1000 * propose / pack:.1f} | {1000 * record / pack:.1f} |")
    return lines


def of_study(space: SearchSpace, points: list[Point], count: int, pack: int) -> tuple[float, float]:
    """Seconds to propose a pack and to record it, after so many trials."""
    with tempfile.TemporaryDirectory() as folder:
        n_trials = count + 2 * pack
        study = Study(space, Path(folder), n_trials=n_trials, rungs=RUNGS, sampler="random")
        fill(study, points, count, pack)
        study.next_segment(pack)  # a study that goes on has read its trials once
        found: list[Segment | None] = []
        proposing = timed(lambda: found.append(study.next_segment(pack)))
        segment = found[0]
        assert segment is not None
        rows = [TrialResult(n, segment.to_step, 0.5, 0.1, None, 1.0) for n in segment.numbers]
        return proposing, timed(lambda: study.record(segment, rows, {}, 1.0))


def fill(study: Study, points: list[Point], count: int, pack: int) -> None:
    """So many trials that have reached the first rung, few of which may climb."""
    generator = random.Random(1)
    for first in range(0, count, pack):
        events = []
        for number in range(first, min(count, first + pack)):
            point = {**points[number % len(points)], "learning_rate": 2e-4 * (1 + number / 300)}
            point["learning_rate"] = min(1e-2, point["learning_rate"])
            events.append(Proposed.of(number, point, study.space.trial(point, number)))
            events.append(Rung(number, RUNGS[0], generator.random(), 0.1, 1.0))
            events.append(Paused(number, RUNGS[0]))
        study.write(events)


def timed(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS))
    parser.add_argument("--trials", nargs="*", type=int, default=[100, 500, 2_000])
    parser.add_argument("--study", nargs="*", type=int, default=[100, 1_000, 10_000])
    parser.add_argument("--pack", type=int, default=16)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
