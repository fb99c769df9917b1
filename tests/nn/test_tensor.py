"""FactoredTensor: the release's golden updates, TensorLy's reconstructions, exact counts, starts,
seeds, Adam's first step.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.export.factors import set_trial_factors
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import STARTS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.structure import Structure

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tucker_updates.npz")
SMALL = Geometry.attention(hidden=12, heads=3, layers=2)


def tensors(*specs: AdapterSpec, seeds=None) -> list[FactoredTensor]:
    """The tensors of a few trials, one a shape group."""
    seeds = seeds or range(len(specs))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [
        FactoredTensor(specs, group, generators) for group in range(len(specs[0].geometry.groups))
    ]


def updates(tensor: FactoredTensor) -> torch.Tensor:
    """(trial, projection, layer, input, output), as the sites are given them."""
    group = tensor.network.group
    return tensor.whole().expand(-1, len(group.projections), group.layers, -1, -1)


def starts_at_zero(tensor: FactoredTensor) -> bool:
    """Exactly; but for rounding where a form makes what is contracted."""
    largest = float(updates(tensor).detach().abs().max())
    return largest <= (0 if tensor.network.form.make is None else 1e-6)


def randomise(tensor: FactoredTensor) -> None:
    with torch.no_grad():
        for name, parameter in tensor.arrays.items():
            for trial in range(tensor.n_trials):
                part = tensor.of_trial(name, parameter, trial)
                part.copy_(torch.randn(part.shape) * tensor.entries(name, trial))


def close(one, other, tolerance: float = 1e-5) -> bool:
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


def useful(core: np.ndarray, factors: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same Tucker tensor with no rank above its cap: a QR of each unfolding moves the surplus
    into the factor.
    """
    for mode in range(core.ndim):
        flat = np.moveaxis(core, mode, 0).reshape(core.shape[mode], -1)
        if flat.shape[0] > flat.shape[1]:
            q, r = np.linalg.qr(flat)
            factors[mode] = factors[mode] @ q
            core = np.moveaxis(r.reshape(-1, *np.delete(core.shape, mode)), 0, mode)
    return core, factors


@pytest.mark.parametrize("layout", ["interleaved", "true"])
@pytest.mark.parametrize("name", sorted({key.split("/")[0] for key in GOLDEN}))
def test_release_updates(name, layout):
    """The updates that the TensLoRA release adds: as they stand when interleaved, permuted when
    true (methods.md 2.5).
    """
    modes, looped = CONSTRUCTIONS[name].split(), {}
    for p in range(3):
        for layer in range(2):
            factors = [
                GOLDEN[f"{name}/factor{k}/{p}/{layer}"].astype(float) for k in range(len(modes))
            ]
            looped[p, layer] = useful(GOLDEN[f"{name}/core/{p}/{layer}"].astype(float), factors)
    ranks = looped[0, 0][0].shape
    spec = AdapterSpec.of(name, "tucker", ranks, SMALL, scale="alpha", head_layout=layout)
    (tensor,) = tensors(spec)
    places = [
        (p, layer)
        for p in (range(3) if "projection" not in modes else [0])
        for layer in (range(2) if "layer" not in modes else [0])
    ]
    tensor = tensor.double()
    with torch.no_grad():
        for k, mode in enumerate(modes):
            tensor.factors[mode].copy_(
                torch.tensor(np.stack([looped[place][1][k] for place in places])).reshape_as(
                    tensor.factors[mode]
                )
            )
        tensor.factors["core"].copy_(
            torch.tensor(np.stack([looped[place][0] for place in places])).reshape_as(
                tensor.factors["core"]
            )
        )
    found = updates(tensor)[0].detach()
    if layout == "true" and "head" in modes:
        found = found.unflatten(-1, (3, 4)).transpose(-1, -2).flatten(-2)
    for (p, layer), update in np.ndenumerate(np.empty((3, 2))):
        expected = torch.tensor(GOLDEN[f"{name}/update/{p}/{layer}"])
        assert update is not None
        assert (found[p, layer] - expected).abs().max() <= 1e-6 * max(
            1.0, float(expected.abs().max())
        )


def reconstruct(decomposition: str, tensor: FactoredTensor) -> np.ndarray:
    """The one tensor of `att_qkv_depth` in the order input, layer, projection, head, head_dim, by
    TensorLy.
    """
    factors = {name: value[0].detach().double().numpy() for name, value in tensor.factors.items()}
    order = ("input", "layer", "projection", "head", "head_dim")
    if decomposition == "cp":
        return tensorly.cp_to_tensor((None, [factors[name] for name in order]))
    if decomposition == "tucker":
        core = factors["core"].transpose(0, 4, 3, 2, 1)
        return tensorly.tucker_to_tensor((core, [factors[name] for name in order]))
    chain = [factors[name] for name in order]
    if (
        decomposition == "tensor_ring"
    ):  # the first core is (input, r_1, ring), the last (r_4, head_dim, ring)
        chain[0] = chain[0].transpose(2, 0, 1)
        return tensorly.tr_to_tensor(chain)
    return tensorly.tt_to_tensor([chain[0][None], *chain[1:-1], chain[-1][..., None]])


