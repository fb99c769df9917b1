"""Models that do with a map what an adapter cannot follow: an effect, or one line."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from tenslora_search.nn.attach import attach
from tenslora_search.nn.naive import weights
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError


def assert_close(found, expected, tolerance: float) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


class Reader(nn.Module):
    """Computes with the weight of a map that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return nn.functional.linear(x, self.query.weight, self.query.bias) + self.value(x)


def test_a_map_whose_weight_is_read_and_not_called_says_so():
    names = {"query": "query", "value": "value"}
    model, x = Reader(), torch.randn(2, 3, 8)
    geometry = geometry_of(model, list(names), targets=names, heads=2)
    attach(model, AdapterSpec.of("none", "cp", (2,), geometry), targets=names)
    with pytest.raises(QuestionError, match=r"query is never called: .* computes with its weight"):
        model(x)
    names = {"value": "value"}
    model = Reader()
    geometry = geometry_of(model, list(names), targets=names, heads=2)
    adapter = attach(model, AdapterSpec.of("none", "cp", (2,), geometry), targets=names)
    adapter.requires_grad_(True)
    assert model(x).requires_grad


@pytest.mark.parametrize("grad", [False, True])
def test_transformer_layers_of_torch(grad, perturb):
    """Their fast path reads weights, which an adapter must not miss; out_proj is refused."""
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0), 2
    ).eval()
    targets = {"out": "self_attn.out_proj", "up": "linear1"}
    with pytest.raises(QuestionError, match="out_proj is never called"):
        geometry_of(model, ["out"], targets=targets, heads=4)
    x, plain = torch.randn(2, 5, 32), copy.deepcopy(model)
    geometry = geometry_of(model, ["up"], targets=targets)
    adapter = attach(model, AdapterSpec.of("none", "cp", (3,), geometry), targets=targets)
    perturb(adapter)
    expected = functional_call(plain, weights(adapter), (x,))
    with torch.set_grad_enabled(grad):
        assert_close(model(x), expected, 1e-5)
    assert (expected - plain(x)).abs().max() > 1e-3


def test_heads_that_no_config_says():
    model = nn.ModuleDict({"a": nn.Linear(4, 4)})
    with pytest.raises(QuestionError, match="give heads=") as error:
        geometry_of(model, ["query"], targets={"query": "a"})
    assert "--hidden" not in str(error.value)


@pytest.mark.parametrize("kind", ["FullyShardedDataParallel", "DeepSpeedEngine"])
def test_a_model_that_is_sharded_already_says_so(kind, tiny, small_spec):
    model, _ = tiny("bert")
    spec = small_spec("qkv", "cp", geometry_of(model))
    wrapper = type(kind, (nn.Sequential,), {})(model)
    with pytest.raises(QuestionError, match=f"attach before {kind} wraps the model"):
        attach(wrapper, spec)


class Tied(nn.Module):
    """Two maps of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.back = nn.Linear(8, 8), nn.Linear(8, 8)
        self.back.weight = self.query.weight

    def forward(self, x):
        return self.back(self.query(x).relu())


def test_a_weight_that_another_map_shares(perturb):
    """The adapter changes the one that it is on, before the merge and after."""
    from tenslora_search.export.merged import merge

    model, x, targets = Tied(), torch.randn(3, 8), {"query": "query"}
    geometry = geometry_of(model, ["query"], targets=targets, heads=2)
    adapter = attach(model, AdapterSpec.of("none", "cp", (2,), geometry), targets=targets)
    perturb(adapter)
    expected = model(x)
    assert_close(merge(adapter)(x), expected, 1e-5)
