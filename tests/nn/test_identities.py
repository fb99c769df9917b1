"""Who contains whom: the identities of the methods as equal updates in float64.

I1 to I15 and I17 to I23 of docs/methods.md; what is new in the family stands at the end.
"""

import pytest
import torch
from torch import Tensor, einsum

from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import Measured, gelora, ramp
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.maps import sinter
from tenslora_search.spec.structure import Structure

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
        return self.tensor.whole()[0].expand(len(group.projections), group.layers, -1, -1).detach()


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
    tk = Built("qkv_depth", "fact_tk", (3, 4, 3))
    rows = tk.slice.reshape(1, PROJECTIONS * LAYERS, 3)
    sides = {"input": tk.input[None], "output": tk.output[None]}
    one = Built("depth", "tucker", (3, 4, 3), FUSED, **sides, core=tk.core[None], layer=rows)
    assert_same(tk.updates.flatten(0, 1), one.updates[0])
    mixed = einsum("abk,psk->abps", tk.core, tk.slice)
    tt = Built("qkv_depth", "tucker2", (3, 4), input=tk.input, output=tk.output, core=mixed)
    assert_same(tt.updates, tk.updates)
    free = Built("qkv_depth", "tucker2", (3, 3))
    assert_same(free.updates[2, 1], free.input @ free.core[..., 2, 1] @ free.output.T)


def test_i7_cp_is_lotr_with_diagonal_matrices():
    cp = Built("qkv_depth", "cp", (3,))
    core = torch.diag_embed(einsum("pr,lr->plr", cp.projection, cp.layer)).permute(2, 3, 0, 1)
    assert_same(
        cp.updates,
        Built("qkv_depth", "tucker2", (3, 3), input=cp.input, output=cp.output, core=core).updates,
    )


def test_i8_cp_is_within_cara():
    cp = Built("att_qkv_depth", "cp", (3,))
    rows = einsum("pr,lr->plr", cp.projection, cp.layer)
    sides = {name: getattr(cp, name) for name in ("input", "head", "head_dim")}
    weights = torch.ones(3, dtype=torch.float64)
    cara = Built("att_qkv_depth", "cara", (3,), **sides, slice=rows, weights=weights)
    assert_same(cp.updates, cara.updates)


def test_i8_caras_other_tensor_holds_slices_of_the_width():
    """(8L, d, d): up and down in two slices each here, down read transposed."""
    wide = Geometry.attention(HIDDEN, HEADS, LAYERS, inner=2 * HIDDEN, projections=("up", "down"))
    cara = Built("att_qkv_depth", "cara", (3,), wide)
    terms = cara.weights, cara.input, cara.head_dim, cara.head[0]
    for k, part in enumerate(cara.updates.chunk(2, dim=-1)):
        expected = einsum("r,ir,or,r,plr->plio", *terms, cara.slice[k])
        assert_same(part, expected)


def test_i9_lorta_is_cp_over_four_maps():
    """Head h of map m in layer l: A diag(C_h C_m C_l) B; the output projection read transposed."""
    four = Geometry.attention(HIDDEN, HEADS, LAYERS, projections=("query", "key", "value", "out"))
    cp = Built("att_qkv_depth", "cp", (3,), four)
    mixing = torch.diag_embed(einsum("hr,mr,lr->mlhr", cp.head, cp.projection, cp.layer))
    blocks = einsum("ir,mlhrs,es->mlihe", cp.input, mixing, cp.head_dim)
    assert_same(cp.updates, blocks.flatten(-2))
    count = AdapterSpec.of("att_qkv_depth", "cp", (3,), four).n_params
    assert count == 3 * (HIDDEN + HEAD_DIM + HEADS + LAYERS + 4)


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


