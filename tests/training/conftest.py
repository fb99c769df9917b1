"""A tiny text model and a task for it, for the tests of packs."""

from pathlib import Path

import pytest
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.goals import Classes
from tenslora_search.data.task import TaskData
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS, Measured
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import Axis, Factor, Form, Learner, Rule, bond
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import read_state


@pytest.fixture(scope="session")
def tokens():
    """tokens(n_rows, seed, regression) -> rows of uneven length, whose label is whether their first
    token is among the upper half of the vocabulary.
    """

    def draw(n_rows: int, seed: int, *, regression: bool = False) -> Split:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(3, 14, (n_rows,), generator=generator)
        ids = torch.randint(4, 30, (n_rows, 14), generator=generator)
        mask = (torch.arange(14) < lengths[:, None]).long()
        labels = (ids[:, 1] >= 17).long()
        return Split(
            {"input_ids": ids * mask, "attention_mask": mask},
            labels.float() if regression else labels,
            lengths,
        )

    return draw


@pytest.fixture(scope="module")
def data(tokens) -> TaskData:
    fit, select, report = (tokens(n, seed) for seed, n in enumerate((60, 40, 40)))
    return TaskData("first token", Classes(("low", "high"), "accuracy"), fit, select, report, "")


@pytest.fixture(scope="module")
def bert():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return BertForSequenceClassification(
        BertConfig(vocab_size=32, max_position_embeddings=16, **sizes)
    ).eval()


@pytest.fixture(scope="session")
def learnt():
    """learnt(pack, folder, trial) -> all that a trial's state holds."""

    def read(pack: Pack, folder: Path, trial: int = 0) -> dict[str, torch.Tensor]:
        return read_state(pack.save(trial, folder / f"{trial}.safetensors"))[1]

    return read


@pytest.fixture(scope="session")
def assert_same():
    """assert_same(one, other) -> whether two states of a trial are one but for rounding.

    Packs of other sizes multiply matrices of other shapes, so gradients differ by rounding. Adam
    divides by sqrt(square) + 1e-8: near a gradient of zero a difference d moves an entry by rate x
    d / 1e-8. Gradients are some 1e-7 in this small model, rounded at 1e-12 to 1e-11; at a rate of
    1e-2 values then differ by 1e-6 to 1e-5 (seen: 5e-6 and 1.7e-5). So values agree to 1e-4, and
    moments, which nothing has divided, to 1e-4 of their largest entry.
    """

    def compare(one: dict, other: dict, tolerance: float = 1e-4) -> None:
        assert one.keys() == other.keys()
        for name, value in one.items():
            is_moment = name.startswith(("mean.", "square.", "gradient."))
            size = float(other[name].abs().max()) if is_moment else 1.0
            torch.testing.assert_close(
                value,
                other[name],
                rtol=tolerance,
                atol=tolerance * size,
                msg=lambda t, n=name: n + t,
            )

    return compare


LINK = 4


def chain() -> Rule:
    """Links of 4 steps: the input side is drawn anew, what the output side has learnt is halved
    against its last gradient; while training, large entries cost.
    """

    def redraw(learner: Learner) -> None:
        generator = learner.generator()
        for factor in learner.factors:
            for value in learner.value(factor):
                if factor.name == "input":
                    fresh = torch.randn(value.shape, generator=generator) / value.shape[-2] ** 0.5
                    value.copy_(fresh)
        for factor in learner.factors:
            if factor.start == "zero":
                values, gradients = learner.value(factor), learner.gradient(factor)
                for value, gradient in zip(values, gradients, strict=True):
                    value.mul_(0.5).sub_(gradient, alpha=0.01)

    def size(learner: Learner) -> torch.Tensor:
        values = [value for factor in learner.factors for value in learner.value(factor)]
        return 1e-3 * torch.stack([value.square().sum() for value in values]).sum()

    return Rule(penalty=size, between=redraw, every=LINK, restarts=True)


