"""made_ready: on a CPU that multiplies in bfloat16 a model runs in it, close to float32, and
attends in float32.
"""

import copy

import pytest
import torch

from tenslora_search.backbone import ready
from tenslora_search.backbone.attention import IN_FLOAT32

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU test_gpu.py says it")


@pytest.fixture(params=["bert", "roberta", "vit", "llama", "gpt2"])
def model_and_inputs(request, tiny):
    model, inputs = tiny(request.param)
    model.set_attn_implementation("sdpa")
    return model, inputs


def in_bfloat16(model, monkeypatch, **options):
    monkeypatch.setattr(ready, "cpu_multiplies_bfloat16", lambda: True)
    return ready.made_ready(copy.deepcopy(model), **options)


def test_logits_and_gradients_are_close(model_and_inputs, monkeypatch):
    model, inputs = model_and_inputs
    fast = in_bfloat16(model, monkeypatch)
    assert fast.config._attn_implementation == IN_FLOAT32
    rounded = {
        name: value.bfloat16() if value.is_floating_point() else value
        for name, value in inputs.items()
    }
    expected, found = model(**inputs).logits, fast(**rounded).logits
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.02)
    name, weight = next(
        item
        for item in model.named_parameters()
        if item[0].endswith(("query.weight", "q_proj.weight", "c_attn.weight"))
    )
    (exact,) = torch.autograd.grad(expected.square().sum(), weight)
    (rough,) = torch.autograd.grad(
        found.float().square().sum(), dict(fast.named_parameters())[name]
    )
    assert (
        torch.nn.functional.cosine_similarity(rough.float().flatten(), exact.flatten(), dim=0)
        > 0.99
    )


def test_exact_stays_in_float32(model_and_inputs, monkeypatch):
    model, inputs = model_and_inputs
    same = in_bfloat16(model, monkeypatch, exact=True)
    torch.testing.assert_close(same(**inputs).logits, model(**inputs).logits, rtol=1e-5, atol=1e-5)


def test_a_cpu_without_such_instructions_stays_in_float32(tiny, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    model, _ = tiny("bert")
    assert next(ready.made_ready(model).parameters()).dtype == torch.float32
