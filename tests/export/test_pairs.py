"""Pairs in other ranks: the same product, or the nearest one; and what peft does with several."""

import copy

import pytest
import torch

from tenslora_search.export.pairs import compressed, padded, reduced
from tenslora_search.export.peft import save_peft
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError


def pair(rows: int, rank: int, columns: int):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(rows, rank, generator=generator),
        torch.randn(rank, columns, generator=generator),
    )


@pytest.mark.parametrize("shape", [(12, 5, 9), (6, 20, 30), (30, 20, 6)])
def test_the_nearest_product_of_lower_rank(shape):
    a, b = pair(*shape)
    whole = a @ b
    less, right = compressed(a, b, 3)
    assert (less.shape[1], right.shape[0]) == (3, 3)
    sizes = torch.linalg.svdvals(whole.double())
    expected = sizes[3:].square().sum().sqrt()  # Eckart and Young
    assert (whole - less @ right).norm().item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.allclose(padded(less, right, 8)[0] @ padded(less, right, 8)[1], less @ right)
    exact = reduced(a, b)
    assert exact[0].shape[1] == min(shape)
    assert (exact[0] @ exact[1] - whole).abs().max() <= 1e-5 * whole.abs().max()
    assert compressed(a, b, 99)[0] is a


def logits(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


@pytest.fixture
def saved(tiny, perturb, tmp_path):
    """Two trained adapters of unequal ranks, exported for a server; the base, its inputs, and what
    each gives.
    """
    model, inputs = tiny("bert")
    expected = {}
    for seed, (name, spec) in enumerate(
        {"one": ("qkv_depth", "tucker", (4, 3, 2, 2)), "two": ("none", "cp", (5,))}.items()
    ):
        adapter = attach(model, AdapterSpec.of(*spec, geometry_of(model)), train_head=False)
        perturb(adapter, 2.0, seed)
        expected[name] = logits(model, inputs)
        save_peft(adapter, tmp_path / name, uniform_rank=True, head=False)
        adapter.detach()
    return model, inputs, expected, tmp_path


def test_swapped_in_peft_beside_another_and_merged(saved):
    from peft import PeftModel

    model, inputs, expected, folder = saved
    plain = logits(model, inputs)
    loaded = PeftModel.from_pretrained(copy.deepcopy(model), folder / "one", adapter_name="one")
    loaded.load_adapter(folder / "two", adapter_name="two")
    for name in ("two", "one", "two"):
        loaded.set_adapter(name)
        assert torch.allclose(logits(loaded, inputs), expected[name], atol=1e-4)
    with loaded.disable_adapter():
        assert torch.allclose(logits(loaded, inputs), plain, atol=1e-5)
    for way in ("linear", "cat", "svd"):  # of one rank, so `linear` takes them
        loaded.add_weighted_adapter(["one", "two"], [1.0, 0.0], way, combination_type=way)
        loaded.set_adapter(way)
        assert torch.allclose(logits(loaded, inputs), expected["one"], atol=1e-3), way
    loaded.set_adapter("one")
    merged = loaded.merge_and_unload(adapter_names=["one"])
    assert torch.allclose(logits(merged, inputs), expected["one"], atol=1e-4)


def test_a_rank_that_is_none_is_refused(tiny, tmp_path):
    model, _ = tiny("bert")
    adapter = attach(model, AdapterSpec.of("none", "cp", 2, geometry_of(model)))
    with pytest.raises(QuestionError, match=r"--rank is a whole number of 1 or more; got 0"):
        save_peft(adapter, tmp_path, rank=0)