def test_i14_sora_with_open_gates_is_lora():
    ones = torch.ones(PROJECTIONS, LAYERS, 3, dtype=torch.float64)
    sora = Built("none", "sora", (3,), gate=ones)
    assert_same(
        sora.updates, Built("none", "cp", (3,), input=sora.input, output=sora.output).updates
    )
    shut = Built("none", "sora", (3,))
    absorbed = shut.output * shut.gate.unsqueeze(-2)
    assert_same(shut.updates, Built("none", "cp", (3,), input=shut.input, output=absorbed).updates)


def test_i15_loran_without_amplitude_is_lora():
    update = Built("none", "cp", (3,)).updates
    assert torch.equal(sinter(update, amplitude=0.0), update)
    changed = sinter(update, amplitude=5e-2, frequency=40.0)
    assert torch.linalg.matrix_rank(update).unique().tolist() == [3]
    assert torch.linalg.matrix_rank(changed).unique().tolist() == [HIDDEN]


def test_i17_gelora_is_lora_with_a_rank_a_layer():
    """Where no layer gains dimensions it is LoRA of one rank."""
    structure, names = Structure.of("none", "cp", THREE), ("query", "key", "value")
    size = 4 * structure.smallest
    flat = gelora().divide(structure, size, [0.5], Measured((5.0,) * (LAYERS + 1), names))
    assert AdapterSpec.over(structure, flat).canonical().ranks == (4,)
    steep = gelora().divide(structure, size, [0.5], Measured((3.0, 3.0, 6.0), names))
    adapter = AdapterSpec.over(structure, steep)
    first, last = adapter.ranks[:LAYERS]
    assert adapter.ranks == (first, last) * PROJECTIONS
    assert last > first
    assert adapter.n_params <= size


def test_i17_a_level_ramp_is_lora():
    structure = Structure.of("none", "cp", THREE)
    size = 2 * structure.smallest
    level = ramp(ratio=1.0).divide(structure, size, [0.5], Measured())
    assert AdapterSpec.over(structure, level).canonical().ranks == (2,)


def test_i18_lora_is_the_sum_of_its_groups_of_columns():
    lora = Built("none", "cp", (4,))
    parts = [
        Built("none", "cp", (2,), input=lora.input[..., some], output=lora.output[..., some])
        for some in (slice(0, 2), slice(2, 4))
    ]
    assert_same(lora.updates, parts[0].updates + parts[1].updates)


def test_i19_nb_lora_reaches_any_matrix_within_its_bounds():
    """W = U diag(w) V^T, w below s: A = diag(a) U^T and B = diag(b) V^T with a^2 + b^2 = 1 and
    2 a b s = w; the Cayley transform is its own inverse.
    """
    geometry = Geometry.attention(HIDDEN, HEADS, 1, projections=("query",))
    bound = 0.5**0.5  # delta softmax(0)^(1/p) of rank 2 and p 2
    target = Built("none", "cp", (2,), geometry).updates[0, 0]
    u, w, vh = torch.linalg.svd(target)
    target = target * 0.9 * bound / w[0]
    share = (w * 0.9 / w[0])[:2]  # of the bound: 2 a b
    a = ((1 + (1 - share**2).sqrt()) / 2).sqrt()
    stacked = torch.cat([u[:, :2] * a, vh[:2].T * (1 - a**2).sqrt()])
    top, rest = stacked[:2], stacked[2:]
    z = torch.linalg.solve(eye(2) + top, eye(2) - top)
    v = -rest @ (eye(2) + z) / 2
    free = torch.cat([(z - v.T @ v) / 2, v])
    even = torch.zeros(1, 1, 2, dtype=torch.float64)
    reached = Built(
        "none",
        "nb_lora",
        (2,),
        geometry,
        input=free[None, None, :HIDDEN],
        output=free[None, None, HIDDEN:],
        bounds=even,
    )
    assert_same(reached.updates[0, 0], target)


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


def test_i14_adalora_with_gates_of_one_is_lora():
    ones = torch.ones(PROJECTIONS, LAYERS, 4, dtype=torch.float64)
    gated = Built("none", "adalora", (4,), gate=ones)
    plain = Built("none", "cp", (4,), input=gated.input, output=gated.output)
    assert_same(gated.updates, plain.updates)


