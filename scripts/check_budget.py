"""The promise of a hard budget, checked: 10,000 proposals of every sampler, each counted anew, none
over its budget.

A study is what a search opens: a space, a sampler, and proposals in segments of 8, told random
scores; nothing is trained. The studies of a sampler differ in model, budget, objective and seed.
Every proposal is counted again from its line in trials.jsonl, as for the line `proof` of a search;
from each study one is also built as a torch module on a model of that shape, whose trainable
numbers are counted. Eleven minutes of one core.

    python scripts/check_budget.py --out reports/check_budget.md
"""

import argparse
import contextlib
import math
import random
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from optuna.exceptions import ExperimentalWarning

from tenslora_search.nn.attach import attach
from tenslora_search.runs.events import read_events
from tenslora_search.runs.question import OBJECTIVES
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import BACKBONES, geometry_of_model
from tenslora_search.spec.table import NothingFitsError
from tenslora_search.spec.trial import TrialResult
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

MODELS = ("digits-vit", "minilm", "roberta-base", "Llama-3.2-1B")  # the last one has grouped heads
BUDGETS = (1_000, 2_000_000)  # log-uniform between them; a budget that nothing fits is drawn again
RUNGS = (10,)
"""One alone, so that every trial is complete and told: gp and nsga2 learn from complete trials
only.
"""
FEW = 18
"""Proposals of a study with gp, whose model takes half a second for one: the last 2 are its own."""


class Tally(NamedTuple):
    """What came of a sampler's studies."""

    sampler: str
    studies: int
    checked: int
    over: int
    built: int
    miscounted: int
    fullest: float
    seconds: float


def main() -> None:
    options = arguments()
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    tallies = [
        check(name, options.proposals, FEW if name == "gp" else options.trials)
        for name in options.samplers
    ]
    lines = [
        f"# {options.proposals:,} proposals of every sampler against the budget",
        "",
        f"Models {', '.join(MODELS)}; budgets log-uniform from {BUDGETS[0]:,} to {BUDGETS[1]:,}; "
        "space `default`;",
        "both objectives; random scores, told to the sampler. Of the "
        f"{options.trials} proposals of a study at most half are the space's",
        "seed points, the others the sampler's (tpe and gp draw at random until they know 16 "
        "scores, nsga2 24).",
        f"A study of gp has {FEW}, because its model takes half a second for a proposal: the last "
        "2 are the model's.",
        "Every proposal is counted anew from its line in `trials.jsonl`; *built*: those whose "
        "torch module was made and whose",
        "numbers were counted, one a study; *fullest*: the largest share of its budget that a "
        "proposal used.",
        "Made by `python scripts/check_budget.py --out reports/check_budget.md`, on one core.",
        "",
        "| sampler | studies | proposals | over budget | built | miscounted | fullest | seconds |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for one in tallies:
        counts = (
            f"{one.studies:,} | {one.checked:,} | {one.over} | {one.built:,} | {one.miscounted}"
        )
        lines.append(f"| {one.sampler} | {counts} | {one.fullest:.4f} | {one.seconds:.0f} |")
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    if any(one.over or one.miscounted for one in tallies):
        raise SystemExit("the promise is broken")


def check(sampler: str, proposals: int, trials: int) -> Tally:
    """Studies of one sampler until it has made so many proposals."""
    generator = random.Random(sampler)
    began, studies, checked, over, built, miscounted, fullest = time.monotonic(), 0, 0, 0, 0, 0, 0.0
    models = {name: skeleton(name) for name in MODELS}
    while checked < proposals:
        name = MODELS[studies % len(MODELS)]
        objective = OBJECTIVES[studies // len(MODELS) % len(OBJECTIVES)]
        space = a_space(name, generator)
        with tempfile.TemporaryDirectory() as scratch:
            run_study(
                space,
                Path(scratch),
                sampler,
                objective,
                min(trials, proposals - checked),
                generator,
            )
            events = read_events(Path(scratch, "trials.jsonl"))
        specs = [
            AdapterSpec.from_json(event["spec"]["adapter"])
            for event in events
            if event["event"] == "proposed"
        ]
        over += sum(spec.n_params > space.budget for spec in specs)
        fullest = max(fullest, *(spec.n_params / space.budget for spec in specs))
        chosen = generator.choice(specs)
        found = counted_by_torch(chosen, models[name])
        over += found > space.budget
        miscounted += found != chosen.n_params
        studies, checked, built = studies + 1, checked + len(specs), built + 1
    seconds = time.monotonic() - began
    print(f"{sampler}: proof: {over} of {checked} configurations over budget; {built} built in "
          f"torch, {miscounted} miscounted; "
          f"{studies} studies, {seconds:.0f} s", flush=True)  # fmt: skip
    return Tally(sampler, studies, checked, over, built, miscounted, fullest, seconds)


def a_space(model: str, generator: random.Random) -> SearchSpace:
    """The default space of the model within a drawn budget; one that nothing fits is drawn
    again."""
    low, high = map(math.log, BUDGETS)
    while True:
        with contextlib.suppress(NothingFitsError):
            return SearchSpace.load(
                "default", geometry_of_model(model), round(math.exp(generator.uniform(low, high)))
            )


def run_study(
    space: SearchSpace,
    folder: Path,
    sampler: str,
    objective: str,
    trials: int,
    generator: random.Random,
) -> None:
    """Proposes them all in segments of 8, and answers each segment with random scores."""
    seed = generator.randrange(2**31)
    study = Study(
        space, folder, n_trials=trials, rungs=RUNGS, sampler=sampler, objective=objective, seed=seed
    )
    while not study.done:
        work = study.next_segment(8)
        assert work is not None
        results = [
            TrialResult(number, work.to_step, generator.random(), 0.5, None, 0.0)
            for number in work.numbers
        ]
        study.record(work, results, dict.fromkeys(work.numbers, ""), 0.0)
    study.close()


def skeleton(name: str) -> Any:
    """A model of that shape without weights and with a vocabulary of 8, on torch's meta device."""
    from transformers import AutoConfig, AutoModel

    numbers = dict(BACKBONES[name].config)
    model_type = numbers.pop("model_type")
    small = {} if model_type == "vit" else {"vocab_size": 8}
    with torch.device("meta"):
        return AutoModel.from_config(AutoConfig.for_model(model_type, **numbers, **small))


def counted_by_torch(spec: AdapterSpec, model: Any) -> int:
    """The trainable numbers of the model with the adapter on it."""
    adapter = attach(model, spec)
    found = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    adapter.detach()
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proposals", type=int, default=10_000, help="of each sampler")
    parser.add_argument("--trials", type=int, default=100, help="of a study, but of gp")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
