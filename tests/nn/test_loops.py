"""An adapter in other people's loops: output and gradients are those of the plain reference, or one
line says what to do.
"""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from tenslora_search.nn.attach import attach
from tenslora_search.nn.naive import weights
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.table import QuestionError

FAMILIES = ("bert", "gpt2", "llama", "vit")


class Subject:
    """A model with an adapter, and the plain reference: its output and gradients by whole
    weights.
    """

    def __init__(self, model, inputs, spec, perturb) -> None:
        self.plain, self.inputs = copy.deepcopy(model), inputs
        self.model, self.adapter = model, attach(model, spec, train_head=False)
        perturb(self.adapter)
        expected = functional_call(self.plain, weights(self.adapter), (), inputs).logits
        loss = expected.float().square().sum()
        self.gradients = torch.autograd.grad(loss, list(self.adapter.parameters()))
        self.expected = expected.detach()

    def check(self, call, tolerance: float = 1e-4) -> None:
        output = call(**self.inputs).logits
        assert_close(output, self.expected, tolerance)
        for parameter in self.adapter.parameters():
            parameter.grad = None
        output.float().square().sum().backward()
        for parameter, expected in zip(self.adapter.parameters(), self.gradients, strict=True):
            assert_close(parameter.grad, expected, 3 * tolerance)


def assert_close(found, expected, tolerance: float) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


BFLOAT = 0.05
"""Rounding of bfloat16 over a model of two layers."""


@pytest.fixture(params=FAMILIES)
def subject(request, tiny, small_spec, perturb) -> Subject:
    model, inputs = tiny(request.param)
    projections = ("query", "key", "value", "out", "up")
    spec = small_spec("qkv", "tucker", geometry_of(model, projections))
    return Subject(model, inputs, spec, perturb)


def test_plain_and_copied(subject):
    subject.check(subject.model)
    other = copy.deepcopy(subject.model)
    subject.adapter = other.adapter
    subject.check(other)


def test_autocast_around_the_call(subject):
    with torch.autocast("cpu", torch.bfloat16):
        subject.check(subject.model, BFLOAT)


def test_autocast_within_the_call(subject):
    """As Accelerate and the Trainer do: they wrap `model.forward`, behind the model's hooks."""
    from accelerate import Accelerator

    prepared = Accelerator(mixed_precision="bf16", cpu=True).prepare(subject.model)
    subject.check(prepared, BFLOAT)


def test_autocast_of_a_part(subject):
    """One layer in bfloat16 within a model in float32."""
    site = next(iter(subject.adapter.sites.values()))
    site.forward = torch.autocast("cpu", torch.bfloat16)(site.forward)
    back = site.register_forward_hook(lambda module, inputs, output: output.float())
    subject.check(subject.model, BFLOAT)
    back.remove()


def replicate(model: nn.Module) -> nn.Module:
    """A copy as nn.DataParallel makes it: parameters that are results, modules that share dicts."""
    modules = list(model.modules())
    place = {id(module): k for k, module in enumerate(modules)}
    copies = [module._replicate_for_data_parallel() for module in modules]
    for module, made in zip(modules, copies, strict=True):
        for name, child in module._modules.items():
            if child is not None:
                made._modules[name] = copies[place[id(child)]]
                setattr(made, name, copies[place[id(child)]])
        for name, parameter in module._parameters.items():
            if parameter is None:
                made._parameters[name] = None
            else:
                setattr(made, name, parameter * 1.0)
        for name, buffer in module._buffers.items():
            made._buffers[name] = buffer
    return copies[0]


@pytest.mark.filterwarnings("ignore:nn.ParameterDict is being used with DataParallel")
def test_replicas_of_data_parallel(subject):
    """Two copies, one after the other: neither the base alone nor each other's."""
    for _ in range(2):
        subject.check(replicate(subject.model))


@pytest.mark.filterwarnings("ignore:nn.ParameterDict is being used with DataParallel")
def test_a_replica_of_a_part_says_so(tiny, small_spec):
    model, inputs = tiny("bert")
    attach(model, small_spec("qkv", "cp", geometry_of(model)))
    part = replicate(model.bert)
    with pytest.raises(QuestionError, match=r"query is in a copy of a part .* the whole model"):
        part(**inputs)


@pytest.fixture(scope="module")
def process_group(tmp_path_factory):
    from torch import distributed

    store = tmp_path_factory.mktemp("gloo") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_distributed_data_parallel(subject, process_group):
    subject.check(nn.parallel.DistributedDataParallel(subject.model))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "vit"])
def test_gradient_checkpointing(family, reentrant, tiny, small_spec, perturb):
    model, inputs = tiny(family)
    subject = Subject(model, inputs, small_spec("qkv_depth", "tucker", geometry_of(model)), perturb)
    model.train().gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant and family != "vit":
        model.enable_input_require_grads()
    elif reentrant:
        inputs["pixel_values"].requires_grad_(True)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for _ in range(2):
        subject.check(model)


