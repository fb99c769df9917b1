"""What a form makes of what is trained is the same alone and in a pack of larger ranks, and for
copies of unequal ranks; a bounded form keeps its bound; frozen factors are drawn and never trained.
"""

import pytest
import torch

from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import Axis, Factor, Form, bond
from tenslora_search.spec.geometry import Geometry

SMALL = Geometry.attention(hidden=12, heads=3, layers=2)


def tensor_of(*specs: AdapterSpec) -> FactoredTensor:
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(specs))]
    return FactoredTensor(specs, 0, generators)


def updates(tensor: FactoredTensor) -> torch.Tensor:
    """(trial, projection, layer, input, output)."""
    group = tensor.network.group
    return tensor.whole().expand(-1, len(group.projections), group.layers, -1, -1)


def fill(tensor: FactoredTensor, trial: int, values: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            tensor.of_trial(name, tensor.arrays[name], trial).copy_(value)


def drawn(tensor: FactoredTensor, trial: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """Normal entries for one trial of a tensor, zeros where it has none."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(entries.shape, generator=generator) * entries
        for name in tensor.arrays
        for entries in [tensor.entries(name, trial)]
    }


def gradients(tensor: FactoredTensor, trial: int, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the trial's weighted update, for each of its factors."""
    names = list(tensor.factors)
    found = torch.autograd.grad(
        (updates(tensor)[trial] * weights).sum(), [tensor.factors[name] for name in names]
    )
    return {name: tensor.of_trial(name, one, trial) for name, one in zip(names, found, strict=True)}


def test_alone_is_packed_with_larger_ranks(construction, decomposition, small_spec):
    """Output and gradient: no padding enters a `make`."""
    mine, other = (small_spec(construction, decomposition, SMALL, rank) for rank in (2, 3))
    alone, packed = tensor_of(mine), tensor_of(other, mine, other)
    values, weights = drawn(alone), torch.randn(3, 2, 12, 12)
    fill(alone, 0, values)
    for trial in (0, 2):
        fill(packed, trial, drawn(packed, trial, seed=trial + 1))
    fill(packed, 1, values)
    torch.testing.assert_close(updates(packed)[1], updates(alone)[0], rtol=1e-4, atol=1e-5)
    expected, found = gradients(alone, 0, weights), gradients(packed, 1, weights)
    for name, gradient in expected.items():
        size = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * size, msg=name)


def test_copies_of_unequal_ranks_are_made_apart(small_spec):
    """The second copy of rank 1 among copies of rank 3 is what it is among copies of rank 1."""
    uneven = AdapterSpec.of("qkv", "nb_lora", [(3,), (1,)], SMALL)
    even = AdapterSpec.of("qkv", "nb_lora", [(1,), (1,)], SMALL)
    one, other = tensor_of(uneven), tensor_of(even)
    values = drawn(one)
    fill(one, 0, values)
    fill(other, 0, {name: value[..., :1] for name, value in values.items()})
    torch.testing.assert_close(updates(one)[0, :, 1], updates(other)[0, :, 1])
    assert not updates(one)[0, :, 0].allclose(updates(other)[0, :, 0])
    assert not any(
        one.contracted()[factor.name][0][1][..., 1:].any() for factor in one.network.factors
    )


@pytest.mark.parametrize(("delta", "p", "eta"), [(1.0, 2.0, 1.0), (0.1, 1.0, 0.2), (5.0, 8.0, 3.0)])
def test_nb_lora_keeps_its_bound_at_every_step(delta, p, eta, construction):
    """However it is trained: the Schatten-p norm of the unfolding, and so of each slice, and each
    singular value by its own bound.
    """
    knobs = {"delta": delta, "p": p, "eta": eta}
    tensor = tensor_of(AdapterSpec.of(construction, "nb_lora", (3,), SMALL, options=knobs))
    optimizer = torch.optim.Adam(tensor.parameters(), lr=0.1)
    target = 20 * torch.randn(1, 3, 2, 12, 12)
    largest = 0.0
    for _ in range(12):
        optimizer.zero_grad()
        (updates(tensor) - target).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            found = torch.linalg.svdvals(updates(tensor)[0])[..., :3]
            bounds = tensor.contracted()["diagonal"][0] / 2
        bounds = bounds.sort(dim=-1, descending=True).values
        shape = [
            SMALL.groups[0].size(axis) if axis in tensor.network.looped else 1
            for axis in ("projection", "layer")
        ]
        assert (found <= bounds.reshape(*shape, 3) + 1e-5 * delta).all()
        norms = found.pow(p).sum(-1).pow(1 / p)
        assert (norms <= delta * (1 + 1e-4)).all()
        largest = max(largest, float(norms.max()))
    assert largest > 0.3 * delta


def test_nb_lora_steps_about_as_far_as_lora_at_its_defaults():
    """It is not scaled: Adam's first step moves W by about 2 delta sqrt(input) r^(1/2 - 1/p) rates,
    for every rank if p is 2.
    """
    geometry = Geometry.attention(hidden=96, heads=4, layers=1, projections=("query",))
    for rank in (2, 8, 32):
        spec = AdapterSpec.of("none", "nb_lora", (rank,), geometry, alpha=7.0)
        tensor = tensor_of(spec)
        rate = 1e-4
        optimizer = torch.optim.Adam(tensor.parameters(), lr=rate)
        (updates(tensor) * torch.randn(96, 96)).sum().backward()
        optimizer.step()
        found = float(updates(tensor).detach().norm()) / rate
        assert found == pytest.approx(2 * 96**0.5, rel=0.35)


@pytest.fixture
def half_frozen(monkeypatch):
    """LoRA whose input side is drawn and stays (LoRA-FA, arXiv 2308.03303)."""

    def entry(modes: tuple[Axis, ...]) -> Form:
        rest = tuple(modes[1:])
        return Form(
            (
                Factor("input", (modes[0], bond("r")), "normal", ("input",), frozen=True),
                Factor("output", (*rest, bond("r"))),
            )
        )

    monkeypatch.setitem(DECOMPOSITIONS._entries, "half_frozen", entry)


def test_frozen_factors_are_held_and_not_trained(half_frozen):
    spec = AdapterSpec.of("none", "half_frozen", (2,), SMALL)
    tensor = tensor_of(spec, spec)
    assert list(tensor.arrays) == ["input", "output"]
    assert list(tensor.factors) == ["output"]
    assert tensor.arrays["input"].any()
    assert not tensor.arrays["input"].requires_grad
    assert spec.n_params == 6 * 2 * 12 == sum(p.numel() for p in tensor.parameters()) // 2
    assert spec.factor_counts == {"output": spec.n_params}
    assert "frozen.input" in tensor.state_dict()
    updates(tensor).sum().backward()
    assert tensor.factors["output"].grad.any()
