"""The classic ones: CP, Tucker, trains and rings, and sums of them."""

from tenslora_search.spec.decompositions.parts import along, chain, split, tall
from tenslora_search.spec.form import Axis, Factor, Form, bond


def cp(modes: tuple[Axis, ...]) -> Form:
    """A sum of r rank-one terms: W = sum_r u_1[:, r] x ... x u_n[:, r]. Over two modes it is LoRA.

    The output (or head_dim) factor starts at zero. Stacked modes and heads start as random signs,
    so that every slice starts at the same size (with Kaiming a high rank would be nearly frozen:
    methods.md 2.7). Reference: Kolda and Bader, Tensor Decompositions and Applications, SIAM Review
    51(3), 2009; LoRTA, arXiv 2410.04060.
    """
    starts = {"input": ("uniform", ("input",)), modes[1].name: ("zero", ())}
    return Form(
        tuple(
            Factor(mode.name, (mode, bond("r")), *starts.get(mode.name, ("signs", ())))
            for mode in modes
        )
    )


def tucker(modes: tuple[Axis, ...]) -> Form:
    """A core with a factor a mode: W = G x_1 U_1 ... x_n U_n. Bonds r_mode, one a mode.

    The core starts at zero, the factors have orthonormal columns.
    Reference: Tucker, Psychometrika 31(3), 1966; TensLoRA, arXiv 2509.19391.
    """
    factors = tuple(tall(mode) for mode in modes)
    return Form((*factors, Factor("core", tuple(factor.axes[1] for factor in factors))))


def tucker2(modes: tuple[Axis, ...]) -> Form:
    """Tucker whose heads and stacked modes keep their own index: a full r_input x r_output matrix a
    slice.

    Bonds r_input and r_output (r_head_dim). The core starts at zero.
    Reference: LoTR, arXiv 2402.01376 (construction `depth`); FacT-TT, arXiv 2212.03145.
    """
    left, right = tall(modes[0]), tall(modes[1])
    return Form((left, right, Factor("core", (left.axes[1], right.axes[1], *modes[2:]))))


def tensor_train(modes: tuple[Axis, ...]) -> Form:
    """A chain of cores, one a mode: W[i_1, ..., i_n] = G_1[i_1] G_2[i_2] ... G_n[i_n].

    The chain runs input, layer, projection, head, output (head_dim), so that the wide modes stand
    at its ends; bonds r_1 to r_(n-1) in that order. The output core starts at zero, the input core
    as LoRA's. Reference: Oseledets, Tensor-Train Decomposition, SIAM J. Sci. Comput. 33(5), 2011;
    MetaTT, arXiv 2506.09105.
    """
    return Form(chain(along(modes)))


def tensor_ring(modes: tuple[Axis, ...]) -> Form:
    """A tensor train whose ends are joined: W[i_1, ..., i_n] = trace(G_1[i_1] ... G_n[i_n]).

    Bonds r_1 to r_(n-1) along the chain, then r_ring, which joins output to input. The output core
    starts at zero. Reference: Zhao et al., Tensor Ring Decomposition, arXiv 1606.05535.
    """
    first, *middle, last = chain(along(modes))
    ring = bond("r_ring")
    return Form(
        (
            Factor(first.name, (*first.axes, ring), first.start, first.fan),
            *middle,
            Factor(last.name, (*last.axes, ring), last.start, last.fan),
        )
    )


def block_term(modes: tuple[Axis, ...]) -> Form:
    """A sum of Tucker terms: W = sum_b G_b x_1 U_1b ... x_n U_nb. One block is Tucker; ranks 1 are
    CP with trained weights.

    Bonds r_mode, one a mode, then `blocks`. The cores start at zero, the factors have orthonormal
    columns in each block. Reference: De Lathauwer, Decompositions of a Higher-Order Tensor in Block
    Terms II, SIAM J. Matrix Anal. 30(3), 2008.
    """
    blocks = bond("blocks")
    *tall, core = tucker(modes).factors
    return Form(
        tuple(
            Factor(factor.name, (*factor.axes, blocks), factor.start, factor.fan)
            for factor in (*tall, core)
        )
    )


def tensorised_tt(modes: tuple[Axis, ...]) -> Form:
    """A tensor train over reshaped weights: input and output are cut into two balanced parts, a
    core each.

    768 = 24 x 32. The chain runs input:1, input:2, layer, projection, head, output:1, output:2;
    bonds r_1, r_2, ... along it. Input parts stand before output parts, so the update is a pair
    whose rank is the smallest bond between them. The last core starts at zero. Reference: TT-LoRA,
    arXiv 2408.01008 (its examples have four cores too; that the last starts at zero is ours).
    """
    first, *middle, last = along(modes)
    return Form(chain((*split(first, 2), *middle, *split(last, 2))))
