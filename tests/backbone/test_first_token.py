"""The last layer goes on with the first token where the head reads no other; logits and gradients
are what they were.
"""

import copy

import pytest
import torch
from transformers import BeitConfig, BeitForImageClassification

from tenslora_search.backbone.first_token import read_first_token

READ_THE_FIRST = ["bert", "roberta", "vit"]


def inputs(model) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        return {"pixel_values": torch.randn(3, 3, size, size, generator=generator)}
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [1] * 3 + [0] * 5])
    return {
        "input_ids": torch.randint(3, 32, (3, 8), generator=generator) * mask,
        "attention_mask": mask,
    }


@pytest.mark.parametrize("family", READ_THE_FIRST)
def test_logits_and_gradients_stay(tiny, family):
    whole, _ = tiny(family)
    less = copy.deepcopy(whole)
    assert read_first_token(less)
    logits = [model(**inputs(whole)).logits for model in (whole, less)]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-5, atol=1e-6)
    for one in logits:
        one.square().sum().backward()
    for (name, of_whole), of_less in zip(whole.named_parameters(), less.parameters(), strict=True):
        assert (of_whole.grad is None) == (of_less.grad is None), name
        if of_whole.grad is not None:
            torch.testing.assert_close(
                of_less.grad,
                of_whole.grad,
                rtol=1e-4,
                atol=1e-5,
                msg=lambda text, name=name: f"{name}: {text}",
            )


@pytest.mark.parametrize("family", READ_THE_FIRST)
def test_the_last_layer_has_one_token_a_row(tiny, family):
    model, _ = tiny(family)
    read_first_token(model)
    widths = {}
    for name, module in model.named_modules():
        if (
            isinstance(module, torch.nn.Linear)
            and module.in_features == model.config.intermediate_size
        ):
            module.register_forward_hook(
                lambda module, args, y, name=name: widths.update({name: args[0].shape[1]})
            )
    given = next(iter(inputs(model).values()))
    model(**inputs(model))
    *others, last = widths.values()
    assert last == 1
    assert len(others) >= 1
    assert all(width > 1 for width in others), (family, given.shape)


@pytest.mark.parametrize("family", ["llama", "gpt2", "distilbert"])
def test_others_stay_as_they_are(tiny, family):
    model, _ = tiny(family)
    expected = model(**inputs(model)).logits
    assert not read_first_token(model)
    assert torch.equal(model(**inputs(model)).logits, expected)


def test_a_head_that_reads_the_mean_gets_all_tokens():
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    model = BeitForImageClassification(
        BeitConfig(image_size=16, patch_size=4, use_mean_pooling=True, **sizes)
    ).eval()
    assert not read_first_token(model)


def test_a_head_of_zeros_tells_nothing(tiny):
    model, _ = tiny("bert")
    with torch.no_grad():
        model.classifier.weight.zero_()
    assert not read_first_token(model)