def test_loretta_is_lora_of_two_trains():
    built = Built("none", "loretta", (2, 3, 2, 2, 2, 3, 2))
    one, two, three, down, up, *outer = (
        built.tensor.factors[f.name][0].detach() for f in built.tensor.network.factors
    )
    left = einsum("plia,plajb,plbkc,plcr->plijkr", one, two, three, down).flatten(2, 4)
    right = einsum("plra,plaxb,plbyc,plcz->plxyzr", up, *outer).flatten(2, 4)
    assert_same(built.updates, Built("none", "cp", (2,), input=left, output=right).updates)


@pytest.mark.parametrize(("method", "known"), [("lora_fa", "cp"), ("lora_xs", "tucker2")])
def test_frozen_factors_are_those_of_the_method_without(method, known):
    """What is frozen takes the same place; no more than that can be learnt."""
    n_bonds = len(Structure.of("none", method, THREE).bonds)
    frozen = Built("none", method, (3, 3)[:n_bonds])
    arrays = {name: value[0].detach() for name, value in frozen.tensor.arrays.items()}
    assert_same(frozen.updates, Built("none", known, (3, 3)[:n_bonds], **arrays).updates)


def test_vera_and_tera_are_diagonals_between_shared_factors():
    vera = Built("qkv_depth", "vera", (5,))
    a, b = (vera.tensor.arrays[name][0] for name in ("input", "output"))
    scaled = einsum("ir,plr,or->plio", a, vera.scale, b) * vera.columns.unsqueeze(2)
    assert_same(vera.updates, scaled)
    tera = Built("qkv_depth", "tera", (5, 4))
    a, b, core = (tera.tensor.arrays[name][0] for name in ("input", "output", "core"))
    left, right = tera.input_scale, tera.output_scale
    assert_same(tera.updates, einsum("ia,pla,ab,plb,ob->plio", a, left, core, right, b))


def test_quanta_is_a_product_of_gates_less_its_start():
    """Each gate as the Kronecker product it is, over 12 = 2 x 2 x 3."""
    built = Built("none", "quanta", ())
    arrays = {name: value[0, 0, 0].detach() for name, value in built.tensor.arrays.items()}
    sizes, whole = (1, 2, 2, 3), []
    for is_now in (True, False):
        product = torch.eye(HIDDEN, dtype=torch.float64)
        for i in range(4):
            for j in range(i + 1, 4):
                gate = arrays[f"start_{i}_{j}"] + is_now * arrays[f"gate_{i}_{j}"]
                rest = [eye(n) for k, n in enumerate(sizes) if k not in (i, j)]
                axes = "".join(letter for k, letter in enumerate("abcd") if k not in (i, j))
                terms = [f"{'abcd'[i]}{'abcd'[j]}{'ABCD'[i]}{'ABCD'[j]}"]
                terms += [one + one.upper() for one in axes]
                matrix = einsum(f"{','.join(terms)}->abcdABCD", gate, *rest)
                product = product @ matrix.reshape(HIDDEN, HIDDEN)
        whole.append(product)
    assert_same(built.updates[0, 0], whole[0] - whole[1])


def test_tensor_guide_makes_both_factors_with_one_train():
    built = Built("none", "tensor_guide", (3,))
    t = {name: value[0].detach() for name, value in built.tensor.arrays.items()}
    cores = [t[name] for name in ("noise", "first", "ranks", "second")]
    train = einsum("plnm,plbnxk,plkrq,plqmy->plbxyr", *cores)
    left, right = (
        einsum("plsb,plbxyr->plsxyr", t[side], train).flatten(2, 4)
        for side in ("input_rows", "output_rows")
    )
    assert_same(built.updates, Built("none", "cp", (3,), input=left, output=right).updates)
