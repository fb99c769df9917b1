"""PackedAdamW: the soft threshold against its closed form, decay and rates by factor, restarts."""

import pytest
import torch
from torch import nn

from tenslora_search.spec.form import Care
from tenslora_search.training.optimizer import PackedAdamW, Part


def optimizer(cares: list[Care], values: torch.Tensor, **options) -> PackedAdamW:
    """One parameter (trial, entry) with a rate of .1 in every trial."""
    n_trials = len(cares)
    decay = torch.full((n_trials,), options.get("decay", 0.0))
    part = Part(nn.Parameter(values.clone()), range(n_trials), [0.1] * n_trials, cares)
    return PackedAdamW([part], weight_decay=decay, clip=torch.full((n_trials,), 1e9))


def step(one: PackedAdamW, gradient: torch.Tensor, share: float = 1.0, number: int = 1) -> None:
    n_trials = len(one.values)
    numbers = torch.full((n_trials,), number, dtype=torch.float64)
    one.step([gradient], numbers, torch.full((n_trials,), share))


VALUES = torch.tensor([-1.0, -0.31, -0.3, -0.29, -0.0, 0.0, 0.1, 0.3, 0.45, 0.59, 0.61, 2.0])


def test_the_threshold_is_the_proximal_step_of_an_l1_norm():
    """sign(v) max(|v| - xi, 0), the minimiser of xi |u| + (u - v)^2 / 2: no dead zone between xi
    and 2 xi, where the published code zeroes.
    """
    xi = 0.3
    found = optimizer([Care(shrink=xi), Care()], VALUES.expand(2, -1))
    step(found, torch.zeros(2, len(VALUES)))
    grid = torch.linspace(-3, 3, 60_001)
    best = grid[(xi * grid.abs() + (grid - VALUES[:, None]).square() / 2).argmin(1)]
    torch.testing.assert_close(found.values[0], best, atol=2e-4, rtol=0)
    between = (VALUES.abs() > xi) & (VALUES.abs() < 2 * xi)
    assert between.any()
    assert (found.values[0][between] != 0).all()
    assert (found.values[0][VALUES.abs() <= xi] == 0).all()
    assert torch.equal(found.values[1], VALUES)


@pytest.mark.parametrize(("shrink", "fading"), [(0.0, 0.2), (0.1, 0.2)])
def test_a_fading_threshold_follows_the_schedule(shrink, fading):
    found = optimizer([Care(shrink=shrink, fading_shrink=fading)], VALUES[None])
    step(found, torch.zeros(1, len(VALUES)), share=0.25)
    threshold = shrink + 0.25 * fading
    expected = VALUES.sign() * (VALUES.abs() - threshold).clamp_min(0)
    torch.testing.assert_close(found.values[0], expected)


def test_what_no_trial_asks_for_is_not_there():
    plain = optimizer([Care(), Care(rate=2.0)], VALUES.expand(2, -1))
    assert plain._shrink is None
    assert plain._fading is None
    assert plain._decay.shape == (2, 1)


def test_decay_spares_what_a_rule_spares():
    found = optimizer([Care(), Care(decays=False)], VALUES.expand(2, -1), decay=0.5)
    step(found, torch.zeros(2, len(VALUES)))
    torch.testing.assert_close(found.values[0], VALUES * (1 - 0.1 * 0.5))
    assert torch.equal(found.values[1], VALUES)


def test_the_threshold_comes_after_adams_step():
    found = optimizer([Care(rate=2.0, shrink=0.05)], VALUES[None])
    step(found, torch.ones(1, len(VALUES)))
    stepped = VALUES - 0.2
    expected = stepped.sign() * (stepped.abs() - 0.05).clamp_min(0)
    torch.testing.assert_close(found.values[0], expected, atol=1e-6, rtol=1e-5)


def test_steps_are_numbered_by_trial():
    """A trial that restarted steps as if new beside one that goes on."""
    both = optimizer([Care(), Care()], VALUES.expand(2, -1))
    gradients = [torch.randn(len(VALUES)) for _ in range(3)]
    for number in (1, 2):
        step(both, gradients[number - 1].expand(2, -1), number=number)
    both.restart(1)
    before = both.values.clone()
    both.step([gradients[2].expand(2, -1)], torch.tensor([3.0, 1.0]).double(), torch.ones(2))
    new = optimizer([Care()], before[1:])
    step(new, gradients[2][None])
    torch.testing.assert_close(both.values[1], new.values[0])
    assert not both.values[0].allclose(new.values[0])


def test_cares_join():
    joined = Care(2.0, 0.1, 0.3) & Care(3.0, 0.2, decays=False)
    assert joined == Care(6.0, pytest.approx(0.3), pytest.approx(0.3), False)
    assert (Care() & Care()) == Care()
