"""Records the curves of many configurations in packs, so that searchers can be compared in minutes.

    python scripts/record_curves.py --task trec --model minilm --data DATA/trec --budget 300k \
        --configurations 1500 --max-steps 600 --time-limit 240 --out curves/trec

The configurations are the known methods and points drawn at random from the default space; which
ones depends on the seed alone. Each pack writes a file of its own under OUT/parts, so the same
command goes on where another ended; at the end of each call OUT/curves.parquet holds all parts and
OUT/card.md says what they are. Scores on select at nine steps and on report at the end; no rows of
the task.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tenslora_search.nn.places import geometry_of
from tenslora_search.runs.provenance import versions
from tenslora_search.runs.segment import Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.budget import parse_count
from tenslora_search.spec.tasks import TASKS
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.sizes import settled
from tenslora_search.study.space import SearchSpace
from tenslora_search.training.pack import Pack
from tenslora_search.training.segment import worker_backbone

SHARES = (1 / 27, 2 / 27, 1 / 9, 2 / 9, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)
"""Of the last step, at which trials are scored; 1/9, 1/3 and 1 are the rungs of a search."""
PROBED, PROBE_STEPS = (1, 4, 8, 16, 32, 64), 20
"""Pack sizes whose steps are timed."""


def main() -> None:
    options = arguments()
    began = time.perf_counter()
    parts = options.out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    where = {"name": options.task, "data": options.data and str(options.data.resolve())}
    where |= {"fit_rows": options.fit_rows}
    max_steps = options.max_steps or TASKS[options.task].max_steps
    batch = TASKS[options.task].batch_size
    (model, anew), data = worker_backbone(Setting(options.model, where, batch, max_steps))
    space = SearchSpace.load("default", geometry_of(model), parse_count(options.budget))
    start_up = time.perf_counter() - began
    if options.lora_grid:
        specs = lora_grid(space, options.seed)
    else:
        specs = configurations(space, options.configurations, options.seed)
    about = {
        "task": options.task, "model": options.model, "budget": space.budget, "batch": batch,
        "max_steps": max_steps, "steps": steps_of(max_steps), "seed": options.seed,
        "geometry": space.geometry.to_json(), "device": device_name(), "versions": versions(),
        "rows": {name: len(getattr(data, name)) for name in ("fit", "select", "report")},
        "start_up_seconds": start_up, "metric": data.goal.metric, "grouped": dict(data.grouped),
    }  # fmt: skip
    recorder = Recorder(model, anew, data, about)
    timings = options.out / "timings.json"
    if not timings.exists():
        timings.write_text(json.dumps(recorder.timings([spec for _, spec in specs])))
    about["timings"] = json.loads(timings.read_text())
    for first in range(0, len(specs), options.pack):
        part = parts / f"{first:06d}-{options.pack}.parquet"
        if part.exists():
            continue
        if time.perf_counter() - began > options.time_limit:
            break
        found = recorder.rows(specs[first : first + options.pack])
        pd.DataFrame(found).to_parquet(part.with_suffix(".part"))
        part.with_suffix(".part").rename(part)
        print(f"{part.name}: best report {max(one['report'] for one in found):.4f}", flush=True)
    write_whole(options.out, about)


def configurations(
    space: SearchSpace, count: int, seed: int
) -> list[tuple[dict[str, Any], TrialSpec]]:
    """Points and their trials, no two alike: the known methods, then draws."""
    generator, keys = random.Random(f"curves {seed}"), set()
    found: list[tuple[dict[str, Any], TrialSpec]] = []
    seeds = space.seeds()
    while len(found) < count:
        number = len(found)
        drawn = space.nudged({}, generator, 2.0)
        point = seeds.pop(0) if seeds else settled(space, drawn, generator)
        spec = space.trial(point, seed * 1_000_003 + number)
        if space.key(spec) not in keys:
            keys.add(space.key(spec))
            found.append((point, spec))
    return found


GRID_RANKS, GRID_RATES, GRID_SEEDS = (1, 2, 4, 8, 16), 8, 2
"""What people sweep: ranks within the budget x learning rates from 1e-4 to 2e-2, each twice."""


def lora_grid(space: SearchSpace, seed: int) -> list[tuple[dict[str, Any], TrialSpec]]:
    """LoRA at every rank and learning rate, each with its own seeds."""
    lora = next(one for one in space.seeds() if space.trial(one, 0).method == "LoRA")
    one_rank = AdapterSpec.of("none", "cp", 1, space.geometry).n_params
    found: list[tuple[dict[str, Any], TrialSpec]] = []
    for rank in (one for one in GRID_RANKS if one * one_rank <= space.budget):
        for place in range(GRID_RATES):
            rate = 1e-4 * 200 ** (place / (GRID_RATES - 1))
            size = (rank + 0.01) * one_rank / space.budget
            point = {**lora, "size": min(1.0, size), "learning_rate": rate}
            for again in range(GRID_SEEDS):
                number = len(found) + again * 7919
                found.append((point, space.trial(point, seed * 1_000_003 + number)))
    return found


class Recorder:
    """Trains packs and notes what they score."""

    def __init__(self, model: Any, anew: Any, data: Any, about: dict[str, Any]) -> None:
        self.model, self.anew, self.data, self.about = model, anew, data, about

    def pack(self, specs: Sequence[TrialSpec]) -> Pack:
        steps, batch = self.about["max_steps"], self.about["batch"]
        return Pack(self.model, self.data, specs, max_steps=steps, batch_size=batch, anew=self.anew)

    def rows(self, entries: Sequence[tuple[dict[str, Any], TrialSpec]]) -> list[dict[str, Any]]:
        """One a configuration: what it is, its scores, its share of the time."""
        curves: dict[int, list[float]] = {}
        with self.pack([spec for _, spec in entries]) as pack:
            _ = synchronized()
            began = synchronized()
            training = 0.0
            for step in self.about["steps"]:
                start = synchronized()
                pack.advance(step)
                training += synchronized() - start
                curves[step] = pack.scores(self.data.select)
            report = pack.scores(self.data.report)
            seconds = synchronized() - began
        return [
            {
                "point": json.dumps(point), "n_params": spec.adapter.n_params,
                "method": spec.method, "spec": json.dumps(spec.to_json()),
                **{f"select_{step}": scores[place] for step, scores in curves.items()},
                "report": report[place], "training_seconds": training / len(entries),
                "seconds": seconds / len(entries), "pack": len(entries),
            }
            for place, (point, spec) in enumerate(entries)
        ]  # fmt: skip

    def timings(self, specs: Sequence[TrialSpec]) -> dict[str, dict[str, float]]:
        """By pack size: seconds a step, to score select, to make the pack."""
        found: dict[str, dict[str, float]] = {}
        for size in PROBED:
            if size > len(specs):
                break
            began = synchronized()
            with self.pack(specs[:size]) as pack:
                pack.advance(4)  # the step is recorded as a graph meanwhile
                ready = synchronized()
                pack.advance(4 + PROBE_STEPS)
                trained = synchronized()
                pack.scores(self.data.select)
                scored = synchronized()
            found[str(size)] = {
                "make": ready - began,
                "step": (trained - ready) / PROBE_STEPS,
                "score": scored - trained,
            }
        return found


def steps_of(max_steps: int) -> list[int]:
    return sorted({max(1, round(share * max_steps)) for share in SHARES})


def synchronized() -> float:
    """The time when all that was asked of the card is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"


