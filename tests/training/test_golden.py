"""Same seed, same curve: the losses of every construction x decomposition x rule, as
`tests/golden/losses.csv` has them.

A change that is meant to leave results alone leaves the rows of this file alone; one that is not
removes those it changes, and says so. `TENSLORA_WRITE_GOLDEN=1 pytest
tests/training/test_golden.py` appends the rows of new entries.
"""

import csv
import os
from itertools import product
from pathlib import Path

import pytest
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.goals import Classes
from tenslora_search.data.task import TaskData
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.csv"
N_STEPS, BUDGET, TOLERANCE = 20, 1500, 1e-6
FIRST_DECOMPOSITIONS = [
    "cp",
    "tucker",
    "tucker2",
    "tensor_train",
    "tensor_ring",
    "block_term",
    "tensorised_tt",
]
SECOND_DECOMPOSITIONS = ["sora", "nb_lora"]
FIRST_RULES = ["plain", "lora_plus"]
FEW = ["none", "qkv_depth"]
"""The constructions of the rules that came last, which know nothing of constructions."""


def rows(kind: str, seed: int, n_rows: int = 48) -> Split:
    """Texts of uneven length, or images, in two classes."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "image":
        pixels = torch.randint(0, 255, (n_rows, 3, 8, 8), dtype=torch.uint8, generator=generator)
        labels = (pixels[:, 0].float().mean((1, 2)) > 127).long()
        return Split(
            {"pixel_values": pixels},
            labels,
            torch.ones(n_rows, dtype=torch.int64),
            ImageProcessor(8, 8),
        )
    lengths = torch.randint(3, 14, (n_rows,), generator=generator)
    ids = torch.randint(4, 30, (n_rows, 14), generator=generator)
    mask = (torch.arange(14) < lengths[:, None]).long()
    return Split(
        {"input_ids": ids * mask, "attention_mask": mask}, (ids[:, 1] >= 17).long(), lengths
    )


def packs() -> list[list[tuple[str, str, str]]]:
    """The first decompositions with all constructions, each rule with some; members stay together.

    What came after the first is in packs of its own, so that its coming leaves theirs as they were.
    """
    rules = [name for name in RULES if name not in FIRST_RULES]
    return [
        *(
            list(product(CONSTRUCTIONS, some, FIRST_RULES))
            for some in (FIRST_DECOMPOSITIONS, *([name] for name in SECOND_DECOMPOSITIONS))
        ),
        *(list(product(FEW, ["cp"], [name])) for name in rules),
    ]


def named() -> list[list[tuple[str, str, str]]]:
    """Of the decompositions that came last, the points that people know by a name, each alone."""
    known = {*FIRST_DECOMPOSITIONS, *SECOND_DECOMPOSITIONS}
    points = [(*method[:2], method.rule) for method in METHODS.values() if method[1] not in known]
    return [[point] for point in points]


def curves(kind: str, tiny) -> dict[str, list[float]]:
    """The loss of each trial at each of 20 steps."""
    model, _ = tiny("vit" if kind == "image" else "bert")
    geometry = geometry_of(model)
    splits = [rows(kind, seed) for seed in range(3)]
    data = TaskData("rows", Classes(("low", "high"), "accuracy"), *splits, "")
    found = {}
    for members in [*packs(), *(named() if kind == "text" else [])]:
        trials = []
        for *pair, rule in members:
            ranks = proportional(Structure.of(*pair, geometry), BUDGET)
            adapter = AdapterSpec.of(*pair, ranks, geometry)
            trials.append(TrialSpec(adapter, 1e-3, 1e-3, rule=rule, seed=7))
        with Pack(model, data, trials, max_steps=N_STEPS, batch_size=8) as pack:
            steps = [pack.advance(step) for step in range(1, N_STEPS + 1)]
        for k, member in enumerate(members):
            found[",".join((kind, *member))] = [losses[k] for losses in steps]
    return found


def expected() -> dict[str, list[float]]:
    with GOLDEN.open(newline="") as file:
        return {",".join(row[:4]): list(map(float, row[4:])) for row in csv.reader(file)}


@pytest.mark.parametrize("kind", ["text", "image"])
def test_same_seed_same_curve(kind, tiny):
    found, known = curves(kind, tiny), expected()
    missing = {name: curve for name, curve in found.items() if name not in known}
    if os.environ.get("TENSLORA_WRITE_GOLDEN"):
        with GOLDEN.open("a", newline="") as file:
            csv.writer(file).writerows(
                [*name.split(","), *(f"{loss:.8f}" for loss in curve)]
                for name, curve in missing.items()
            )
        known = expected()
    for name, curve in found.items():
        assert curve == pytest.approx(known[name], abs=TOLERANCE), name
