"""A pack embeds its rows once, not once a trial; families that embed otherwise train all the
same."""

import pytest
import torch

from tenslora_search.backbone.shared import SharedEmbeddings
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec

N_TRIALS = 3


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "vit", "modernbert", "llama"])
def test_all_trials_get_what_the_first_computes(tiny, family):
    model, inputs = tiny(family)
    spec = AdapterSpec.of("qkv_depth", "cp", (2,), geometry_of(model))
    adapter = attach(model, [spec] * N_TRIALS, seeds=range(N_TRIALS))
    rows = {
        name: value.repeat(N_TRIALS, *(1,) * (value.ndim - 1)) for name, value in inputs.items()
    }
    expected = model(**rows).logits
    shared = SharedEmbeddings(model, N_TRIALS)
    torch.testing.assert_close(model(**rows).logits, expected)
    shared.detach()
    torch.testing.assert_close(model(**rows).logits, expected)
    adapter.detach()


def test_the_backbone_sees_one_trials_rows(tiny):
    model, inputs = tiny("bert")
    table, n_rows = model.base_model.embeddings.word_embeddings, len(inputs["input_ids"])
    seen: list[int] = []
    table.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    shared = SharedEmbeddings(model, N_TRIALS)
    model(
        **{name: value.repeat(N_TRIALS, *(1,) * (value.ndim - 1)) for name, value in inputs.items()}
    )
    shared.detach()
    assert seen == [n_rows]
