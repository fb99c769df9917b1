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

from tenslora_search.runs.segment import Segment, TrialResult
from tenslora_search.spec.geometry import Geometry
from tenslora_search.study.order import MOST_BATCH
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.seen import Seen
from tenslora_search.study.sizes import settled
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

RUNGS = (67, 200, 600)
WAVES = 3
"""Over which a study's time is averaged."""


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
    """What the study itself takes a trial, a random sampler included, at so many trials."""
    lines = [
        f"A whole search in waves of {MOST_BATCH} by random draws, journal and dashboard included: "
        "what a new trial costs by the trials so far. Deciding is to judge all and to propose; "
        f"packs of {pack} are handed out, and recorded at every rung that is reached.",
        "",
        "| trials | decide, ms | hand out, ms | record, ms | in all, ms |",
        "| --: | --: | --: | --: | --: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        n_trials = max(counts, default=0) + (WAVES + 1) * MOST_BATCH
        study = Study(space, Path(folder), n_trials=n_trials, rungs=RUNGS, sampler="random")
        for count in sorted(counts):
            while len(study.records) < count:
                wave(study, pack)
            before = len(study.records)
            waves = [wave(study, pack) for _ in range(WAVES)]
            took = [sum(parts) for parts in zip(*waves, strict=True)]
            each = [1000 * one / (len(study.records) - before) for one in took]
            told = " | ".join(f"{one:.1f}" for one in (*each, sum(each)))
            lines.append(f"| {before:,} | {told} |")
    return lines


def wave(study: Study, pack: int) -> tuple[float, float, float]:
    """Seconds to decide on a wave, to hand it out, and to record all of it."""
    decide, hand_out, record = 0.0, 0.0, 0.0
    n_waves = study.told.n_waves
    while study.told.n_waves == n_waves or study.waiting:
        is_first = study.told.n_waves == n_waves
        found: list[Segment | None] = []
        seconds = timed(lambda into=found: into.append(study.next_segment(pack)))
        decide, hand_out = decide + is_first * seconds, hand_out + (not is_first) * seconds
        segment = found[0]
        assert segment is not None
        rows = [
            TrialResult(number, segment.to_step, score, 0.1, None, 1.0)
            for number in segment.numbers
            for score in [made_up(study.records[number].n_params, segment.to_step, number)]
        ]
        record += timed(lambda one=segment, scores=rows: study.record(one, scores, {}, 1.0))
    return decide, hand_out, record


def made_up(n_params: int, step: int, number: int) -> float:
    """A score that grows with size and steps; a third of what differs shows at once."""
    own, now = (
        random.Random(number).gauss(0, 0.03),
        random.Random(f"{number} {step}").gauss(0, 0.02),
    )
    return 0.9 - (n_params / 1000) ** -0.3 / 4 - step**-0.5 + own + now


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
