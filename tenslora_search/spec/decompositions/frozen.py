"""Adapters most of which is drawn, or read off the weights, and never trained nor counted."""

from tenslora_search.spec.decompositions.parts import length, stacked_and_heads
from tenslora_search.spec.form import Axis, Factor, Form, bond


def lora_fa(modes: tuple[Axis, ...]) -> Form:
    """LoRA whose A is drawn and frozen: W = A B, B trained from zero. Half of LoRA's parameters.

    All that is stacked, and heads, stand in B; bond r. Reference: LoRA-FA, arXiv 2308.03303,
    equation 3; that A starts as LoRA's (uniform) is our reading.
    """
    r = bond("r")
    inner = Factor("input", (modes[0], r), "uniform", ("input",), frozen=True)
    return Form((inner, Factor("output", (*modes[1:], r))))


def vera(modes: tuple[Axis, ...]) -> Form:
    """Two random matrices, frozen and shared by all that is stacked, scaled by trained vectors: W_l
    = A diag(d_l) B diag(b_l).

    Bond r, at most the smaller side of the map: beyond it the shared matrices would cost more than
    a dense update (the paper's 1,024 on a width of 768 is not held). b starts at zero, d at one.
    Reference: VeRA, arXiv 2310.11454, equation 2; A and B uniform (Kaiming) as in peft. d starts at
    .1 there; here the scale rule sets the size of the first step.
    """
    r, (stacked, heads) = bond("r"), stacked_and_heads(modes)
    side = (modes[1], *heads)
    return Form(
        (
            Factor("input", (modes[0], r), "uniform", ("input",), frozen=True),
            Factor("scale", (*stacked, r), "ones"),
            Factor("output", (*side, r), "uniform", ("r",), frozen=True),
            Factor("columns", (*stacked, *side)),
        ),
        limits={"r": min(length(modes[:1]), length(side))},
    )


def tera(modes: tuple[Axis, ...]) -> Form:
    """Tucker with a random core and random factors, frozen and shared by all that is stacked; a
    diagonal each is trained: W_l = G x_1 U_1 diag(d_1l) x_2 U_2 diag(d_2l).

    Bonds r_mode of input, output (head_dim, head), each at most its mode; it counts the diagonals
    alone, so ranks cost next to nothing. The output's diagonals start at zero, the others at one.
    Reference: TeRA, arXiv 2509.03234 (ACL 2026), abstract: a Tucker-like network of frozen shared
    factors and trained diagonals. The modes, the start and orthonormal factors are our reading.
    """
    stacked, heads = stacked_and_heads(modes)
    wide = (*modes[:2], *heads)
    bonds = [bond(f"r_{mode.name}") for mode in wide]
    return Form(
        (
            *(
                Factor(mode.name, (mode, r), "orthonormal", (mode.name,), frozen=True)
                for mode, r in zip(wide, bonds, strict=True)
            ),
            *(
                Factor(f"{mode.name}_scale", (*stacked, r), "zero" if mode is modes[1] else "ones")
                for mode, r in zip(wide, bonds, strict=True)
            ),
            Factor("core", tuple(bonds), "normal", ("r_input",), frozen=True),
        ),
        limits={r.name: length((mode,)) for mode, r in zip(wide, bonds, strict=True)},
    )


def lora_xs(modes: tuple[Axis, ...]) -> Form:
    """A small matrix between the singular vectors of the frozen weight: W = U S R V^T, R trained.

    U S and V are the leading ones, frozen; R, r_input x r_output, starts at zero. Where a
    construction stacks, they are those of the stacked weights (an HOSVD) and R is a matrix for each
    slice: ours, as is the size of S, whose mean square is 1. Without a model they are random.
    Reference: LoRA-XS, arXiv 2405.17604, equation 2 (construction `none`, R square; its R starts at
    N(0, 1e-10)).
    """
    left, right = bond("r_input"), bond(f"r_{modes[1].name}")
    return Form(
        (
            Factor("input", (modes[0], left), "principal", ("input",), frozen=True),
            Factor(modes[1].name, (modes[1], right), "singular", (modes[1].name,), frozen=True),
            Factor("core", (left, right, *modes[2:])),
        )
    )
