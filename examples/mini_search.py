"""The whole tool in one file, to be read: a space, a hard budget, rungs, a front. No Ray, no packs,
no Optuna.

    python examples/mini_search.py --budget 4000 --trials 12

It adapts a small vision transformer that knows the digits 0 to 4 to the digits 5 to 9. Each
function stands for a room of the package; its docstring names it.
"""

import argparse
import math
import random
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageClassification

from tenslora_search import AdapterSpec, Geometry, attach, geometry_of
from tenslora_search.hub.digits_vit import digits, digits_backbone
from tenslora_search.spec.structure import Structure

STRUCTURES = [
    (construction, decomposition)
    for construction in ("none", "qkv", "depth", "qkv_depth", "att_qkv_depth")
    for decomposition in ("cp", "tucker", "tensor_train")
]
RUNGS = (20, 60, 180)
"""Steps at which trials are scored; a third of those on a rung climb on."""


@dataclass
class Trial:
    """A configuration and what became of it (`runs/replay.py` keeps the same of a journal)."""

    number: int
    spec: AdapterSpec
    learning_rate: float
    scores: list[float] = field(default_factory=list)
    """on select, one a rung"""
    model: nn.Module | None = None
    optimizer: torch.optim.Optimizer | None = None


def proposed(number: int, geometry: Geometry, budget: int, generator: random.Random) -> Trial:
    """Returns a trial within the budget, by arithmetic, before anything is trained
    (`study/points.py`).
    """
    if number == 0:
        structure, size = Structure("none", "cp", geometry), budget  # LoRA is always in the race
    else:
        structure = Structure(*generator.choice(STRUCTURES), geometry)
        size = round(math.exp(generator.uniform(math.log(budget / 10), math.log(budget))))
    ranks = filled(structure, size)
    spec = AdapterSpec.of(structure.construction, structure.decomposition, ranks, geometry)
    assert spec.n_params <= budget, "the budget is a promise"
    return Trial(number, spec, learning_rate=10 ** generator.uniform(-3.3, -2.0))


def filled(structure: Structure, size: int) -> tuple[int, ...]:
    """Returns the largest equal ranks, lowered to their caps, that count at most `size`."""
    best = (1,) * len(structure.bonds)
    for rank in range(1, 65):
        ranks = structure.clip((rank,) * len(structure.bonds))
        if structure.count(ranks) <= size:
            best = ranks
    return best


def advance(trial: Trial, images: Tensor, labels: Tensor, steps: range) -> None:
    """Trains a trial from one rung to the next (`training/pack.py` does it for many at a time)."""
    if trial.model is None:
        trial.model = AutoModelForImageClassification.from_pretrained(
            digits_backbone(), num_labels=5
        )
        nn.init.normal_(trial.model.classifier.weight, std=0.02)
        attach(trial.model, trial.spec, seeds=trial.number)
        learnt = [one for one in trial.model.parameters() if one.requires_grad]
        trial.optimizer = torch.optim.AdamW(learnt, trial.learning_rate, weight_decay=0.0)
    assert trial.optimizer is not None
    for step in steps:
        rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(step))[:16]
        share = 0.5 * (1 + math.cos(math.pi * step / RUNGS[-1]))
        for group in trial.optimizer.param_groups:
            group["lr"] = trial.learning_rate * share
        trial.optimizer.zero_grad()
        cross_entropy(trial.model(images[rows]).logits, labels[rows]).backward()
        trial.optimizer.step()


@torch.no_grad()
def score(trial: Trial, images: Tensor, labels: Tensor) -> float:
    """Returns the accuracy of a trial (`data/metrics.py`)."""
    assert trial.model is not None
    return float((trial.model(images).logits.argmax(1) == labels).float().mean())


def climbing(trials: list[Trial], rung: int) -> list[Trial]:
    """Returns the best third of those that stand on a rung, and LoRA: successive halving (of
    `study/pruners.py`, where the default goes by the chance to end on the front)."""
    here = sorted(trials, key=lambda one: -one.scores[rung])
    kept = here[: max(1, round(len(here) / 3))]
    return kept + [one for one in here if one.number == 0 and one not in kept]


def front(trials: list[Trial]) -> list[Trial]:
    """Returns the trials that no other beats in both score and parameters (`report/pareto.py`)."""
    best: list[Trial] = []
    for one in sorted(trials, key=lambda one: (-one.scores[-1], one.spec.n_params)):
        if not best or one.spec.n_params < best[-1].spec.n_params:
            best.append(one)
    return best


def search(budget: int, n_trials: int, seed: int = 0) -> list[Trial]:
    """Returns the front of a search (`study/study.py` decides, `engine/` runs)."""
    images, labels = digits(5, 9)
    pixels = torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1).float() / 127.5 - 1
    truth = torch.from_numpy(labels)
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(seed))
    fit, select = order[:600], order[600:]
    geometry = geometry_of(AutoModelForImageClassification.from_pretrained(digits_backbone()))
    generator = random.Random(seed)
    standing = [proposed(number, geometry, budget, generator) for number in range(n_trials)]
    for rung, (begin, end) in enumerate(zip((0, *RUNGS[:-1]), RUNGS, strict=True)):
        for trial in standing:
            advance(trial, pixels[fit], truth[fit], range(begin, end))
            trial.scores.append(score(trial, pixels[select], truth[select]))
        if end != RUNGS[-1]:
            standing = climbing(standing, rung)
    return front(standing)


def main() -> None:
    parser = argparse.ArgumentParser(description="A search in one file.")
    parser.add_argument("--budget", type=int, default=4000)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    for trial in search(options.budget, options.trials):
        ranks = ",".join(map(str, trial.spec.ranks))
        print(
            f"{trial.spec.method:<28}{ranks:<14}{trial.spec.n_params:>6,}  {trial.scores[-1]:.4f}"
        )


if __name__ == "__main__":
    main()
