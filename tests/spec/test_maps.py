"""MAPS: what LoRAN's does to an update, and what it does not (I15)."""

import torch

from tenslora_search.spec.maps import sinter


def test_i15_an_amplitude_of_zero_is_lora():
    update = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sinter(update, amplitude=0.0, frequency=1e4), update)


def test_training_starts_as_without_it():
    """f(0) = 0 and f'(0) = 1."""
    zero = torch.zeros(3, 3, requires_grad=True)
    made = sinter(zero, amplitude=1e-3, frequency=500.0)
    (slope,) = torch.autograd.grad(made.sum(), zero)
    assert not made.any()
    assert torch.equal(slope, torch.ones(3, 3))


def test_low_rank_becomes_full_rank():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator).double() for shape in ((8, 2), (2, 8)))
    update = left @ right
    made = sinter(update, amplitude=1e-3, frequency=500.0)
    assert torch.linalg.matrix_rank(update) == 2
    assert torch.linalg.matrix_rank(made) == 8