def frozen_side(modes: tuple[Axis, ...]) -> Form:
    """LoRA over `none` whose input side is frozen, but for what a rule draws."""
    return Form(
        (
            Factor("input", (modes[0], bond("r")), "normal", ("input",), frozen=True),
            Factor("output", (*modes[1:], bond("r"))),
        )
    )


@pytest.fixture
def ruled(monkeypatch):
    """ruled(geometry) -> trials whose rules add to the loss, redraw and restart, and trials that
    do not, over forms that are made, frozen, gated, and of ranks that differ by copy.
    """
    monkeypatch.setitem(RULES._entries, "chain", chain)
    monkeypatch.setitem(DECOMPOSITIONS._entries, "frozen_side", frozen_side)

    def draw(geometry: Geometry) -> list[TrialSpec]:
        n_maps = Structure.of("none", "cp", geometry).n_copies
        members = [
            ("qkv", "cp", (3,), "chain"),
            ("none", "frozen_side", (2,), "chain"),
            ("none", "sora", (4,), "chain"),
            ("none", "nb_lora", (3,), "chain"),
            ("none", "cp", (2,), "plain"),
            ("qkv_depth", "nb_lora", (4,), "lora_plus"),
            ("none", "cp", [(1 + k % 3,) for k in range(n_maps)], "chain"),
            ("none", "nb_lora", [(1 + k % 3,) for k in range(n_maps)], "chain"),
            ("none", "rac_lora", (4,), "plain"),
            ("none", "adalora", [(1 + k % 3,) for k in range(n_maps)], "lora_plus"),
            ("qkv_depth", "adalora", (4,), "plain"),
            ("none", "cp", (3,), {"name": "prilora", "every": 4}),
            ("none", "cp", (3,), {"name": "dedup", "weight": 1e-6}),
        ]
        return [
            TrialSpec(
                AdapterSpec.of(construction, decomposition, ranks, geometry),
                learning_rate=5e-3,
                head_learning_rate=2e-3,
                weight_decay=0.05 * (number % 3),
                warmup=0.3,
                rule=rule,
                seed=number,
            )
            for number, (construction, decomposition, ranks, rule) in enumerate(members)
        ]

    return draw


@pytest.fixture(scope="session")
def six_users():
    """six_users(model) -> trials for one pack that use every seam: gates, the Cayley transform, a
    dense map, ranks that ramp over the layers, over qv, qkv and qkvo, beside LoRA.
    """

    def draw(model: torch.nn.Module) -> list[TrialSpec]:
        qv, qkv, qkvo = (geometry_of(model, SITES[name].split()) for name in ("qv", "qkv", "qkvo"))
        members = [
            AdapterSpec.of("none", "sora", (4,), qkv, options={"xi": 1e-3}),
            AdapterSpec.of("none", "nb_lora", (3,), qv),
            AdapterSpec.of("none", "cp", (3,), qkv, after="sinter"),
            ramped("cp", qkv),
            AdapterSpec.of("none", "cp", (2,), qkvo),
            AdapterSpec.of("qkv_depth", "nb_lora", (4,), qkvo),
            ramped("nb_lora", qv),
            ramped("sora", qkvo),
            AdapterSpec.of("none", "cp", (2,), qv, after="sinter"),
            AdapterSpec.of("qkv", "tucker", (2, 2, 2), qkv),
        ]
        return [
            TrialSpec(
                adapter,
                learning_rate=(1 + number % 3) * 2e-3,
                head_learning_rate=2e-3,
                weight_decay=0.05 * (number % 2),
                warmup=0.2 * (number % 2),
                rule="lora_plus" if number == 4 else "plain",
                seed=number,
            )
            for number, adapter in enumerate(members)
        ]

    return draw


def ramped(decomposition: str, geometry: Geometry) -> AdapterSpec:
    """Ranks of each copy as the ramp over layers divides a size."""
    structure = Structure.of("none", decomposition, geometry)
    size = 4 * structure.smallest
    weights = [0.5] * len(structure.bonds)
    ranks = ALLOCATORS["ramp"]().divide(structure, size, weights, Measured())
    return AdapterSpec.over(structure, ranks)
