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


def attached(model: nn.Module, *names: str):
    """An adapter on maps that are called as their projections are."""
    names_of = {name: name for name in names}
    geometry = geometry_of(model, list(names), targets=names_of, heads=2)
    return attach(model, AdapterSpec.of("none", "cp", (2,), geometry), targets=names_of)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_map_whose_weight_is_read_and_not_called_says_so(compiled):
    model, x = Reader(), torch.randn(2, 3, 8)
    attached(model, "query", "value")
    called = torch.compile(model, backend="eager") if compiled else model
    with pytest.raises(QuestionError, match=r"query is never called: .* computes with its weight"):
        called(x)
    model = Reader()
    attached(model, "value").requires_grad_(True)
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


@pytest.mark.parametrize("kind", ["FullyShardedDataParallel", "DeepSpeedEngine", "FSDPModule"])
def test_a_model_that_is_sharded_already_says_so(kind, tiny, small_spec):
    model, _ = tiny("bert")
    spec = small_spec("qkv", "cp", geometry_of(model))
    wrapper = type(kind, (nn.Sequential,), {})(model)
    with pytest.raises(QuestionError, match=f"attach before {kind} wraps the model"):
        attach(wrapper, spec)


def test_a_model_of_peft_says_so(tiny):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(tiny("bert")[0], peft.LoraConfig(r=2, target_modules=["dense"]))
    with pytest.raises(QuestionError, match=r"adapter of peft .* merge_and_unload"):
        geometry_of(model)


class Shared(nn.Module):
    """One map, in two parts; the second is called."""

    def __init__(self) -> None:
        super().__init__()
        one = nn.Linear(8, 8)
        self.first, self.second = (nn.ModuleDict({"query": one}) for _ in range(2))

    def forward(self, x):
        return self.second["query"](x)


def test_a_map_that_two_parts_share(perturb):
    model, x = Shared(), torch.randn(3, 8)
    before = model(x)
    adapter = attached(model, "query")
    perturb(adapter)
    assert (model(x) - before).abs().max() > 1e-3
    adapter.detach()
    assert torch.equal(model(x), before)


def test_a_sequence_of_parts(perturb):
    """The adapter becomes its last part, which passes on what it is given."""
    model, x = nn.Sequential(nn.Linear(8, 8)), torch.randn(3, 8)
    geometry = geometry_of(model, ["query"], targets={"query": "0"}, heads=2)
    spec, before = AdapterSpec.of("none", "cp", (2,), geometry), model(x)
    perturb(attach(model, spec, targets={"query": "0"}))
    assert (model(x) - before).abs().max() > 1e-3


def test_calls_from_several_threads(tiny, small_spec, perturb):
    """One that begins takes no updates from one that is under way."""
    from concurrent.futures import ThreadPoolExecutor

    model, inputs = tiny("bert")
    perturb(attach(model, small_spec("qkv", "cp", geometry_of(model))))

    @torch.no_grad()
    def call(_):
        return model(**inputs).logits

    expected = call(0)
    with ThreadPoolExecutor(4) as threads:
        assert all(torch.equal(found, expected) for found in threads.map(call, range(40)))


def test_calls_with_gradients_from_several_threads_are_right_or_refused(tiny, small_spec, perturb):
    from concurrent.futures import ThreadPoolExecutor

    model, inputs = tiny("bert")
    perturb(attach(model, small_spec("qkv", "cp", geometry_of(model))))
    expected = model(**inputs).logits

    def call(_):
        try:
            return torch.equal(model(**inputs).logits, expected)
        except QuestionError as error:
            return "copy of the model" in str(error)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(call, range(300)))


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
