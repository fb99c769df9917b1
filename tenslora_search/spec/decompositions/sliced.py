"""Tensors over all slices of a model as one fused mode, the wide maps of an MLP cut into slices."""

from tenslora_search.spec.decompositions.parts import sliced, stacked_and_heads
from tenslora_search.spec.form import Axis, Factor, Form, bond


def fact_tk(modes: tuple[Axis, ...]) -> Form:
    """Tucker with one factor for all that is stacked: W_i = U (sum_k P[i, k] C[:, :, k]) V^T, i a
    slice.

    Bonds r_input, r_output (r_head_dim), r_slice; FacT takes one size for all three. The slices
    are the heads, projections and layers that the construction spans, fused, and the parts of an
    output that is some times as wide as the input (an MLP's). V starts at zero, U as LoRA's A.
    Reference: FacT (TK), arXiv 2212.03145, section 3.3; its code (JieShibo/PETL-ViT) starts so, but
    for C and P, Xavier there and normal here. `down` and `out` are read transposed: ours.
    """
    cuts, wide = sliced(modes[1], modes[0])
    left, right, r = bond("r_input"), bond(f"r_{modes[1].name}"), bond("r_slice")
    return Form(
        (
            Factor("input", (modes[0], left), "uniform", ("input",)),
            Factor(modes[1].name, (wide, right)),
            Factor("slice", (*cuts, *modes[2:], r), "normal", ("r_slice",)),
            Factor("core", (left, right, r), "normal", ("r_input",)),
        )
    )


def cara(modes: tuple[Axis, ...]) -> Form:
    """CP with trained weights, all that is stacked in one factor: W = sum_r w[r] s[:, r] x
    u_1[:, r] x ... x u_n[:, r].

    Over heads, maps and layers it is CaRA's attention tensor (3L, d, H, d_h); over the maps of an
    MLP, whose wide side is cut into slices of the width, its other one (8L, d, d). The input factor
    starts at zero, weights at one. Reference: CaRA, ICML 2025 (PMLR 267), and its code
    (BonnBytes/CaRA). Ours: normal entries where it has Xavier or orthogonal ones, `out` among the
    attention maps and not beside the MLP's, `down` and `out` read transposed, no biases.
    """
    r, (cuts, wide) = bond("r"), sliced(modes[1], modes[0])
    stacked, heads = stacked_and_heads(modes)
    slices = (*cuts, *stacked)
    return Form(
        (
            Factor("input", (modes[0], r)),
            Factor(modes[1].name, (wide, r), "normal", (wide.name,)),
            *(Factor(mode.name, (mode, r), "normal") for mode in heads),
            *((Factor("slice", (*slices, r), "normal"),) if slices else ()),
            Factor("weights", (r,), "ones"),
        )
    )