@pytest.mark.parametrize("decomposition", ["cp", "tucker", "tensor_train", "tensor_ring"])
def test_tensorly_reconstruction(decomposition, small_spec):
    spec = small_spec("att_qkv_depth", decomposition, SMALL, scale="alpha")
    (tensor,) = tensors(spec)
    randomise(tensor)
    whole = torch.tensor(
        np.asarray(reconstruct(decomposition, tensor))
    )  # (input, layer, projection, head, head_dim)
    expected = whole.permute(2, 1, 0, 3, 4).flatten(-2)
    assert close(updates(tensor)[0].double(), expected)


@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_any_geometry(data, construction, decomposition, geometries, ranks_of, dense_update):
    """The spec's count is the modules' count; the pairs are the dense tensor; the pair's rank is
    the spec's.
    """
    geometry = data.draw(geometries)
    ranks = ranks_of(data.draw, construction, decomposition, geometry)
    layout = data.draw(st.sampled_from(["true", "interleaved"]))
    spec = AdapterSpec.of(construction, decomposition, ranks, geometry, head_layout=layout)
    made = tensors(spec)
    assert spec.n_params == sum(
        parameter.numel() for tensor in made for parameter in tensor.factors.values()
    )
    assert spec.is_low_rank is (len(made[0].matrices()) == 2)
    assert not spec.is_low_rank or spec.slice_rank == max(
        tensor.matrices()[0].shape[-1] for tensor in made
    )
    for tensor in made:
        assert starts_at_zero(tensor)
        randomise(tensor)
        assert close(updates(tensor)[0], dense_update(tensor))


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_ranks_for_each_copy(data, construction, decomposition, geometries, ranks_of, dense_update):
    """Copies of unequal ranks are counted exactly, and padding changes nothing."""
    geometry = data.draw(geometries)
    n_copies = Structure.of(construction, decomposition, geometry).n_copies
    ranks = [ranks_of(data.draw, construction, decomposition, geometry) for _ in range(n_copies)]
    spec = AdapterSpec.of(construction, decomposition, ranks, geometry)
    made = tensors(spec)
    assert spec.n_params == sum(
        int(tensor.entries(name, 0).sum()) for tensor in made for name in tensor.factors
    )
    for tensor in made:
        assert not any(
            value[0][~tensor.entries(name, 0)].any() for name, value in tensor.factors.items()
        )
        randomise(tensor)
        assert close(updates(tensor)[0], dense_update(tensor))


def test_every_mode_appears(construction, decomposition, small_spec):
    (tensor,) = tensors(small_spec(construction, decomposition, SMALL))
    modes = {
        axis.mode for factor in tensor.network.factors for axis in factor.axes if not axis.is_bond
    }
    assert modes == set(CONSTRUCTIONS[construction].split())


def test_exactly_one_factor_starts_at_zero_and_gets_the_gradient(
    construction, decomposition, small_spec
):
    (tensor,) = tensors(small_spec(construction, decomposition, SMALL))
    zero = [name for name, value in tensor.factors.items() if not value.any()]
    assert starts_at_zero(tensor)
    assert len(zero) == 1 or tensor.network.form.starts_at_zero
    updates(tensor).mul(torch.randn(1, 3, 2, 12, 12)).sum().backward()
    gradients = {name: value.grad for name, value in tensor.factors.items()}
    largest = {
        name: 0.0 if value is None else float(value.abs().max())
        for name, value in gradients.items()
    }
    moved = [name for name, size in largest.items() if size > 1e-5 * max(largest.values())]
    if tensor.network.form.make is None:
        assert zero == moved
    else:  # what is made of it may hang on others as well
        assert set(zero) <= set(moved)


def test_copies_and_trials_start_apart(construction, decomposition, small_spec):
    spec = small_spec(construction, decomposition, SMALL)
    (tensor,) = tensors(spec, spec, seeds=(1, 2))
    for factor in tensor.network.form.learnt:
        if factor.start in ("uniform", "normal"):
            starts = tensor.arrays[factor.name].detach().flatten(0, len(tensor.looped)).flatten(1)
            assert len(starts.unique(dim=0)) == len(starts)
        elif factor.start not in ("zero", "ones"):
            one, other = tensor.arrays[factor.name]
            assert factor.start in STARTS
            assert one.numel() <= 8 or not torch.equal(one, other)


@pytest.mark.parametrize("decomposition", ["tucker", "tucker2", "block_term"])
def test_columns_start_orthonormal(construction, decomposition):
    n_bonds = len(Structure.of(construction, decomposition, SMALL).bonds)
    ranks = (2,) * n_bonds if n_bonds > 2 or decomposition == "block_term" else (2, 2)
    (tensor,) = tensors(AdapterSpec.of(construction, decomposition, ranks, SMALL))
    for factor in tensor.network.factors:
        if factor.start == "orthonormal":
            value = tensor.factors[factor.name].detach().flatten(0, len(tensor.looped))
            value = value.movedim(-1, 0).flatten(0, 1) if decomposition == "block_term" else value
            assert torch.allclose(
                value.mT @ value, torch.eye(2).expand(len(value), 2, 2), atol=1e-5
            )


