"""What training leaves of an adapter: terms that a zero shuts are not counted, nor single zeros."""

import pytest
import torch

from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.training.nonzero import n_nonzero

GEOMETRY = Geometry.attention(8, 2, 2)


def trained(*words, **options) -> FactoredTensor:
    """One trial's tensor whose entries are all as after training: not zero."""
    spec = AdapterSpec.of(*words, GEOMETRY, **options)
    tensor = FactoredTensor([spec], 0, [torch.Generator().manual_seed(0)])
    with torch.no_grad():
        for name, value in tensor.arrays.items():
            value[0] += tensor.entries(name, 0).float()
    return tensor


@pytest.mark.parametrize(
    "words",
    [
        ("none", "cp", (3,)),
        ("none", "sora", [(1 + k % 3,) for k in range(6)]),
        ("qkv_depth", "tucker", (3, 2, 2, 2)),
        ("none", "nb_lora", (3,)),
    ],
)
def test_all_of_what_has_no_zeros(words):
    assert n_nonzero([(trained(*words), 0)]) == AdapterSpec.of(*words, GEOMETRY).n_params


def test_a_shut_gate_takes_its_term_with_it():
    """nnz(g) (d_in + d_out + 1), over all maps."""
    tensor = trained("none", "sora", (4,))
    with torch.no_grad():
        tensor.factors["gate"][0, 0, 0, :3] = 0.0
        tensor.factors["gate"][0, 2, 1, 1] = 0.0
    assert n_nonzero([(tensor, 0)]) == (6 * 4 - 4) * (8 + 8 + 1)


def test_single_zeros_are_left_out_and_their_terms_stay():
    tensor = trained("none", "cp", (2,))
    with torch.no_grad():
        tensor.factors["input"][0, ..., :3, 0] = 0.0
    assert n_nonzero([(tensor, 0)]) == 6 * (2 * 16 - 3)


def test_an_update_that_is_still_zero_has_nothing_left():
    spec = AdapterSpec.of("none", "cp", (2,), GEOMETRY)
    tensor = FactoredTensor([spec], 0, [torch.Generator()])
    assert n_nonzero([(tensor, 0)]) == 0