def write_whole(folder: Path, about: dict[str, Any]) -> None:
    """All parts as one file with its card."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((folder / "parts").glob("*.parquet"))
    if not files:
        return
    whole = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    table = pa.Table.from_pandas(whole)
    table = table.replace_schema_metadata({**table.schema.metadata, b"about": json.dumps(about)})
    pq.write_table(table, folder / "curves.parquet", compression="zstd")
    steps = ", ".join(map(str, about["steps"]))
    lines = [
        f"# Curves of {about['task']} on {about['model']}",
        "",
        f"{len(whole):,} configurations of the default space within {about['budget']:,} adapter "
        f"parameters, one seed each, {about['max_steps']:,} steps of {about['batch']} rows; "
        f"{about['metric']} on select after {steps} steps and on report at the end. Measured by "
        f"`scripts/record_curves.py` on {about['device']}; no rows of the task are in it. A row "
        "holds the point of the space, the specification, its exact count of parameters, the "
        "scores, and its share of its pack's seconds; the file's metadata `about` has the rest.",
        "",
        f"Rows of the task: {about['rows']}; kept on one side of the cut: {about['grouped']}.",
        "",
        "| pack | seconds to make it | a step | to score select |",
        "| --: | --: | --: | --: |",
    ]
    for size, one in about["timings"].items():
        lines.append(f"| {size} | {one['make']:.3f} | {one['step']:.5f} | {one['score']:.3f} |")
    (folder / "card.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="digits")
    parser.add_argument("--model", default="digits-vit")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--budget", default="20k")
    parser.add_argument("--configurations", type=int, default=256)
    parser.add_argument("--lora-grid", action="store_true", help="LoRA's ranks x rates instead")
    parser.add_argument("--fit-rows", type=int)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--pack", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-limit", type=float, default=600.0, help="seconds; then it ends")
    parser.add_argument("--out", type=Path, default=Path("curves"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
