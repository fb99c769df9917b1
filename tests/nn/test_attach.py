"""attach(): every family's sites, old and new names, packs beside the single trial, and models that
cannot be served.
"""

import copy

import pytest
import torch
from torch import nn

from tenslora_search.export.factors import set_trial_factors, trial_factors
from tenslora_search.export.merged import merge
from tenslora_search.export.native import load_adapter, save_native
from tenslora_search.nn.attach import Adapter, attach
from tenslora_search.nn.places import find_sites, geometry_of
from tenslora_search.nn.sites import Site
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_config
from tenslora_search.spec.families import family_of
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError

ALONE = ("deberta-v2",)
"""Families whose adapted maps also see something without a batch (relative positions): no packs."""


def logits(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


def repeated(inputs, times: int):
    return {name: value.repeat(times, *[1] * (value.ndim - 1)) for name, value in inputs.items()}


def assert_close(found, expected, tolerance: float = 1e-5) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_every_family(family, tiny, small_spec, perturb):
    """The geometry by shapes is the geometry by config; a pack is each of its trials merged; detach
    undoes all.
    """
    model, inputs = tiny(family)
    names = [name for name, _ in model.named_modules()]
    geometry, before = geometry_of(model), logits(model, inputs)
    assert geometry == geometry_of_config(model.config.to_dict())
    specs = [small_spec("att_qkv_depth", "tucker", geometry), small_spec("none", "cp", geometry)]
    for trials in [[spec] for spec in specs] if family in ALONE else [specs]:
        pack = attach(model, trials, seeds=range(len(trials)))
        assert pack.n_params == sum(spec.n_params for spec in trials)
        batch = repeated(inputs, len(trials))
        assert_close(logits(model, batch), before.repeat(len(trials), *[1] * (before.ndim - 1)))
        perturb(pack)
        for trial, found in enumerate(logits(model, batch).chunk(len(trials))):
            assert (found - before).abs().max() > 1e-2
            assert_close(found, logits(merge(copy.deepcopy(model).adapter, trial=trial), inputs))
        assert pack.detach() is model
        assert torch.equal(logits(model, inputs), before)
        assert names == [name for name, _ in model.named_modules()]


@pytest.mark.parametrize("family", ALONE)
def test_a_family_that_cannot_be_packed_says_so(family, tiny, small_spec):
    model, inputs = tiny(family)
    spec = small_spec("qkv", "cp", geometry_of(model))
    attach(model, [spec, spec])
    assert "attach one at a time" in refusal(lambda: logits(model, repeated(inputs, 2)))


@pytest.mark.parametrize(
    "projections",
    [("query", "key", "value", "out"), ("up", "down"), ("up", "gate", "down")],
    ids="-".join,
)
def test_every_projection_of_every_family(family, projections, tiny, small_spec, perturb):
    model, inputs = tiny(family)
    if not all(getattr(family_of(family), name) for name in projections):
        assert "no projection named 'gate'" in refusal(lambda: geometry_of(model, projections))
        return
    if family == "t5" and "gate" in projections:
        model, inputs = tiny(family, feed_forward_proj="gated-gelu")
    before = logits(model, inputs)
    adapter = attach(model, small_spec("qkv", "tucker", geometry_of(model, projections)))
    perturb(adapter)
    found = logits(model, inputs)
    assert (found - before).abs().max() > 1e-2
    assert_close(logits(merge(adapter), inputs), found)


def test_gradient_checkpointing(tiny, small_spec, perturb):
    """The pairs are made outside the checkpointed layers, once for all; gradients are the same."""
    model, inputs = tiny("llama")
    adapter = attach(model, small_spec("qkv_depth", "tucker", geometry_of(model)))
    perturb(adapter)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.train().gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        model(**inputs).logits.square().sum().backward()
        gradients.append([parameter.grad for parameter in adapter.parameters()])
        model.zero_grad()
    for plain, checkpointed in zip(*gradients, strict=True):
        assert_close(checkpointed, plain)


def test_all_trials_side_by_side(tiny, small_spec, perturb, pairs):
    """Constructions x decompositions with mixed ranks in one pack: outputs and gradients of
    each alone.
    """
    model, inputs = tiny("llama")
    geometry = geometry_of(model)
    specs = [small_spec(*pair, geometry, 2 + number % 3) for number, pair in enumerate(pairs)]
    pack = attach(model, specs, seeds=range(len(specs)))
    perturb(pack)
    factors = [trial_factors(pack, trial) for trial in range(len(specs))]
    outputs = model(**repeated(inputs, len(specs))).logits.chunk(len(specs))
    sum(output.square().sum() for output in outputs).backward()
    gradients = [gradient_of(pack, trial) for trial in range(len(specs))]
    plain = pack.detach()
    for trial, spec in enumerate(specs):
        adapter = attach(plain, spec)
        set_trial_factors(adapter, factors[trial])
        output = plain(**inputs).logits
        assert_close(outputs[trial], output)
        output.square().sum().backward()
        for name, expected in gradient_of(adapter, 0).items():
            assert_close(gradients[trial][name], expected, 1e-4)
        adapter.detach()


def gradient_of(adapter, trial):
    return {
        f"{group}.{name}": tensor.of_trial(name, parameter.grad, place)
        for group, (tensor, place) in enumerate(adapter.tensors_of(trial))
        for name, parameter in tensor.factors.items()
    }


def test_only_factors_and_head_train(tiny, small_spec):
    model, _ = tiny("bert")
    adapter = attach(model, small_spec("depth", "cp", geometry_of(model)))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    factors = {f"adapter.{name}" for name, _ in adapter.named_parameters()}
    assert trained == factors | {"classifier.weight", "classifier.bias"}
    adapter.detach()
    attach(model, small_spec("depth", "cp", geometry_of(model)), train_head=False)
    assert {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    } == factors


@pytest.mark.parametrize(
    ("family", "task"),
    [
        (family, "ForMaskedLM")
        for family in ("bert", "roberta", "distilbert", "deberta-v2", "modernbert")
    ]
    + [(family, "ForCausalLM") for family in ("llama", "mistral", "qwen3")]
    + [("gpt2", "LMHeadModel"), ("t5", "ForConditionalGeneration")],
)
def test_a_language_model_has_no_task_head(family, task, tiny, small_spec):
    model, _ = tiny(family, task, tie_word_embeddings=False)
    adapter = attach(model, small_spec("depth", "cp", geometry_of(model)))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"adapter.{name}" for name, _ in adapter.named_parameters()}


