"""What unfoldings hold of a gradient, and what adapters can hold of it at most."""

import pytest
import torch

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.caught import RANKS, caught, held_of, unfoldings
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError
from tenslora_search.training.spectra import spectra

GEOMETRY = Geometry.attention(12, 3, 4, projections=("query", "value", "out"))


def gradients_of(whole: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """As a model has them, of (projection, layer, input, output); `out` is read backwards."""
    group = GEOMETRY.groups[0]
    return {
        name: [one.T if name in group.transposed else one for one in rows]
        for name, rows in zip(group.projections, whole, strict=True)
    }


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def held(whole: torch.Tensor):
    return held_of([GEOMETRY], spectra(GEOMETRY, gradients_of(whole)))[GEOMETRY]


def test_lora_holds_the_leading_singular_values_of_each_map():
    whole = drawn(3, 4, 12, 12)
    lora = AdapterSpec.of("none", "cp", 4, GEOMETRY)
    squares = torch.linalg.svdvals(whole).square()
    share = float(squares[..., :4].sum() / squares.sum())
    assert caught(lora, held(whole)) == pytest.approx(share, rel=1e-5)


def test_a_gradient_of_low_rank_is_held_by_its_own_structure_alone():
    core, left, right, layer = drawn(3, 2, 2, 2), drawn(3, 12, 2), drawn(3, 12, 2), drawn(3, 4, 2)
    found = held(torch.einsum("pabc,pia,pob,plc->plio", core, left, right, layer))

    def share(construction: str, decomposition: str, ranks) -> float:
        return caught(AdapterSpec.of(construction, decomposition, ranks, GEOMETRY), found)

    assert share("depth", "tucker", (2, 2, 2)) == pytest.approx(1)
    assert share("depth", "tucker", (2, 2, 1)) < 0.99
    assert share("depth", "tensor_train", (2, 2)) == pytest.approx(1)
    assert share("depth", "tensor_train", (1, 2)) < 0.99
    assert share("none", "cp", 2) == pytest.approx(1)
    assert share("none", "cp", 1) < 0.99
    assert share("qkv", "tucker", (2, 2, 3)) < 0.99


@pytest.mark.parametrize("decomposition", list(DECOMPOSITIONS))
def test_more_ranks_hold_no_less(decomposition):
    found = held(drawn(3, 4, 12, 12))
    structure = Structure.of("depth", decomposition, GEOMETRY)
    shares = [
        caught(AdapterSpec.over(structure, structure.clip((rank,) * len(structure.bonds))), found)
        for rank in (1, 2, 4)
    ]
    assert 0 < shares[0] <= shares[1] <= shares[2] <= 1 + 1e-6


def test_another_number_of_numbers_is_refused():
    numbers = [0.0] * len(RANKS) * len(unfoldings(GEOMETRY))
    assert len(held_of([GEOMETRY, GEOMETRY], numbers * 2)) == 1
    with pytest.raises(QuestionError, match="of the probe gradient_spectra; there are 3"):
        held_of([GEOMETRY], numbers[:3])