def test_reentrant_checkpointing_without_gradients_says_so(tiny, small_spec):
    """torch alone warns, and the factors would silently learn nothing."""
    model, inputs = tiny("llama")
    attach(model, small_spec("qkv", "cp", geometry_of(model)))
    model.train().gradient_checkpointing_enable({"use_reentrant": True})
    model.disable_input_require_grads()
    with pytest.raises(QuestionError, match=r"'use_reentrant': False.*enable_input_require_grads"):
        model(**inputs)


def test_a_part_without_gradients_is_no_checkpoint(tiny, small_spec, perturb):
    model, inputs = tiny("bert")
    attach(model, small_spec("qkv", "cp", geometry_of(model)))
    layer = model.bert.encoder.layer[0]
    layer.forward = torch.no_grad()(layer.forward)
    model(**inputs).logits.sum().backward()


@pytest.mark.parametrize(
    ("construction", "decomposition", "backend"),
    [
        ("qkv", "tucker", "aot_eager"),
        ("att", "rac_lora", "eager"),  # made of factors, some of them frozen
        ("qkv", "quanta", "eager"),  # dense
        ("att_qkv_depth", "sora", "eager"),  # one tensor over all layers
    ],
)
def test_compiled(construction, decomposition, backend, tiny, small_spec, perturb):
    """torch.compile around a model with an adapter, twice, as its factors change between steps.

    A form of each kind, but for one tensor a site: test_one_step_of_the_trainer. Most stop at
    Dynamo's graph, where it is decided whether Python within a call can be compiled.
    """
    model, inputs = tiny("bert", num_hidden_layers=1)
    torch._dynamo.reset()
    spec = small_spec(construction, decomposition, geometry_of(model))
    subject = Subject(model, inputs, spec, perturb)
    compiled = torch.compile(model, backend=backend)
    subject.check(compiled)
    with torch.no_grad():
        for parameter in subject.adapter.parameters():
            parameter.mul_(1.5)
        expected = functional_call(subject.plain, weights(subject.adapter), (), inputs).logits
        assert_close(compiled(**inputs).logits, expected, 1e-4)