def test_fused_and_shared_inputs(tiny, small_spec):
    """One site a fused map, with a pair for each block that is adapted."""
    model, inputs = tiny("gpt2")
    adapter = attach(model, small_spec("qkv", "cp", geometry_of(model, ("query", "value"))))
    adapter.refresh()
    sites = [module for module in model.modules() if isinstance(module, Site)]
    assert len(sites) == 2
    assert all([one.columns.start for one in site.updates] == [0, 64] for site in sites)
    assert logits(model, inputs).isfinite().all()


def test_held_pairs(tiny, small_spec, perturb, monkeypatch):
    """The factors are contracted before every forward pass, but once while the pairs are held."""
    model, inputs = tiny("vit")
    adapter = attach(model, small_spec("qkv_depth", "tucker", geometry_of(model)))
    perturb(adapter)
    made, contracted = [], adapter._contracted
    monkeypatch.setattr(adapter, "_contracted", lambda: made.append(1) or contracted())
    expected = logits(model, inputs)
    assert torch.equal(logits(model, inputs), expected)
    assert len(made) == 2
    with adapter.held():
        assert all(torch.equal(logits(model, inputs), expected) for _ in range(3))
    assert len(made) == 3
    perturb(adapter, seed=1)
    assert not torch.equal(logits(model, inputs), expected)


