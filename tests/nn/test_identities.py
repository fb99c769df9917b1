"""Who contains whom: the identities of the methods (I1 to I8, I10 to I14, I20 to I23), as equal
updates in float64.
"""

import pytest
import torch
from torch import Tensor, einsum

from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.geometry import Geometry

PROJECTIONS, LAYERS, HEADS, HEAD_DIM, HIDDEN = 3, 2, 3, 4, 12
THREE = Geometry.attention(HIDDEN, HEADS, LAYERS)
FUSED = Geometry.attention(HIDDEN, HEADS, PROJECTIONS * LAYERS, projections=("query",))
"""One mode for projection and layer: slice p * LAYERS + l. FacT and CaRA stack so."""


class Built:
    """A tensor in float64 with random factors, or with those given by name (*looped, *axes);
    `updates` is dense.
    """

    def __init__(
        self,
        construction: str,
        decomposition: str,
        ranks,
        geometry: Geometry = THREE,
        **factors: Tensor,
    ) -> None:
        spec = AdapterSpec.of(construction, decomposition, ranks, geometry, scale="alpha")
        self.tensor = FactoredTensor([spec], 0, [torch.Generator().manual_seed(0)]).double()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in self.tensor.factors.items():
                value = (
                    factors[name]
                    if name in factors
                    else torch.randn(parameter.shape[1:], generator=generator)
                )
                assert value.shape == parameter.shape[1:], (name, value.shape, parameter.shape)
                parameter.copy_(value)

    def __getattr__(self, name: str) -> Tensor:
        return self.tensor.factors[name][0].detach()

    @property
    def updates(self) -> Tensor:  # (projection, layer, input, output)
        group = self.tensor.network.group
        left, right = self.tensor.pairs()
        return (left @ right)[0].expand(len(group.projections), group.layers, -1, -1).detach()


def assert_same(one: Tensor, other: Tensor) -> None:
    assert one.abs().max() > 0.01
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def eye(n: int, *copies: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64).expand(*copies, n, n)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_i1_cp_is_tucker_with_a_superdiagonal_core(construction):
    cp, modes = Built(construction, "cp", (2,)), CONSTRUCTIONS[construction].split()
    core = torch.zeros(*cp.tensor.looped, *[2] * len(modes), dtype=torch.float64)
    for r in range(2):
        core[(..., *[r] * len(modes))] = 1
    tucker = Built(
        construction,
        "tucker",
        [2] * len(modes),
        core=core,
        **{mode: getattr(cp, mode) for mode in modes},
    )
    assert_same(cp.updates, tucker.updates)


def test_i2_lotr_over_layers_is_depth_tucker():
    lotr = Built("depth", "tucker2", (3, 4))
    expected = einsum("pia,pabl,pob->plio", lotr.input, lotr.core, lotr.output)
    assert_same(lotr.updates, expected)
    full = Built(
        "depth",
        "tucker",
        (3, 4, LAYERS),
        input=lotr.input,
        output=lotr.output,
        core=lotr.core,
        layer=eye(LAYERS, 3),
    )
    assert_same(lotr.updates, full.updates)


def test_i3_lotr_over_projections_and_layers_is_qkv_depth_tucker():
    lotr = Built("qkv_depth", "tucker2", (3, 4))
    expected = einsum("ia,abpl,ob->plio", lotr.input, lotr.core, lotr.output)
    assert_same(lotr.updates, expected)
    identities = {"projection": eye(PROJECTIONS), "layer": eye(LAYERS)}
    full = Built(
        "qkv_depth",
        "tucker",
        (3, 4, 3, 2),
        input=lotr.input,
        output=lotr.output,
        core=lotr.core,
        **identities,
    )
    assert_same(lotr.updates, full.updates)


def test_i4_i5_i6_fact():
    """FacT-TK is a Tucker tensor over all slices as one mode; FacT-TT its Tucker-2, which contains
    it.
    """
    tk = Built("depth", "tucker", (3, 3, 3), FUSED)
    mixed = einsum("pabk,psk->pabs", tk.core, tk.layer)
    assert_same(tk.updates, einsum("pia,pabs,pob->psio", tk.input, mixed, tk.output))
    tt = Built("depth", "tucker2", (3, 3), FUSED, input=tk.input, output=tk.output, core=mixed)
    assert_same(tt.updates, tk.updates)
    free = Built("depth", "tucker2", (3, 3), FUSED)
    assert_same(free.updates[0, 4], free.input[0] @ free.core[0, ..., 4] @ free.output[0].T)


def test_i7_cp_is_lotr_with_diagonal_matrices():
    cp = Built("qkv_depth", "cp", (3,))
    core = torch.diag_embed(einsum("pr,lr->plr", cp.projection, cp.layer)).permute(2, 3, 0, 1)
    assert_same(
        cp.updates,
        Built("qkv_depth", "tucker2", (3, 3), input=cp.input, output=cp.output, core=core).updates,
    )


def test_i8_cp_is_within_cara():
    cp = Built("att_qkv_depth", "cp", (3,))
    rows = einsum("pr,lr->plr", cp.projection, cp.layer).reshape(1, -1, 3)
    cara = Built(
        "att_depth",
        "cp",
        (3,),
        FUSED,
        input=cp.input[None],
        head=cp.head[None],
        head_dim=cp.head_dim[None],
        layer=rows,
    )
    assert_same(cp.updates, cara.updates.reshape(PROJECTIONS, LAYERS, HIDDEN, HIDDEN))