def test_compiled_layer_by_layer(tiny, small_spec, perturb, tmp_path):
    """Parts that are compiled after, or before, the adapter came: names stay what they were."""
    from peft import PeftModel

    from tenslora_search.export.native import load_adapter, save_native
    from tenslora_search.export.peft import save_peft

    model, inputs = tiny("bert")
    plain = copy.deepcopy(model)
    torch._dynamo.reset()
    layers = model.bert.encoder.layer
    layers[0] = torch.compile(layers[0], backend="eager")
    subject = Subject(model, inputs, small_spec("none", "cp", geometry_of(model)), perturb)
    layers[1] = torch.compile(layers[1], backend="eager")
    subject.check(model)
    wrapped = nn.DataParallel(torch.compile(model, backend="eager"))
    save_peft(subject.adapter, tmp_path / "peft")
    loaded = PeftModel.from_pretrained(copy.deepcopy(plain), tmp_path / "peft")
    assert_close(loaded(**inputs).logits, subject.expected, 1e-4)
    save_native(subject.adapter, tmp_path / "native")
    assert subject.adapter.detach() is model
    again = load_adapter(wrapped, tmp_path / "native")
    assert again.model is model
    assert_close(model(**inputs).logits, subject.expected, 1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bf16": True},
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"gradient_checkpointing": True},
        {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        },
    ],
    ids=str,
)
def test_one_step_of_the_trainer(options, tiny, small_spec, perturb, tmp_path):
    """With plain gradient descent at rate 1 the factors move by the reference's gradients."""
    import transformers

    model, inputs = tiny("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    torch._dynamo.reset()
    subject = Subject(model, inputs, small_spec("none", "cp", geometry_of(model)), perturb)
    labels = torch.tensor([0, 1, 1, 0])
    before = [parameter.detach().clone() for parameter in subject.adapter.parameters()]
    dense = functional_call(
        subject.plain, weights(subject.adapter), (), {**inputs, "labels": labels}
    )
    gradients = torch.autograd.grad(dense.loss, list(subject.adapter.parameters()))
    rows = [
        {**{name: value[k] for name, value in inputs.items()}, "labels": labels[k]}
        for k in range(len(labels))
    ]
    arguments = transformers.TrainingArguments(
        str(tmp_path), use_cpu=True, max_steps=1, per_device_train_batch_size=4, optim="sgd",
        learning_rate=1.0, lr_scheduler_type="constant", max_grad_norm=0.0, report_to=[],
        save_strategy="no", disable_tqdm=True, **options,
    )  # fmt: skip
    transformers.Trainer(model, arguments, train_dataset=rows).train()
    for parameter, old, expected in zip(
        subject.adapter.parameters(), before, gradients, strict=True
    ):
        assert_close(old - parameter.detach(), expected, 3 * BFLOAT if "bf16" in options else 1e-3)


def test_parts_in_another_type(tiny, small_spec, perturb, tmp_path):
    """A T5 in float16 keeps one map of each layer in float32."""
    model, inputs = tiny("t5")
    subject = Subject(
        model, inputs, small_spec("none", "cp", geometry_of(model, ["up", "down"])), perturb
    )
    subject.adapter.detach().save_pretrained(tmp_path)
    half = type(model).from_pretrained(tmp_path, dtype=torch.float16).eval()
    types = {p.dtype for name, p in half.named_parameters() if "DenseReluDense" in name}
    assert types == {torch.float16, torch.float32}
    adapter = attach(half, subject.adapter.specs[0])
    perturb(adapter)
    assert_close(half(**inputs).logits.float(), subject.expected, 0.02)


def test_offloaded(subject):
    """Accelerate loads each map's weight for its call and drops it again."""
    from accelerate import cpu_offload

    model, adapter = subject.plain, subject.adapter
    plain = copy.deepcopy(model)
    cpu_offload(model, execution_device=torch.device("cpu"))
    subject.plain, subject.adapter = plain, attach(model, adapter.specs[0], train_head=False)
    subject.adapter.load_state_dict(adapter.state_dict())
    assert {p.device.type for p in subject.adapter.parameters()} == {"cpu"}
    subject.check(model)


def test_an_offloaded_head_and_merge_say_so(tiny, small_spec, tmp_path):
    from accelerate import cpu_offload

    from tenslora_search.export.merged import merge
    from tenslora_search.export.native import load_adapter, save_native
    from tenslora_search.export.peft import save_peft

    model, _ = tiny("bert")
    other = copy.deepcopy(model)
    spec = small_spec("none", "cp", geometry_of(model))
    cpu_offload(model, execution_device=torch.device("cpu"))
    with pytest.warns(UserWarning, match="stays frozen"):
        adapter = attach(model, spec)
    with pytest.raises(QuestionError, match="is offloaded"):
        merge(adapter)
    save_peft(adapter, tmp_path / "peft")
    save_native(attach(other, spec), tmp_path / "native")
    adapter.detach()
    with pytest.raises(QuestionError, match=r"classifier\.\w+, which is offloaded"):
        load_adapter(model, tmp_path / "native")


def test_a_model_without_weights_says_so(tiny, small_spec):
    model, _ = tiny("bert")
    spec = small_spec("none", "cp", geometry_of(model))
    with pytest.raises(QuestionError, match="has no weight"):
        attach(model.to("meta"), spec)


def test_an_adapter_that_comes_after_distributed_data_parallel(
    tiny, small_spec, perturb, process_group, tmp_path
):
    """In one process it trains, and names are those of the model; among several it is refused."""
    import json

    from tenslora_search.export.peft import save_peft

    model, inputs = tiny("bert")
    wrapped = nn.parallel.DistributedDataParallel(model)
    adapter = attach(wrapped, small_spec("qkv", "cp", geometry_of(wrapped)))
    for _ in range(3):
        wrapped(**inputs).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    save_peft(adapter, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert all(name.startswith("bert.") for name in config["target_modules"])
    assert config["modules_to_save"] == ["classifier"]


def test_a_model_with_an_adapter_of_its_own(tiny, small_spec, perturb):
    """Some speech models have a part of that name: it stays, and ours takes another."""
    from tenslora_search.export.merged import merge

    model, inputs = tiny("bert")
    model.adapter = theirs = nn.Linear(2, 2)
    adapter = attach(model, small_spec("qkv", "cp", geometry_of(model)))
    perturb(adapter)
    assert model.adapter is theirs
    assert model.tenslora_adapter is adapter
    expected = replicate(model)(**inputs).logits
    assert_close(model(**inputs).logits, expected, 1e-5)
    assert_close(merge(adapter)(**inputs).logits, expected, 1e-4)
    assert not hasattr(model, "tenslora_adapter")


@pytest.mark.parametrize("between", [False, True])
def test_reentrant_checkpointing_of_several_passes(between, tiny, small_spec, perturb):
    """Two batches before one backward pass, and a look without gradients between the two."""
    model, inputs = tiny("llama")
    subject = Subject(model, inputs, small_spec("qkv", "cp", geometry_of(model)), perturb)
    model.train().gradient_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    losses = [model(**inputs).logits.square().sum() for _ in range(2)]
    if between:
        with torch.no_grad():
            model(**inputs)
    sum(losses).backward()
    for parameter, expected in zip(subject.adapter.parameters(), subject.gradients, strict=True):
        assert_close(parameter.grad, 2 * expected, 1e-4)
