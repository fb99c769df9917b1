"""Trial-steps a second of packs of the whole family, beside packs of LoRA; each method's own cost.

A mixed pack holds every method of `list methods` that fits (space `family`, each at the largest
size within the budget), again and again up to so many trials; once without the dense ones and once
with them. Alone is a pack of one method. A trial-step is forward, backward and the optimizer's step
of one trial on one batch. The backbone has random weights, unless a model folder is named; the data
are random tokens. LoRA is measured before and after the others, in the same process.

    python scripts/bench_methods.py --out reports/bench_methods.md    # on a GPU: some 3 minutes
    python scripts/bench_methods.py --shape digits-vit --trials 8 --each 2 --steps 2  # on a CPU
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from bench_packs import SHAPES, Shape, encoder, task
from torch import nn

from tenslora_search.backbone.load import load_backbone
from tenslora_search.backbone.ready import made_ready
from tenslora_search.data.goals import Classes
from tenslora_search.data.task import TaskData
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.allocators import Measured
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.roles import ROLES
from tenslora_search.study.space import SearchSpace
from tenslora_search.training.pack import Pack

GOAL_SHARE = 0.6
"""Of LoRA's trial-steps a second, that a mixed pack without dense members is to reach."""


class Bench(NamedTuple):
    """What is measured on."""

    model: nn.Module
    anew: Sequence[str] | None
    data: TaskData
    shape: Shape
    space: SearchSpace
    steps: int


def main() -> None:
    options = arguments()
    began = time.perf_counter()
    bench = bench_of(options)
    names = [name for name in METHODS if name in bench.space.structures]
    specs = {name: trial(bench.space, name) for name in names}
    pairs = [name for name in names if specs[name].adapter.is_low_rank]
    lines = [*head(options, bench), *mixed(bench, options.trials, specs, pairs)]
    lines += alone(bench, options.each, specs)
    lines += ["", f"All of it took {time.perf_counter() - began:,.0f} seconds."]
    print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def mixed(bench: Bench, n: int, specs: dict[str, TrialSpec], pairs: Sequence[str]) -> list[str]:
    """Packs of n: LoRA, the family without and with its dense members, LoRA again."""
    rows = {
        "LoRA": ["LoRA"],
        "the family, pairs alone": pairs,
        "the family, dense ones too": list(specs),
        "LoRA, again": ["LoRA"],
    }
    rates = {
        label: rate_of(bench, [specs[names[k % len(names)]] for k in range(n)])
        for label, names in rows.items()
    }
    lora = statistics.fmean((rates["LoRA"], rates["LoRA, again"]))
    share = rates["the family, pairs alone"] / lora
    verdict = "reached" if share >= GOAL_SHARE else "not reached"
    lines = [f"| pack of {n} | methods | trial-steps/s | of LoRA's |", "| --- | --: | --: | --: |"]
    lines += [
        f"| {label} | {len(set(names[:n]))} | {rates[label]:,.0f} | {rates[label] / lora:.0%} |"
        for label, names in rows.items()
    ]
    goal = f"The goal of {GOAL_SHARE:.0%} without dense members is {verdict}: {share:.0%}."
    print(*lines, "", goal, "", sep="\n", flush=True)
    return [*lines, "", goal, ""]


def alone(bench: Bench, n: int, specs: dict[str, TrialSpec]) -> list[str]:
    """A pack of n of each method; LoRA is measured anew at the end."""
    lines = [
        f"| pack of {n} | parameters | update | trial-steps/s | of LoRA's |",
        "| --- | --: | --- | --: | --: |",
    ]
    print(*lines, sep="\n", flush=True)
    first = 0.0
    for name in [*specs, "LoRA"]:
        rate = rate_of(bench, [specs[name]] * n)
        first = first or rate
        adapter = specs[name].adapter
        kind = f"rank {adapter.slice_rank}" if adapter.is_low_rank else "dense"
        again = ", again" if len(lines) > len(specs) + 1 else ""
        lines.append(
            f"| {name}{again} | {adapter.n_params:,} | {kind} | {rate:,.0f} | {rate / first:.0%} |"
        )
        print(lines[-1], flush=True)
    return lines


def rate_of(bench: Bench, specs: Sequence[TrialSpec]) -> float:
    """Trial-steps a second, warm: nothing of the recording is in it."""
    own = [TrialSpec.from_json({**spec.to_json(), "seed": k}) for k, spec in enumerate(specs)]
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with Pack(
        bench.model,
        bench.data,
        own,
        max_steps=100_000,
        batch_size=bench.shape.batch,
        anew=bench.anew,
    ) as pack:
        return len(own) / pack.seconds_a_step(bench.steps)


def trial(space: SearchSpace, name: str) -> TrialSpec:
    """A method at the largest size, its other parameters as usual."""
    point: dict[str, Any] = {**dict.fromkeys(ROLES, 0.5), "method": name, "size": 1.0}
    return space.trial(point, 0)


def bench_of(options: argparse.Namespace) -> Bench:
    device, shape = torch.device(options.device), SHAPES[options.shape]
    anew: Sequence[str] | None = None
    if options.model:
        model, anew = load_backbone(options.model, Classes(("0", "1"), "accuracy"))
    else:
        model = encoder(shape)
    ready = made_ready(model)
    geometry = geometry_of(ready)
    space = SearchSpace.load(
        "family", geometry, options.budget or shape.budget, made_up(geometry), options.methods
    )
    return Bench(ready, anew, task(shape, device), shape, space, options.steps)


def made_up(geometry: Geometry) -> dict[str, Measured]:
    """Answers of the probes that allocators ask, of the right length: ranks that differ."""
    layers = geometry.groups[0].layers
    names = geometry.projections
    return {
        "intrinsic_dimension": Measured(tuple(float(k + k % 2) for k in range(layers + 1)), names),
        "gradient_energy": Measured(tuple(1.0 + k % 3 for k in range(layers * len(names))), names),
    }


def head(options: argparse.Namespace, bench: Bench) -> list[str]:
    on_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} thread(s)"
    shape = bench.shape
    lines = [
        "# Trial-steps a second of the whole family",
        "",
        f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, commit "
        f"{options.commit}. Made by `scripts/bench_methods.py`.",
        "",
        f"{options.model or options.shape}: {shape.layers} layers, {shape.hidden} wide, "
        f"{shape.batch} x {shape.tokens} tokens; at most {bench.space.budget:,} parameters a "
        "trial; each method at the largest size that fits, with its usual knobs.",
        "",
    ]
    print(*lines, sep="\n", flush=True)
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device)
    parser.add_argument("--shape", default="minilm", choices=list(SHAPES))
    parser.add_argument("--model", help="a model folder of that shape, in place of random weights")
    parser.add_argument("--methods", type=lambda text: text.split(","), help="these alone")
    parser.add_argument("--budget", type=int, help="parameters a trial [by shape]")
    parser.add_argument("--trials", type=int, default=32, help="of a mixed pack")
    parser.add_argument("--each", type=int, default=8, help="of a pack of one method")
    parser.add_argument("--steps", type=int, default=30, help="that are timed")
    parser.add_argument("--commit", default="(not given)")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
