"""Trained factors at smaller ranks: whole where nothing is lost, else the best there is, and always
at the size that the specification says.
"""

import pytest
import torch

from tenslora_search.nn.attach import attach
from tenslora_search.nn.cutting import cut_down
from tenslora_search.nn.naive import dense_updates
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.structure import Structure
from tenslora_search.study.cuts import can_be_cut, cuts_of
from tenslora_search.study.limits import ANY


def trained(model, spec, seed=0):
    """An adapter whose factors are all random; its updates stacked."""
    adapter = attach(model, spec, seeds=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor, _ in adapter.tensors_of(0):
            for name, value in tensor.factors.items():
                entries = tensor.entries(name, 0)
                value[0].copy_(torch.randn(value[0].shape, generator=generator) * entries)
    return adapter


def updates(adapter):
    found = torch.cat([one.flatten() for *_, one in dense_updates(adapter)])
    return found.detach().double()


def cut(adapter, after):
    """The adapter cut down, on the same model, with its updates before and after."""
    before, model = updates(adapter), adapter.model
    spec, arrays = adapter.specs[0], []
    for group, (tensor, _) in enumerate(adapter.tensors_of(0)):
        own = {name: value[0].detach() for name, value in tensor.arrays.items()}
        arrays.append(cut_down(spec, after, group, own))
    smaller = attach(adapter.detach(), after)
    assert smaller.model is model
    with torch.no_grad():
        for (tensor, _), own in zip(smaller.tensors_of(0), arrays, strict=True):
            assert {name: value.shape[1:] for name, value in tensor.arrays.items()} == {
                name: value.shape for name, value in own.items()
            }
            for name, value in tensor.factors.items():
                value[0].copy_(own[name])
    after_ = updates(smaller)
    smaller.detach()
    return before, after_


PAIRS = [("none", "cp"), ("qkv_depth", "tucker"), ("att_depth", "tensor_train"),
         ("depth", "tucker2"), ("none", "loretta"), ("qkv", "tensorised_tt")]  # fmt: skip
OTHERS = [("qkv_depth", "cp"), ("depth", "block_term"), ("depth", "tensor_ring"), ("none", "sora")]


@pytest.mark.parametrize("pair", [*PAIRS, *OTHERS], ids=" x ".join)
def test_cuts_are_within_their_size(pair, tiny):
    model, _ = tiny("bert")
    geometry = geometry_of(model)
    spec = AdapterSpec.of(*pair, proportional(Structure.of(*pair, geometry), 3_000), geometry)
    cuts = cuts_of(spec, ANY)
    assert cuts
    last = spec.n_params
    for one in cuts:
        assert one.n_params < last
        last = one.n_params
        before, after = cut(trained(model, spec), one)
        assert torch.isfinite(after).all()
        assert (before - after).norm() < before.norm() * 1.5


@pytest.mark.parametrize("pair", PAIRS, ids=" x ".join)
def test_nothing_is_lost_of_what_has_smaller_ranks(pair, tiny):
    """An adapter of large ranks that holds one of small ranks is cut down to that one."""
    model, _ = tiny("bert")
    geometry = geometry_of(model)
    large = AdapterSpec.of(*pair, proportional(Structure.of(*pair, geometry), 3_000), geometry)
    small = cuts_of(large, ANY)[0]
    adapter = trained(model, large)
    with torch.no_grad():  # zeros beyond the small ranks, then mixed up by rotations of each bond
        for tensor, _ in adapter.tensors_of(0):
            ranks = dict(zip(small.structure.bonds, small.ranks, strict=True))
            turns = {}
            for factor in tensor.network.factors:
                value = tensor.factors[factor.name]
                for place, axis in enumerate(factor.axes, start=1 + len(tensor.looped)):
                    if axis.is_bond and axis.name in ranks:
                        size = value.shape[place]
                        value.movedim(place, 0)[ranks[axis.name] :] = 0
                        if axis.name not in turns:
                            turns[axis.name] = torch.linalg.qr(torch.randn(size, size))[0]
                        turn = turns[axis.name]
                        value.copy_((value.movedim(place, -1) @ turn).movedim(-1, place))
    before, after = cut(adapter, small)
    assert torch.linalg.vector_norm(before) > 0
    assert (before - after).norm() < 1e-4 * before.norm()


def test_lora_is_cut_to_the_best_of_its_rank(tiny):
    """Each update's own singular value decomposition."""
    model, _ = tiny("bert")
    geometry = geometry_of(model)
    adapter = trained(model, AdapterSpec.of("none", "cp", 6, geometry))
    expected = [
        sum(s * torch.outer(u, v) for s, u, v in zip(d[:3], left.T, right, strict=False))
        for *_, one in dense_updates(adapter)
        for left, d, right in [torch.linalg.svd(one.detach().double())]
    ]
    _, after = cut(adapter, AdapterSpec.of("none", "cp", 3, geometry))
    assert torch.allclose(after, torch.cat([one.flatten() for one in expected]), atol=1e-5)


def test_copies_of_their_own_ranks_are_cut_each(tiny):
    model, _ = tiny("bert")
    geometry = geometry_of(model)
    n_copies = Structure.of("none", "cp", geometry).n_copies
    spec = AdapterSpec.of("none", "cp", [(1 + copy % 4,) for copy in range(n_copies)], geometry)
    for one in cuts_of(spec, ANY):
        before, after = cut(trained(model, spec), one)
        assert 0 < (before - after).norm() < before.norm()


def test_what_is_frozen_or_made_is_not_cut(tiny):
    geometry = geometry_of(tiny("bert")[0])
    cuttable = {
        name
        for name in DECOMPOSITIONS
        if can_be_cut(
            AdapterSpec.over(
                (structure := Structure.of("none", name, geometry)), (1,) * len(structure.bonds)
            )
        )
    }
    assert {"cp", "tucker", "tensor_train", "sora"} <= cuttable
    assert not cuttable & {
        "vera",
        "lora_fa",
        "lora_xs",
        "tera",
        "nb_lora",
        "tensor_guide",
        "quanta",
    }