def test_bfloat16(tiny, small_spec, perturb):
    """A model in bfloat16 keeps its factors in float32 and computes in its own type; so does
    autocast.
    """
    model, inputs = tiny("roberta")
    adapter = attach(model, small_spec("qkv_depth", "tucker", geometry_of(model)), train_head=False)
    perturb(adapter)
    expected = logits(model, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(logits(model, inputs).float(), expected, 0.1)
    plain = adapter.detach().bfloat16()
    adapter = attach(plain, small_spec("qkv_depth", "tucker", geometry_of(plain)), train_head=False)
    perturb(adapter)
    assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
    assert logits(plain, inputs).dtype == torch.bfloat16
    assert_close(logits(plain, inputs).float(), expected, 0.1)


@pytest.fixture
def made(monkeypatch) -> list[int]:
    """One entry for each time that an adapter contracts its factors."""
    found: list[int] = []
    contracted = Adapter._contracted
    monkeypatch.setattr(
        Adapter, "_contracted", lambda adapter: found.append(1) or contracted(adapter)
    )
    return found


def test_whatever_is_called_first_has_the_adapter(tiny, small_spec, perturb, tmp_path):
    """`generate` of T5 calls the encoder before the model: right after loading, and again when
    factors have changed.
    """
    plain, inputs = tiny("t5")
    model = copy.deepcopy(plain)
    adapter = attach(copy.deepcopy(plain), small_spec("none", "cp", geometry_of(plain)))
    perturb(adapter)
    adapter = load_adapter(model, save_native(adapter, tmp_path))
    ids = inputs["input_ids"]

    def first_scores(model):
        return model.generate(
            ids, max_new_tokens=2, do_sample=False, output_scores=True, return_dict_in_generate=True
        ).scores[0]

    for seed in (1, 2):
        merged = merge(copy.deepcopy(model).adapter)
        assert_close(first_scores(model), first_scores(merged))
        perturb(adapter, seed=seed)
        merged = merge(copy.deepcopy(model).adapter)
        with torch.no_grad():
            assert_close(model.get_encoder()(ids)[0], merged.get_encoder()(ids)[0])
            assert_close(
                model.encoder.block[1](torch.ones(1, 3, 32))[0],
                merged.encoder.block[1](torch.ones(1, 3, 32))[0],
            )
            site = "encoder.block.1.layer.0.SelfAttention.q"
            assert_close(
                model.get_submodule(site)(torch.ones(1, 32)),
                merged.get_submodule(site)(torch.ones(1, 32)),
            )
        perturb(adapter, seed=seed + 10)


def test_a_part_of_a_copy_has_the_copys_factors(tiny, small_spec, perturb):
    model, inputs = tiny("bert")
    adapter = attach(model, small_spec("qkv", "tucker", geometry_of(model)))
    other = copy.deepcopy(model)
    perturb(other.adapter)
    merged = merge(copy.deepcopy(other).adapter)
    with torch.no_grad():
        assert_close(other.bert(**inputs)[0], merged.bert(**inputs)[0])
        assert torch.equal(model.bert(**inputs)[0], adapter.detach().bert(**inputs)[0])
    assert not any(
        module._forward_pre_hooks or module._forward_hooks
        for module in (*model.modules(), *merged.modules())
    )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_call_that_fails_leaves_nothing_behind(error, tiny, small_spec, perturb, made):
    model, inputs = tiny("bert")
    adapter = attach(model, small_spec("qkv", "cp", geometry_of(model)))

    def fail(*_: object) -> None:
        raise error

    for part in (model.classifier, model.bert.encoder.layer[1]):
        hook = part.register_forward_pre_hook(fail)
        with pytest.raises(error):
            model(**inputs)
        hook.remove()
        perturb(adapter)
        made.clear()
        found = logits(model, inputs)
        assert len(made) == 1
        with torch.no_grad():
            assert torch.equal(model.classifier(model.bert(**inputs)[1]), found)
        assert len(made) == 2
        assert_close(found, logits(merge(copy.deepcopy(model).adapter), inputs))


def test_checkpointed_parts_run_again_with_the_pairs_they_had(tiny, small_spec, made):
    model, inputs = tiny("llama")
    attach(model, small_spec("qkv_depth", "tucker", geometry_of(model)))
    model.train().gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False}
    )
    model(**inputs).logits.sum().backward()
    assert len(made) == 1


