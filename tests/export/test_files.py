"""For every construction x decomposition, on each kind of model in turn: adapter, merged weights,
peft and native file agree.
"""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call

from tenslora_search.export.factors import set_trial_factors, trial_factors
from tenslora_search.export.merged import merge, save_merged
from tenslora_search.export.native import NATIVE_FILE, load_adapter, read_native, save_native
from tenslora_search.export.peft import save_peft
from tenslora_search.nn.attach import attach
from tenslora_search.nn.naive import weights
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import Measured, ramp
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError

from ..conftest import PAIRS

KINDS = ("bert", "roberta", "vit", "llama", "gpt2")


@pytest.fixture(scope="module", params=KINDS)
def subject(request, tiny):
    """One model a family; each test takes its adapter off again."""
    model, inputs = tiny(request.param)
    return model, inputs, logits(model, inputs)


def logits(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


def assert_close(found, expected, tolerance: float = 1e-5) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def check_everywhere(model, inputs, before, spec, folder, perturb) -> None:
    from peft import PeftModel

    adapter = attach(model, spec, seeds=1)
    try:
        rounding = 1e-5 if spec.networks[0].form.make else 0.0
        assert (logits(model, inputs) - before).abs().max() <= rounding
        perturb(adapter, size=2.0)
        output = model(**inputs).logits
        assert (output - before).abs().max() > 1e-3
        output.square().sum().backward()
        gradients = [p.grad for p in adapter.parameters()]
        for parameter in model.parameters():
            parameter.grad = None
        dense = weights(adapter)
        save_native(adapter, folder / "native")
        if spec.is_low_rank:
            save_peft(adapter, folder / "peft")
    finally:
        merged, plain = copy.deepcopy(model), adapter.detach()
    expected = functional_call(plain, dense, (), inputs).logits
    assert_close(output, expected)
    for found, dense in zip(
        gradients,
        torch.autograd.grad(expected.square().sum(), list(adapter.parameters())),
        strict=True,
    ):
        assert_close(found, dense, 1e-4)
    assert_close(logits(merge(merged.adapter), inputs), output)
    if spec.is_low_rank:
        again = PeftModel.from_pretrained(copy.deepcopy(plain), folder / "peft")
        assert_close(logits(again, inputs), output)
    again = load_adapter(plain, folder / "native")
    try:
        assert_close(logits(plain, inputs), output)
        assert again.specs == (spec,)
    finally:
        again.detach()
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", *((".json",) if spec.is_low_rank else ())}


@pytest.mark.parametrize(
    ("subject", "construction", "decomposition"),
    [(KINDS[number % len(KINDS)], *pair) for number, pair in enumerate(PAIRS)]
    + [(kind, "qkv_depth", "tucker") for kind in KINDS],
    indirect=["subject"],
)
def test_all_forms_agree(subject, construction, decomposition, small_spec, perturb, tmp_path):
    model, inputs, before = subject
    spec = small_spec(construction, decomposition, geometry_of(model))
    check_everywhere(model, inputs, before, spec, tmp_path, perturb)


@pytest.mark.parametrize(
    ("subject", "construction", "projections"),
    [
        (KINDS[(number + shift) % len(KINDS)], construction, projections)
        for shift, projections in enumerate(
            [("query", "key", "value", "out"), ("up", "down"), ("query", "value")]
        )
        for number, construction in enumerate(CONSTRUCTIONS)
    ],
    indirect=["subject"],
    ids=str,
)
def test_other_projections(subject, projections, construction, small_spec, perturb, tmp_path):
    model, inputs, before = subject
    spec = small_spec(
        construction,
        "tucker",
        geometry_of(model, projections),
        head_layout="interleaved",
        scale="alpha",
    )
    check_everywhere(model, inputs, before, spec, tmp_path, perturb)


def test_ranks_of_their_own(tiny, decomposition, perturb, tmp_path):
    """A ramp over the layers: peft's ranks and the native file's size follow each copy."""
    model, inputs = tiny("llama")
    geometry = geometry_of(model)
    structure = Structure.of("none", decomposition, geometry)
    if not structure.bonds:
        pytest.skip("it has no ranks")
    weights, size = [0.5] * len(structure.bonds), max(3000, 3 * structure.smallest)
    spec = AdapterSpec.over(structure, ramp().divide(structure, size, weights, Measured()))
    assert len(set(spec.ranks)) > 1 or set(spec.ranks) == {structure.limits}
    check_everywhere(model, inputs, logits(model, inputs), spec, tmp_path, perturb)
    head = sum(p.numel() for p in model.score.parameters())
    held = (tmp_path / "native" / NATIVE_FILE).stat().st_size
    again = attach(model, spec, train_head=False)
    frozen = sum(
        int(tensor.entries(name, 0).sum())
        for tensor, _ in again.tensors_of(0)
        for name, _ in tensor.frozen.named_buffers()
    )
    assert 0 <= held - 4 * (spec.n_params + frozen + head) < 8000


def test_native_file_holds_the_parameters_and_little_more(
    tiny, construction, decomposition, small_spec, tmp_path
):
    model, _ = tiny("bert")
    spec = small_spec(construction, decomposition, geometry_of(model))
    adapter = attach(model, spec, train_head=False)
    found = {name: value.numel() for name, value in trial_factors(adapter).items()}
    frozen = {f.name for f in spec.networks[0].form.learnt if f.frozen}
    trained = {name: n for name, n in found.items() if name.partition(".")[2] not in frozen}
    assert sum(trained.values()) == spec.n_params
    save_native(adapter, tmp_path)
    assert 0 <= (tmp_path / NATIVE_FILE).stat().st_size - 4 * sum(found.values()) < 4000


def test_export_of_one_trial_of_a_pack(tiny, small_spec, perturb, tmp_path):
    """Trials of unequal ranks and structures: each file holds its own trial, and the pack is left
    as it was.
    """
    from peft import PeftModel

    model, inputs = tiny("vit")
    plain, geometry = copy.deepcopy(model), geometry_of(model)
    specs = [
        small_spec("qkv_depth", "tucker", geometry, 2),
        small_spec("none", "cp", geometry),
        small_spec("qkv_depth", "tucker", geometry, 3),
    ]
    adapter = attach(model, specs, seeds=(1, 2, 3))
    perturb(adapter)
    packed = logits(
        model, {name: value.repeat(3, 1, 1, 1) for name, value in inputs.items()}
    ).chunk(3)
    for trial, expected in enumerate(packed):
        one = copy.deepcopy(plain)
        load_adapter(one, save_native(adapter, tmp_path / f"native{trial}", trial=trial))
        assert_close(logits(one, inputs), expected)
        peft = PeftModel.from_pretrained(
            copy.deepcopy(plain), save_peft(adapter, tmp_path / f"peft{trial}", trial=trial)
        )
        assert_close(logits(peft, inputs), expected)


def test_export_of_an_untrained_adapter(tiny, decomposition, small_spec, tmp_path):
    """Even where both sides of a pair may be zero, peft gets a rank of 1 or more, and the update is
    zero. What peft cannot hold is merged.
    """
    from peft import PeftModel

    model, inputs = tiny("bert")
    before = logits(model, inputs)
    spec = small_spec("qkv_depth", decomposition, geometry_of(model))
    adapter = attach(model, spec)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.zero_()
    if not spec.is_low_rank:
        assert_close(logits(merge(copy.deepcopy(model).adapter), inputs), before)
        adapter.detach()
        return
    save_peft(adapter, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["r"] >= 1
    assert_close(logits(PeftModel.from_pretrained(adapter.detach(), tmp_path), inputs), before)


def test_save_merged(tiny, small_spec, perturb, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model, inputs = tiny("bert")
    adapter = attach(model, small_spec("depth", "cp", geometry_of(model)))
    perturb(adapter)
    expected = logits(model, inputs)
    save_merged(adapter, tmp_path)
    assert_close(
        logits(AutoModelForSequenceClassification.from_pretrained(tmp_path).eval(), inputs),
        expected,
    )
    assert torch.equal(logits(model, inputs), expected)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_a_loaded_adapter_is_to_be_used(tiny, small_spec, perturb, tmp_path, monkeypatch):
    """As in peft: frozen and in eval mode unless asked; its head, and what else came with it,
    leaves with it again.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    model, inputs = tiny("bert")
    plain = copy.deepcopy(model)
    adapter = attach(model, small_spec("qkv", "cp", geometry_of(model)))
    adapter.came_along = ("bert.pooler.dense.bias",)
    perturb(adapter)
    with torch.no_grad():
        for parameter in (model.classifier.bias, model.bert.pooler.dense.bias):
            parameter.add_(1)
    expected = logits(model, inputs)
    assert save_native(adapter, "~/one") == tmp_path / "one"
    assert save_peft(adapter, "~/peft") == tmp_path / "peft"
    assert save_merged(adapter, "~/merged") == tmp_path / "merged"
    loaded = load_adapter(plain.train(), "~/one")
    assert torch.equal(plain(**inputs).logits, expected)
    assert not plain(**inputs).logits.requires_grad
    save_native(loaded, "~/two")
    plain = loaded.detach().train()
    loaded = load_adapter(plain, "~/two", trainable=True)
    assert plain.training
    trained = {name for name, parameter in plain.named_parameters() if parameter.requires_grad}
    assert trained == {f"adapter.{name}" for name, _ in loaded.named_parameters()} | {
        "classifier.weight",
        "classifier.bias",
    }
    one, two = (load_file(tmp_path / name / NATIVE_FILE) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


class Quantized(nn.Linear):
    """An 8-bit map that stores its weight as one column, as 4-bit ones do."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__(like.in_features, like.out_features)
        self.weight = nn.Parameter(
            (like.weight.detach() * 50).round().to(torch.int8).view(-1, 1), requires_grad=False
        )
        self.bias = like.bias

    def forward(self, x):
        return nn.functional.linear(
            x, self.weight.view(self.out_features, -1).to(x.dtype) / 50, self.bias
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantized_weights(dtype, tiny, small_spec, perturb, tmp_path):
    """The pairs have the type that the rest of the model computes in; nothing is merged into such
    weights.
    """
    model, inputs = tiny("bert")
    plain = copy.deepcopy(model.to(dtype))
    for name, module in list(model.named_modules()):
        if "attention.self" in name and isinstance(module, nn.Linear):
            model.set_submodule(name, Quantized(module))
            with torch.no_grad():
                plain.get_submodule(name).weight.copy_((module.weight * 50).round() / 50)
    adapter = attach(model, small_spec("qkv_depth", "tucker", geometry_of(model)))
    perturb(adapter)
    found = model(**inputs).logits
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    load_adapter(plain, save_native(adapter, tmp_path))
    assert_close(found, logits(plain, inputs), 1e-5 if dtype == torch.float32 else 0.05)
    with pytest.raises(
        QuestionError, match=r"query holds quantized weights \(torch.int8\), which take no update"
    ):
        merge(adapter)
    assert torch.equal(logits(model, inputs), found)


def test_save_pretrained_of_an_adapted_model_writes_the_base(
    family, tiny, small_spec, perturb, tmp_path
):
    """As the Trainer's checkpoints do; its own tensors stand beside, and load back into a model
    with an adapter.
    """
    model, inputs = tiny(family)
    before, names = logits(model, inputs), set(model.state_dict())
    adapter = attach(model, small_spec("qkv", "cp", geometry_of(model)))
    perturb(adapter)
    expected = logits(model, inputs)
    model.save_pretrained(tmp_path)
    again, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert all(name.startswith("adapter.") for name in info["unexpected_keys"])
    assert_close(logits(again.eval(), inputs), before)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert set(state) == names | {f"adapter.{name}" for name in adapter.state_dict()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict(state, strict=True)
    assert torch.equal(logits(model, inputs), expected)
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(
            {name: value for name, value in state.items() if "adapter" in name}, strict=True
        )


def test_factors_there_and_back(tiny, small_spec, perturb):
    model, _ = tiny("bert")
    adapter = attach(model, small_spec("att_qkv_depth", "block_term", geometry_of(model)))
    perturb(adapter)
    before = trial_factors(adapter)
    perturb(adapter, seed=1)
    set_trial_factors(adapter, before)
    assert all(torch.equal(value, before[name]) for name, value in trial_factors(adapter).items())


def test_factors_may_be_whole(tiny, perturb):
    """With ranks of their own, copies stand in one padded tensor: as a paused trial holds it."""
    model, _ = tiny("bert")
    adapter = attach(
        model,
        AdapterSpec.of("none", "cp", [(1,), (2,), (3,), (1,), (2,), (3,)], geometry_of(model)),
    )
    perturb(adapter)
    before = trial_factors(adapter)
    ((tensor, _),) = adapter.tensors_of(0)
    whole = {
        f"0.{name}": parameter.detach()[0].clone() for name, parameter in tensor.factors.items()
    }
    perturb(adapter, seed=1)
    set_trial_factors(adapter, whole)
    assert all(torch.equal(value, before[name]) for name, value in trial_factors(adapter).items())


@pytest.fixture
def saved(tiny, small_spec, tmp_path):
    """A native checkpoint, and a fresh model of its geometry."""
    model, _ = tiny("bert")
    adapter = attach(model, small_spec("depth", "tucker", geometry_of(model)))
    save_native(adapter, tmp_path)
    return adapter.detach(), tmp_path / NATIVE_FILE


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("no tensors here", encoding="utf-8")


def foreign(path):
    save_file({"weight": torch.zeros(2)}, path)


def another_version(path):
    save_file(
        {"weight": torch.zeros(2)},
        path,
        metadata={"tenslora": json.dumps({"version": 99, "spec": {}})},
    )


def no_factors(path):
    spec, tensors = read_native(path)
    head = {name: value + 1 for name, value in tensors.items() if name.startswith("head.")}
    save_file(head, path, metadata={"tenslora": json.dumps({"version": 1, "spec": spec.to_json()})})


def wrong_spec(path):
    save_file(
        {"weight": torch.zeros(2)},
        path,
        metadata={"tenslora": json.dumps({"version": 1, "spec": {"ranks": [1]}})},
    )


def missing(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "no whole safetensors file"),
        (empty, "no whole safetensors file"),
        (text, "no whole safetensors file"),
        (foreign, "holds no spec of ours"),
        (another_version, "another version"),
        (no_factors, "does not hold the factor"),
        (wrong_spec, "no adapter spec of ours"),
        (missing, "there is no adapter at"),
    ],
)
def test_damaged_files_say_so_and_leave_the_model_alone(saved, damage, message):
    model, path = saved
    before = {name: value.clone() for name, value in model.state_dict().items()}
    damage(path)
    with pytest.raises(QuestionError, match=message) as error:
        load_adapter(model, path)
    assert "\n" not in str(error.value)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_hidden_layers": 3}, "2 layers of query; this model has 3"),
        ({"hidden_size": 64}, "head classifier|32 x 32"),
        ({"num_labels": 5}, "head classifier"),
    ],
)
def test_another_model(saved, tiny, more, message):
    _, path = saved
    other, _ = tiny("bert", **more)
    with pytest.raises(QuestionError, match=message):
        load_adapter(other, path)


@pytest.mark.parametrize("save", [save_peft, save_native, save_merged])
def test_a_path_that_is_a_file_is_told(tiny, save, tmp_path):
    """transformers' own `save_pretrained` would go on and write nothing."""
    model, _ = tiny("bert")
    adapter = attach(model, AdapterSpec.of("none", "cp", 2, geometry_of(model)))
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(QuestionError, match=r"cannot write into .*/mine: it is a file"):
        save(adapter, tmp_path / "mine")
    with pytest.raises(QuestionError, match=r"cannot make the folder .*/mine/it: Not a directory"):
        save(adapter, tmp_path / "mine" / "it")
    assert (tmp_path / "mine").read_text() == "mine"
    assert save(adapter, tmp_path / "new" / "it").is_dir()
