"""Folded attention gives what torch's gives, text by text, for encoders and decoders of every
family that has it.
"""

import copy

import pytest
import torch
from transformers import PreTrainedModel, masking_utils
from transformers.masking_utils import bidirectional_mask_function

from tenslora_search.backbone.attention import TILE, fold_attention, folded_mask, trials_apart

FAMILIES = ["bert", "roberta", "distilbert", "modernbert", "llama", "qwen3", "gpt2"]


def batch(model, n_texts: int, length: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(n_texts + length)
    lengths = torch.randint(2, length + 1, (n_texts,), generator=generator)
    mask = (torch.arange(length) < lengths[:, None]).long()
    return {
        "input_ids": torch.randint(3, 32, (n_texts, length), generator=generator) * mask,
        "attention_mask": mask,
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("n_texts", "length"), [(8, 16), (6, 8), (5, 16), (4, 32), (3, 33)])
def test_folding_changes_nothing(tiny, family, n_texts, length):
    model, _ = tiny(family)
    model.set_attn_implementation("sdpa")
    folded = copy.deepcopy(model)
    fold_attention(folded)
    assert folded.config._attn_implementation == "folded"
    inputs = batch(model, n_texts, length)
    torch.testing.assert_close(
        folded(**inputs).logits, model(**inputs).logits, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("n_texts", "length"), [(4, 16), (2, 34)])
def test_a_decoder_needs_no_mask(tiny, n_texts, length):
    """Nor does anybody look into its batch, which would wait for the GPU."""
    model, _ = tiny("llama")
    model.set_attn_implementation("sdpa")
    ids = batch(model, n_texts, length)["input_ids"]
    expected = model.base_model(input_ids=ids)[0]
    fold_attention(model)
    with trials_apart(model, 2):
        found = model.base_model(input_ids=ids)[0]
        assert masking_utils.find_packed_sequence_indices(ids) is None
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert masking_utils.find_packed_sequence_indices(ids) is not None
    options = {"config": model.config, "mask_function": bidirectional_mask_function}
    whole = folded_mask(2, 40, 40, allow_is_causal_skip=True, **options)
    assert whole is None
    assert folded_mask(2, 40, 40, allow_is_causal_skip=True, local_size=8, **options) is not None


def test_nobody_looks_for_padding_that_no_token_sees(tiny, monkeypatch):
    """GPT-2 with one token for padding and the end of a text would warn of it."""
    looks = []
    look = "warn_if_padding_and_no_attention_mask"
    monkeypatch.setattr(PreTrainedModel, look, lambda *about: looks.append(about))
    model, _ = tiny("gpt2", "LMHeadModel", pad_token_id=0, eos_token_id=0)
    ids = torch.tensor([[5, 6, 0, 0]])
    with trials_apart(model, 1):
        model(input_ids=ids)
    assert not looks
    model(input_ids=ids)
    assert len(looks) == 1


def test_a_tile_is_filled_with_texts_that_see_only_themselves():
    mask = folded_mask(8, 16, 16, mask_function=bidirectional_mask_function, dtype=torch.float32)
    assert mask is not None
    assert mask.shape == (8 * 16 // TILE, 1, TILE, TILE)
    seen = (mask[0, 0] == 0).view(4, 16, 4, 16).all(3).all(1)
    assert torch.equal(seen, torch.eye(4, dtype=torch.bool))


def test_a_model_without_torch_attention_stays_as_it_is(tiny):
    model, _ = tiny("bert")
    model.set_attn_implementation("eager")
    fold_attention(model)
    assert model.config._attn_implementation == "eager"
