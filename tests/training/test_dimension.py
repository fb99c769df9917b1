"""TwoNN on sets of known dimension; hidden states of a real model."""

import pytest
import torch

from tenslora_search.backbone.first_token import all_tokens, read_first_token
from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.goals import GOALS
from tenslora_search.runs.segment import Setting
from tenslora_search.spec.table import QuestionError
from tenslora_search.training.dimension import averaged, distinct, states_of_layers, twonn
from tenslora_search.training.segment import worker_backbone

SETTING = Setting("digits-vit", {"name": "digits"}, batch_size=32, max_steps=9)


def cube(dimension: int, n_points: int, seed: int = 0) -> torch.Tensor:
    """Points of a cube, uniform, in a plane of 20 dimensions."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.linalg.qr(torch.randn(20, dimension, generator=generator)).Q
    return torch.rand(n_points, dimension, generator=generator) @ plane.T


@pytest.mark.parametrize(("dimension", "low", "high"), [(2, 1.85, 2.1), (5, 4.2, 5.0)])
def test_known_dimensions_within_the_known_bias(dimension, low, high):
    points = cube(dimension, 1000)
    assert low < twonn(points) < high
    assert low - 0.3 < averaged(points) < high


def test_neither_repeats_nor_scale_nor_order_change_it():
    points = cube(3, 200)
    assert twonn(torch.cat([points, points[:50] + 1e-7])) == pytest.approx(twonn(points))
    assert twonn(1000 * points.flip(0)) == pytest.approx(twonn(points), rel=1e-4)
    assert len(distinct(torch.cat([points, points]))) == 200
    assert averaged(points) == averaged(points)


@pytest.mark.parametrize("points", [cube(2, 15), torch.zeros(100, 4), cube(2, 5).repeat(20, 1)])
def test_too_few_different_points_are_one_line(points):
    with pytest.raises(QuestionError, match="16 rows that differ"):
        averaged(points)


def test_states_of_a_real_model_are_of_all_tokens():
    """One more than layers, also where packs let the last layer read the first token alone."""
    backbone, data = worker_backbone(SETTING)
    states = states_of_layers(backbone.model, data.fit, 32)
    assert {tuple(one.shape) for one in states} == {(min(512, len(data.fit)), 64)}
    again = states_of_layers(backbone.model, data.fit, 50)
    assert all(
        torch.allclose(one, other, atol=1e-2) for one, other in zip(states, again, strict=True)
    )


def test_all_tokens_undoes_the_first_token_for_a_while():
    model = load_backbone("digits-vit", GOALS["classes"](tuple("0123456789"))).model.eval()
    size = model.config.image_size
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def last() -> torch.Tensor:
        return model.base_model(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]

    plain = last()
    assert read_first_token(model)
    assert not torch.allclose(last()[:, 1:], plain[:, 1:])
    with all_tokens():
        assert torch.equal(last(), plain)
    assert not torch.allclose(last()[:, 1:], plain[:, 1:])
