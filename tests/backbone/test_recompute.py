"""Layers that are computed again in backward: the same gradients, and the model as it was."""

import pytest
import torch

from tenslora_search.backbone.recompute import layers_of, recomputed
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_gradients_are_the_same(family, tiny, small_spec, perturb):
    model, inputs = tiny(family)
    assert len(layers_of(model)) == 2
    adapter = attach(model, small_spec("none", "cp", geometry_of(model)), train_head=False)
    perturb(adapter, 0.3)

    def gradients():
        loss = model(**inputs).logits.square().sum()
        return torch.autograd.grad(loss, list(adapter.parameters()))

    plain = gradients()
    with recomputed(model):
        again = gradients()
    assert all("forward" not in layer.__dict__ for layer in layers_of(model))
    torch.testing.assert_close(again, plain)