def test_i10_independent_lora_is_depth_with_blocks():
    rank, wide = 2, 2 * LAYERS
    lora = Built("none", "cp", (rank,))
    sides = {
        name: getattr(lora, name).permute(0, 2, 1, 3).reshape(PROJECTIONS, HIDDEN, wide)
        for name in ("input", "output")
    }
    blocks = torch.eye(LAYERS, dtype=torch.float64).repeat_interleave(
        rank, 1
    )  # (layer, layers * rank)
    core = torch.diag_embed(blocks).permute(1, 2, 0).expand(PROJECTIONS, -1, -1, -1)
    tucker = Built(
        "depth", "tucker", (wide, wide, LAYERS), **sides, core=core, layer=eye(LAYERS, PROJECTIONS)
    )
    assert_same(lora.updates, tucker.updates)
    assert_same(
        lora.updates,
        Built("depth", "cp", (wide,), **sides, layer=blocks.expand(PROJECTIONS, -1, -1)).updates,
    )


def test_i11_att_tucker_with_identities_is_lora():
    identities = {
        "head_dim": eye(HEAD_DIM, PROJECTIONS, LAYERS),
        "head": eye(HEADS, PROJECTIONS, LAYERS),
    }
    att = Built("att", "tucker", (3, HEAD_DIM, HEADS), **identities)
    output = att.core.permute(0, 1, 4, 3, 2).reshape(PROJECTIONS, LAYERS, HIDDEN, 3)
    assert_same(att.updates, Built("none", "cp", (3,), input=att.input, output=output).updates)


def test_i12_tensor_train_is_lotr():
    train = Built("qkv_depth", "tensor_train", (3, 2, 4))
    core = einsum("alb,bpc->acpl", train.layer, train.projection)
    sides = {"input": train.input, "output": train.output.mT}
    assert_same(train.updates, Built("qkv_depth", "tucker2", (3, 4), **sides, core=core).updates)


def test_i13_a_train_of_two_cores_is_lora():
    train = Built("none", "tensor_train", (3,))
    lora = Built("none", "cp", (3,), input=train.input, output=train.output.mT)
    assert_same(train.updates, lora.updates)


def test_i13_over_a_prime_width_a_tensorised_train_is_lora():
    prime = Geometry.attention(7, 1, LAYERS)
    train = Built("none", "tensorised_tt", (1, 3, 3), prime)
    first, second, third, fourth = (
        train.tensor.factors[f.name][0].detach() for f in train.tensor.network.factors
    )
    left = einsum("plia,plajb->plijb", first, second).flatten(2, 3)
    right = einsum("plbic,plcj->plijb", third, fourth).flatten(2, 3)
    assert_same(train.updates, Built("none", "cp", (3,), prime, input=left, output=right).updates)


def test_i20_full_small_modes_are_tucker2():
    tucker = Built("qkv_depth", "tucker", (3, 4, PROJECTIONS, LAYERS))
    core = einsum("abcd,pc,ld->abpl", tucker.core, tucker.projection, tucker.layer)
    assert_same(
        tucker.updates,
        Built(
            "qkv_depth", "tucker2", (3, 4), input=tucker.input, output=tucker.output, core=core
        ).updates,
    )


def test_i21_stacking_restricts():
    both = Built("qkv_depth", "tucker", (3, 4, 2, 2))
    shared = {
        name: getattr(both, name).expand(PROJECTIONS, -1, -1)
        for name in ("input", "output", "layer")
    }
    depth = Built(
        "depth",
        "tucker",
        (3, 4, 2),
        **shared,
        core=einsum("abcd,pc->pabd", both.core, both.projection),
    )
    assert_same(both.updates, depth.updates)
    shared = {
        name: getattr(both, name).expand(LAYERS, -1, -1)
        for name in ("input", "output", "projection")
    }
    qkv = Built(
        "qkv", "tucker", (3, 4, 2), **shared, core=einsum("abcd,ld->labc", both.core, both.layer)
    )
    assert_same(both.updates, qkv.updates)


def test_i22_depth_tensors_fit_into_a_larger_stack():
    depth = Built("depth", "tucker", (2, 3, 2))
    core = torch.zeros(3 * 2, 3 * 3, PROJECTIONS, LAYERS, dtype=torch.float64)
    for p, one in enumerate(einsum("pabc,plc->pabl", depth.core, depth.layer)):
        core[2 * p : 2 * p + 2, 3 * p : 3 * p + 3, p] = one
    sides = {name: getattr(depth, name).transpose(0, 1).flatten(1) for name in ("input", "output")}
    identities = {"projection": eye(PROJECTIONS), "layer": eye(LAYERS)}
    stack = Built("qkv_depth", "tucker", (6, 9, 3, 2), **sides, **identities, core=core)
    assert_same(depth.updates, stack.updates)


@pytest.mark.parametrize("rest", ["none", "qkv", "depth", "qkv_depth"])
def test_i23_heads_restrict(rest):
    stacked = [mode for mode in CONSTRUCTIONS[rest].split() if mode in ("projection", "layer")]
    small = (2,) * len(stacked)
    att = Built("att" if rest == "none" else f"att_{rest}", "tucker", (4, 2, 2, *small))
    output = einsum("...hc,...eb->...hecb", att.head, att.head_dim).flatten(-4, -3).flatten(-2)
    at = len(att.tensor.looped)
    core = att.core.transpose(at + 1, at + 2).flatten(at + 1, at + 2)
    same = {name: getattr(att, name) for name in ("input", *stacked)}
    assert_same(
        att.updates, Built(rest, "tucker", (4, 4, *small), **same, output=output, core=core).updates
    )


@pytest.mark.parametrize("decomposition", ["sora", "adalora"])
def test_i14_gates_of_one_are_lora(decomposition):
    ones = torch.ones(PROJECTIONS, LAYERS, 4, dtype=torch.float64)
    gated = Built("none", decomposition, (4,), gate=ones)
    plain = Built("none", "cp", (4,), input=gated.input, output=gated.output)
    assert_same(gated.updates, plain.updates)