def test_the_same_alone_and_in_a_pack(construction, decomposition, small_spec):
    """A trial's factors depend on its seed alone, not on its neighbours' ranks or number."""
    mine, other = (small_spec(construction, decomposition, SMALL, rank) for rank in (2, 3))
    (alone,), (packed,) = tensors(mine, seeds=(7,)), tensors(other, mine, other, seeds=(1, 7, 2))
    for name, value in alone.arrays.items():
        assert torch.equal(packed.of_trial(name, packed.arrays[name], 1), value[0])
    assert torch.equal(packed.scale[1].flatten(), alone.scale[0].flatten())


def test_padding_stays_zero(construction, decomposition, small_spec):
    """AdamW with weight decay moves what counts and nothing else."""
    small, large = (small_spec(construction, decomposition, SMALL, rank) for rank in (1, 3))
    (tensor,) = tensors(small, large)
    target, optimizer = (
        torch.randn(2, 3, 2, 12, 12),
        torch.optim.AdamW(tensor.parameters(), lr=0.1, weight_decay=0.1),
    )
    for _ in range(4):
        optimizer.zero_grad()
        (updates(tensor) - target).square().sum().backward()
        optimizer.step()
    for name, value in tensor.factors.items():
        used = torch.zeros_like(value, dtype=torch.bool)
        for trial in range(2):
            entries = tensor.entries(name, trial)
            tensor.of_trial(name, used, trial).copy_(entries)
        assert not value[~used].any()
        assert value[used].any()


def test_the_global_generator_is_not_touched(construction, decomposition, small_spec, tiny):
    model, _ = tiny("vit", num_hidden_layers=1)
    before = torch.get_rng_state()
    attach(model, small_spec(construction, decomposition, geometry_of(model)), seeds=3).refresh()
    assert torch.equal(torch.get_rng_state(), before)


def adam_step(tensor: FactoredTensor) -> torch.Tensor:
    """Frobenius norm of each update after one small step, in units of its rate, when the gradient's
    signs are random. What gets no gradient stays: a chain's links that do not learn yet.
    """
    rate, found = 1e-3, updates(tensor)
    found.mul(torch.randn(found.shape)).sum().backward()
    with torch.no_grad():
        for value in tensor.factors.values():
            if not value.any() and value.grad is not None:
                signs = torch.randint(0, 2, value.shape) * 2.0 - 1
                value.copy_(rate * signs * (value.grad != 0))
        return updates(tensor).flatten(-2).norm(dim=-1) / rate


def test_matched_steps_as_far_as_lora(construction, decomposition, small_spec):
    """The root mean square over 30 seeds is sqrt(r d / 3) with r = 8, the step of LoRA with alpha =
    r. A form that bounds itself is not scaled.
    """
    torch.manual_seed(0)
    geometry = Geometry.attention(hidden=96, heads=4, layers=3)
    spec = small_spec(construction, decomposition, geometry, 4)
    (tensor,) = tensors(*[spec] * 30)
    if not tensor.network.form.scaled:
        assert (tensor.scale == 1).all()
        return
    found = float(adam_step(tensor).square().mean().sqrt())
    assert found == pytest.approx(math.sqrt(8 * 96 / 3), rel=0.15)


def test_matched_is_lora_for_lora():
    spec = AdapterSpec.of("none", "cp", (8,), Geometry.attention(hidden=96, heads=4, layers=3))
    assert spec.scales(0) == pytest.approx((1.0,) * 9)


@pytest.mark.parametrize("scale", SCALES)
def test_scales(scale):
    spec = AdapterSpec.of("qkv", "tucker", (4, 6, 2), SMALL, scale=scale, alpha=3.0)
    expected = {"alpha": 3.0, "alpha/r": 3 / 4, "alpha/sqrt_r": 3 / 2}
    if scale in expected:
        assert spec.scales(0) == pytest.approx((expected[scale],) * 2)
    else:
        once = AdapterSpec.of("qkv", "tucker", (4, 6, 2), SMALL, scale=scale)
        assert spec.scales(0) == pytest.approx([3 * one for one in once.scales(0)])


def test_factors_are_set_through_the_adapter(tiny):
    """`set_trial_factors` reaches the updates: an all-ones CP tensor of rank 2 adds 2
    everywhere."""
    model, _ = tiny("bert")
    adapter = attach(
        model, AdapterSpec.of("qkv_depth", "cp", (2,), geometry_of(model), scale="alpha")
    )
    set_trial_factors(
        adapter,
        {
            f"0.{name}": torch.ones(size, 2)
            for name, size in zip(CONSTRUCTIONS["qkv_depth"].split(), (32, 32, 3, 2), strict=True)
        },
    )
    for left, right in adapter.updates().values():
        assert torch.equal(left @ right, torch.full((32, 32), 2.0))


def test_every_start_is_known():
    starts = {
        f.start
        for name in CONSTRUCTIONS
        for d in DECOMPOSITIONS
        for f in Structure.of(name, d, SMALL).networks[0].form.learnt
    }
    assert starts <= set(STARTS)
