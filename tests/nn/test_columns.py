"""Fused maps: each family's layout, seen in its attention; what is not known is refused."""

import pytest
import torch
from torch import nn

from tenslora_search.export.factors import set_trial_factors, trial_factors
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_config
from tenslora_search.spec.table import QuestionError

USUAL = {
    "vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OLD = {"vocab_size": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16}
FALCON = {**USUAL, "alibi": False}
MODELS = {
    "gpt2": ("GPT2", OLD),
    "gpt_bigcode": ("GPTBigCode", {**OLD, "multi_query": False}),
    "gpt_bigcode, one key": ("GPTBigCode", {**OLD, "multi_query": True}),
    "bloom": ("Bloom", {"vocab_size": 32, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": ("Falcon", {**FALCON, "multi_query": False}),
    "falcon, one key": ("Falcon", {**FALCON, "multi_query": True}),
    "falcon, groups": ("Falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "gpt_neox": ("GPTNeoX", USUAL),
    "gpt_neox_japanese": ("GPTNeoXJapanese", USUAL),
    "persimmon": ("Persimmon", USUAL),
    "phi3": ("Phi3", {**USUAL, "num_key_value_heads": 4}),
    "phi3, groups": ("Phi3", {**USUAL, "num_key_value_heads": 2}),
    "phi3, one key": ("Phi3", {**USUAL, "num_key_value_heads": 1}),
    "modernbert": ("ModernBert", {**USUAL, "cls_token_id": 1, "sep_token_id": 2}),
}
KV_HEADS = {"gpt_bigcode, one key": 1, "falcon, one key": 1, "falcon, groups": 2}
KV_HEADS |= {"phi3, groups": 2, "phi3, one key": 1}


def model_of(name: str) -> nn.Module:
    import transformers

    architecture, sizes = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**sizes)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{architecture}Model")(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model


def refusal(call) -> str:
    with pytest.raises(QuestionError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("projection", ["query", "key", "value"])
@pytest.mark.parametrize("name", list(MODELS))
def test_an_update_of_one_head_moves_that_head_alone(name, projection):
    """Of query or key: its own rows of attention in the first layer; of value: no attention there,
    but what comes out.
    """
    model, ids = model_of(name), torch.randint(3, 32, (2, 6))
    geometry = geometry_of(model, (projection,))
    (group,) = geometry.groups
    kv_heads = KV_HEADS.get(name, 4)
    assert (group.heads, group.head_dim) == (4 if projection == "query" else kv_heads, 8)
    assert geometry == geometry_of_config(model.config.to_dict(), (projection,))
    with torch.no_grad():
        before = model(ids, output_attentions=True)
    adapter = attach(model, AdapterSpec.of("none", "cp", (1,), geometry))
    for head in range(group.heads):
        factors = {key: torch.zeros_like(value) for key, value in trial_factors(adapter).items()}
        of_input, of_output = factors.values()
        of_input[0, 0] = torch.randn(32, 1)
        of_output[0, 0, 8 * head : 8 * head + 8] = 3 * torch.randn(8, 1)
        set_trial_factors(adapter, factors)
        with torch.no_grad():
            after = model(ids, output_attentions=True)
        moved = (after.attentions[0] - before.attentions[0]).abs().amax((0, 2, 3)) > 1e-4
        share = 4 // group.heads
        expected = [projection != "value" and one // share == head for one in range(4)]
        assert moved.tolist() == expected
        assert not torch.allclose(after[0], before[0], atol=1e-4)


def test_a_value_of_one_head_reaches_its_channels():
    """BLOOM, whose heads follow each other: what the value map of head 2 adds, its output map
    reads there.
    """
    model, ids = model_of("bloom"), torch.randint(3, 32, (2, 6))
    adapter = attach(model, AdapterSpec.of("none", "cp", (1,), geometry_of(model, ("value",))))
    seen = []
    model.h[0].self_attention.dense.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    factors = {key: torch.zeros_like(value) for key, value in trial_factors(adapter).items()}
    model(ids)
    of_input, of_output = factors.values()
    of_input[0, 0], of_output[0, 0, 16:24] = torch.randn(32, 1), 1.0
    set_trial_factors(adapter, factors)
    model(ids)
    moved = (seen[1] - seen[0]).abs().amax((0, 1)) > 1e-5
    assert moved.nonzero().flatten().tolist() == list(range(16, 24))


@pytest.mark.parametrize(
    ("name", "target", "right"),
    [
        ("bloom", "query_key_value 0/3", "query_key_value groups"),
        ("bloom", "query_key_value blocks", "query_key_value groups"),
        ("bloom", "query_key_value 0:32", "query_key_value groups"),
        ("gpt_neox", "query_key_value 0/3", "query_key_value groups"),
        ("falcon, one key", "query_key_value 0/3", "query_key_value groups"),
        ("phi3, one key", "qkv_proj 0/3", "qkv_proj blocks"),
    ],
)
def test_a_word_for_where_heads_do_not_lie_is_refused(name, target, right):
    model = model_of(name)
    message = refusal(lambda: geometry_of(model, ["query"], targets={"query": target}))
    assert f"say '{right}', or leave targets out" in message
    by_layout = geometry_of(model, ["query"], targets={"query": right})
    assert by_layout == geometry_of(model, ["query"])


def test_some_heads_of_those_that_are_there_are_taken():
    exact = {"query": "query_key_value 24:32"}
    assert geometry_of(model_of("bloom"), ["query"], targets=exact, heads=1).groups[0].output == 8


def test_equal_blocks_that_are_right_are_taken():
    model = model_of("gpt2")
    targets = {"query": "c_attn 0/3", "value": "c_attn 2/3"}
    assert geometry_of(model, list(targets), targets=targets) == geometry_of(model, list(targets))
    assert "does not hold query as 1/3" in refusal(
        lambda: geometry_of(model, ["query"], targets={"query": "c_attn 1/3"})
    )
    message = refusal(lambda: geometry_of(model, ["query"], targets={"query": "c_attn 0:99"}))
    assert "outputs 0 to 95" in message


def test_a_layout_that_nobody_knows_is_refused():
    """CodeGen holds query, value and key in four runs; exact columns are the user's word."""
    import transformers

    model = transformers.CodeGenModel(
        transformers.CodeGenConfig(
            vocab_size=32, n_embd=32, n_layer=2, n_head=4, n_positions=16, rotary_dim=4
        )
    )
    message = refusal(lambda: geometry_of(model, ["query"], targets={"query": "qkv_proj 0/3"}))
    assert "nothing here knows how a codegen model lays out h.0.attn.qkv_proj" in message
    assert "say so: 'qkv_proj 0:32'" in message
    exact = {"query": "qkv_proj 0:8"}
    assert geometry_of(model, ["query"], targets=exact, heads=1).groups[0].output == 8


def test_a_config_that_does_not_fit_its_map_is_refused():
    model = model_of("phi3, groups")
    model.config.num_key_value_heads = 4
    assert "would be 96" in refusal(lambda: geometry_of(model))
