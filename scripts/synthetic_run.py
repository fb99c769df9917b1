"""write_run(): a run folder of any size as a search leaves it, nothing trained; to test and measure
the report.

python scripts/synthetic_run.py FOLDER [TRIALS]
"""

import json
import math
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenslora_search.runs.events import (
    Complete,
    Event,
    Failed,
    Opened,
    Paused,
    Promoted,
    Proposed,
    Retest,
    Rung,
    SegmentDone,
)
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.trial import TrialSpec

BUDGET = 300_000
RUNGS = (222, 667, 2000)
PACK = 32


def write_run(
    folder: Path,
    n_trials: int,
    *,
    seed: int = 0,
    complete: bool = True,
    retests: int = 3,
    peak_memory: bool = False,
    change: Callable[[dict[str, Any]], Mapping[str, Any]] = lambda event: event,
    **file: Any,
) -> Path:
    """Writes run.json and trials.jsonl: a third of the trials climbs each rung, one in fifty fails.

    `complete=False` pauses all after their first rung; `change` may rewrite any event; `file`
    overrides entries of run.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    geometry = Geometry.attention(768, 12, 12)
    made = _Run(n_trials, geometry, random.Random(seed), peak_memory)
    made.search(complete)
    made.retest(retests)
    run = {**_file(geometry, n_trials, retests, seed), **file}
    (folder / "run.json").write_text(json.dumps(run, indent=2), encoding="utf-8")
    lines = "".join(json.dumps(change(event.to_json())) + "\n" for event in made.events)
    (folder / "trials.jsonl").write_text(lines, encoding="utf-8")
    return folder


class _Run:
    """The events of a run, as a search would have written them."""

    def __init__(
        self, n_trials: int, geometry: Geometry, generator: random.Random, peak_memory: bool
    ) -> None:
        self.generator, self.peak_memory = generator, peak_memory
        self.specs = [_spec(number, geometry, generator) for number in range(n_trials)]
        self.skill = [_skill(spec, generator) for spec in self.specs]
        self.events: list[Event] = [Opened(1)]
        self.finished: list[int] = []
        self.n_segments = 0
        for number, spec in enumerate(self.specs):
            point = {"structure": str(spec.adapter.structure), "learning_rate": spec.learning_rate}
            self.events.append(Proposed.of(number, point, spec))

    def search(self, complete: bool) -> None:
        """All trials to the first rung, the best third of a rung to the next."""
        standing = list(range(len(self.specs)))
        for place, step in enumerate(RUNGS):
            for start in range(0, len(standing), PACK):
                self.segment(standing[start : start + PACK], place)
            alive = [number for number in standing if place or not self.fails(number)]
            if step == RUNGS[-1]:
                self.finished = alive
                return
            ranked = sorted(alive, key=lambda number: -self.skill[number])
            kept = {0, *ranked[: max(1, len(ranked) // 3)]} if complete else set[int]()
            for number in alive:
                judged = Promoted if number in kept else Paused
                self.events.append(judged(number, step))
            standing = [number for number in alive if number in kept]

    def segment(self, members: list[int], place: int) -> None:
        """Some trials, trained from one rung to the next."""
        step = RUNGS[place]
        for number in members:
            if place == 0 and self.fails(number):
                odd = number % 100 == 49
                reason = "its loss is not finite" if odd else "out of memory on the GPU"
                self.events.append(Failed(number, step, reason))
                continue
            climb = 0.3 * math.exp(-3 * step / RUNGS[-1])
            score = self.skill[number] - climb + self.generator.gauss(0, 0.004)
            memory = 40 + self.specs[number].adapter.n_params / 5000 if self.peak_memory else None
            state = f"states/{number}-{step}.safetensors"
            self.events.append(Rung(number, step, score, 1 - score, 0.01 * step, memory, state))
            if step == RUNGS[-1]:
                self.events.append(Complete(number, step, score))
        self.n_segments += 1
        name, begun = f"segment-{self.n_segments:05d}", RUNGS[place - 1] if place else 0
        seconds = 0.01 * step * len(members)
        self.events.append(SegmentDone(name, tuple(members), begun, step, seconds))

    def fails(self, number: int) -> bool:
        return len(self.specs) > 2 and number % 50 == 49

    def retest(self, n_seeds: int) -> None:
        """The six best and one LoRA, on fresh seeds."""
        best = sorted(self.finished, key=lambda number: -self.skill[number])[:6]
        lora = [number for number in self.finished if number % 12 == 0 and number not in best]
        for seed in range(1, n_seeds + 1):
            for number in best + lora[:1]:
                score = self.skill[number] - 0.01 + self.generator.gauss(0, 0.004)
                self.events.append(Retest(number, seed, score, 20.0, ""))


def _spec(number: int, geometry: Geometry, generator: random.Random) -> TrialSpec:
    """LoRA first, then anything that fits."""
    while True:
        construction = "none" if number % 12 == 0 else generator.choice(list(CONSTRUCTIONS))
        decomposition = "cp" if number % 12 == 0 else generator.choice(list(DECOMPOSITIONS))
        structure = Structure.of(construction, decomposition, geometry)
        reach = 1 + 60 * generator.random() ** 2
        wanted = [max(1, round(reach ** generator.random())) for _ in structure.bonds]
        adapter = AdapterSpec.over(structure, structure.clip(wanted))
        if adapter.n_params <= BUDGET:
            rate = float(f"{10 ** generator.uniform(-3, -1.5):.2g}")
            return TrialSpec(
                adapter.canonical(), learning_rate=rate, head_learning_rate=5e-3, seed=number
            )


def _skill(spec: TrialSpec, generator: random.Random) -> float:
    """More parameters help, less and less; a learning rate far from 0.008 hurts."""
    size = math.log10(spec.adapter.n_params) / math.log10(BUDGET)
    return (
        0.5
        + 0.42 * size**0.5
        - 0.03 * abs(math.log10(spec.learning_rate / 0.008))
        + generator.gauss(0, 0.012)
    )


def _file(geometry: Geometry, n_trials: int, retests: int, seed: int) -> dict[str, Any]:
    question = {
        "budget": BUDGET,
        "model": "roberta-base",
        "task": "sst2",
        "trials": max(1, n_trials),
        "pruner": "front",
    }
    return {
        "version": 1,
        "question": {**question, "retest": retests, "seed": seed},
        "command": f"tenslora-search --budget 300k --task sst2 --trials {n_trials} --retest "
        f"{retests}",
        "versions": {"tenslora-search": "0.1.0", "torch": "2.13.0"},
        "data_digest": "0" * 64,
        "head_params": 592_130,
        "budget": BUDGET,
        "task": "sst2",
        "model": "roberta-base",
        "metric": "accuracy",
        "labels": ["negative", "positive"],
        "goal": "classes",
        "rows": {"fit": 60_000, "select": 6_000, "report": 872},
        "geometry": geometry.to_json(),
        "rungs": list(RUNGS),
        "hardware": {"cpu": "a processor", "cores": 16, "gpus": ["a GPU"]},
        "importances": {
            "learning_rate": 0.5,
            "construction": 0.3,
            "size": 0.15,
            "decomposition": 0.05,
        },
        "importances_step": RUNGS[0],
    }


if __name__ == "__main__":
    write_run(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500)
