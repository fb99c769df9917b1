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
    generator = random.Random(seed)
    geometry = Geometry.attention(768, 12, 12)
    events: list[dict[str, Any]] = [{"event": "journal", "version": 1}]
    specs = [_spec(number, geometry, generator) for number in range(n_trials)]
    skill = [_skill(spec, generator) for spec in specs]
    for number, spec in enumerate(specs):
        adapter = spec.adapter
        about = {
            name: getattr(adapter, name)
            for name in ("n_params", "method", "construction", "decomposition")
        }
        point = {
            "structure": f"{adapter.construction} x {adapter.decomposition}",
            "learning_rate": spec.learning_rate,
        }
        proposed = {"event": "proposed", "number": number, "point": point, "spec": spec.to_json()}
        events.append({**proposed, **about, "ranks": list(adapter.ranks)})
    standing, n_segments = list(range(n_trials)), 0
    for place, step in enumerate(RUNGS):
        for start in range(0, len(standing), PACK):
            members = standing[start : start + PACK]
            n_segments += 1
            for number in members:
                if n_trials > 2 and place == 0 and number % 50 == 49:
                    reason = (
                        "its loss is not finite"
                        if number % 100 == 49
                        else "out of memory on the GPU"
                    )
                    events.append(
                        {"event": "failed", "number": number, "step": step, "reason": reason}
                    )
                    continue
                score = (
                    skill[number]
                    - 0.3 * math.exp(-3 * step / RUNGS[-1])
                    + generator.gauss(0, 0.004)
                )
                row = {
                    "number": number,
                    "step": step,
                    "score": score,
                    "loss": 1 - score,
                    "seconds": 0.01 * step,
                }
                memory = (
                    {"peak_memory_mb": 40 + specs[number].adapter.n_params / 5000}
                    if peak_memory
                    else {}
                )
                events.append(
                    {
                        "event": "rung",
                        **row,
                        **memory,
                        "state": f"states/{number}-{step}.safetensors",
                    }
                )
                if step == RUNGS[-1]:
                    events.append(
                        {"event": "complete", "number": number, "step": step, "score": score}
                    )
            span = {
                "from_step": RUNGS[place - 1] if place else 0,
                "to_step": step,
                "seconds": 0.01 * step * len(members),
            }
            events.append(
                {"event": "segment", "id": f"segment-{n_segments:05d}", "numbers": members, **span}
            )
        alive = [
            number for number in standing if not (n_trials > 2 and place == 0 and number % 50 == 49)
        ]
        if step == RUNGS[-1]:
            _retest(alive, skill, retests, generator, events)
            break
        ranked = sorted(alive, key=lambda number: -skill[number])
        kept = {0, *ranked[: max(1, len(ranked) // 3)]} if complete else set()
        for number in alive:
            events.append(
                {
                    "event": "promoted" if number in kept else "paused",
                    "number": number,
                    "step": step,
                }
            )
        standing = [number for number in alive if number in kept]
    run = {**_file(geometry, n_trials, retests, seed), **file}
    (folder / "run.json").write_text(json.dumps(run, indent=2), encoding="utf-8")
    lines = "".join(json.dumps(change(event)) + "\n" for event in events)
    (folder / "trials.jsonl").write_text(lines, encoding="utf-8")
    return folder


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


def _retest(
    alive: list[int],
    skill: list[float],
    retests: int,
    generator: random.Random,
    events: list[dict[str, Any]],
) -> None:
    best = sorted(alive, key=lambda number: -skill[number])[:6]
    members = best + [number for number in alive if number % 12 == 0 and number not in best][:1]
    for seed in range(1, retests + 1):
        for number in members:
            row = {
                "report_score": skill[number] - 0.01 + generator.gauss(0, 0.004),
                "seconds": 20.0,
            }
            events.append({"event": "retest", "number": number, "seed": seed, **row, "state": ""})


def _file(geometry: Geometry, n_trials: int, retests: int, seed: int) -> dict[str, Any]:
    question = {
        "budget": BUDGET,
        "model": "roberta-base",
        "task": "sst2",
        "trials": n_trials,
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