class Own(nn.Module):
    """A model of nobody's family: a fused query-key map and a value map in each of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.ModuleDict({"mix": nn.Linear(6, 12), "carry": nn.Linear(6, 6)}) for _ in range(2)
        )

    def forward(self, x):
        for step in self.steps:
            query, key = step["mix"](x).chunk(2, -1)
            x = x + torch.sigmoid(query * key) * step["carry"](x)
        return x


TARGETS = {"query": "mix 0/2", "key": "mix 1/2", "value": "steps.*.carry"}


def test_targets_on_a_model_of_ones_own(perturb, small_spec):
    model, x = Own(), torch.randn(5, 3, 6)
    geometry = geometry_of(model, targets=TARGETS, heads=2)
    assert geometry == Geometry.attention(hidden=6, heads=2, layers=2)
    adapter = attach(model, small_spec("att_qkv_depth", "tucker", geometry), targets=TARGETS)
    perturb(adapter)
    expected = model(x)
    assert_close(merge(adapter)(x), expected)


def stand_in(model_type: str, names: list[str]) -> nn.Module:
    """A model with a config and these linear maps, to show how another generation of transformers
    names them.
    """
    root = nn.Module()
    root.config = type("Config", (), {"model_type": model_type})()
    for name in names:
        *path, last = name.split(".")
        parent = root
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, nn.Linear(4, 4))
    return root


OLD = {
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "out": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
NEW = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.o_proj",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}


@pytest.mark.parametrize(
    ("prefix", "names"), [("vit.encoder.layer", OLD), ("vit.layers", NEW)], ids=["4.5x", "5.x"]
)
@pytest.mark.parametrize("model_type", ["vit", "deit"])
def test_both_generations_of_names(prefix, names, model_type):
    model = stand_in(
        model_type, [f"{prefix}.{layer}.{name}" for layer in range(2) for name in names.values()]
    )
    found = find_sites(model, list(names))
    assert {name: [place.module for place in places] for name, places in found.items()} == {
        name: [f"{prefix}.{layer}.{end}" for layer in range(2)] for name, end in names.items()
    }


def test_an_mlp_is_a_shape_group_of_its_own(tiny):
    model, _ = tiny("llama")
    geometry = geometry_of(model, ("query", "key", "value", "out", "up", "gate", "down"))
    assert [(group.projections, group.heads, group.transposed) for group in geometry.groups] == [
        (("query", "out"), 4, ("out",)),
        (("key", "value"), 2, ()),
        (("up", "gate", "down"), 1, ("down",)),
    ]


def spec_for(geometry: Geometry) -> AdapterSpec:
    return AdapterSpec.of("depth", "cp", (2,), geometry)


def refusal(call) -> str:
    with pytest.raises(QuestionError) as error:
        call()
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_a_model_without_sites_lists_its_linear_maps():
    assert "Its linear maps: steps.*.mix, steps.*.carry" in refusal(lambda: find_sites(Own()))
    message = refusal(lambda: find_sites(Own(), ("query",), {"query": "attention"}))
    assert "ends in 'attention'" in message
    assert "steps.*.carry" in message
    assert "Its linear maps: none" in refusal(lambda: find_sites(nn.ReLU()))


def test_unknown_family_and_projections(tiny):
    assert "Known: bert" in refusal(lambda: find_sites(stand_in("mamba", ["a.b"])))
    assert "gate" in refusal(lambda: find_sites(tiny("bert")[0], ("gate",)))
    assert "no pattern for key, value" in refusal(
        lambda: find_sites(Own(), targets={"query": "mix"})
    )


def test_an_adapted_model_has_no_geometry(tiny):
    model, _ = tiny("bert")
    geometry = geometry_of(model)
    adapter = attach(model, spec_for(geometry))
    assert "carries an adapter already; call its detach() first" in refusal(
        lambda: geometry_of(model)
    )
    adapter.detach()
    assert geometry_of(model) == geometry
    assert "name one projection or more, such as query, key, value; got none" in refusal(
        lambda: geometry_of(model, ())
    )


@pytest.mark.parametrize(
    "target",
    ["mix 2/2", "mix x", "mix 1/", "mix 0/0", "mix -1/2", "", "mix 0/2 | mix 3/3", "mix 0/2 1"],
)
def test_targets_that_are_none(target):
    message = refusal(lambda: geometry_of(Own(), ("query",), targets={"query": target}, heads=2))
    assert f"0/n to (n - 1)/n; got {target.split('|')[-1].strip()!r}" in message


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Geometry.attention(32, 4, 3), "3 layers of query; this model has 2"),
        (
            Geometry.attention(64, 4, 2),
            "query of 64 x 64; bert.encoder.layer.0.attention.self.query is 32 x 32",
        ),
        (Geometry.attention(32, 4, 2, kv_heads=2), "key of 32 x 16"),
    ],
)
def test_another_geometry(tiny, other, message):
    model, inputs = tiny("bert")
    before = logits(model, inputs)
    assert message in refusal(lambda: attach(model, spec_for(other)))
    assert torch.equal(logits(model, inputs), before)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_specs_and_seeds_must_match(tiny):
    model, _ = tiny("bert")
    spec, other = spec_for(geometry_of(model)), spec_for(Geometry.attention(64, 4, 2))
    assert "2 specs and 1 seeds" in refusal(lambda: attach(model, [spec, spec], seeds=[1]))
    assert "64 x 64" in refusal(lambda: attach(model, [spec, other]))
    assert "0 specs" in refusal(lambda: attach(model, []))
    attach(model, spec)
    assert "detach" in refusal(lambda: attach(model, spec))


def test_heads_that_do_not_divide(tiny):
    model, _ = tiny("bert")
    assert "heads" in refusal(lambda: geometry_of(model, heads=5))
    assert "3 blocks" in refusal(
        lambda: geometry_of(
            nn.ModuleDict({"a": nn.Linear(4, 4)}), ("query",), targets={"query": "a 0/3"}, heads=2
        )
    )
