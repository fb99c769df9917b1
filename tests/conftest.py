"""What many tests share: the tables as parameters, strategies over geometries and specs, tiny
models, a dense oracle.

torch and transformers are imported only where a fixture needs them: the tests of spec and report
run without.
"""

import os
from pathlib import Path

import pytest

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.structure import Structure

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TEXT = {"vocab_size": 32, "max_position_embeddings": 34, "pad_token_id": 0}
GROUPED = {"num_key_value_heads": 2}
TINY: dict[str, tuple[str, str, dict[str, object]]] = {
    "bert": ("Bert", "ForSequenceClassification", {**SIZES, **TEXT}),
    "roberta": ("Roberta", "ForSequenceClassification", {**SIZES, **TEXT}),
    "mpnet": ("MPNet", "ForSequenceClassification", {**SIZES, **TEXT, "pad_token_id": 1}),
    "distilbert": (
        "DistilBert",
        "ForSequenceClassification",
        {**TEXT, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    ),
    "deberta-v2": (
        "DebertaV2",
        "ForSequenceClassification",
        {
            **SIZES,
            **TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
        },
    ),
    "modernbert": (
        "ModernBert",
        "ForSequenceClassification",
        {**SIZES, **TEXT, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "vit": ("ViT", "ForImageClassification", {**SIZES, "image_size": 8, "patch_size": 4}),
    "deit": ("DeiT", "ForImageClassification", {**SIZES, "image_size": 8, "patch_size": 4}),
    "dinov2": ("Dinov2", "ForImageClassification", {**SIZES, "image_size": 8, "patch_size": 4}),
    "dinov2_with_registers": (
        "Dinov2WithRegisters",
        "ForImageClassification",
        {**SIZES, "image_size": 8, "patch_size": 4},
    ),
    "llama": ("Llama", "ForSequenceClassification", {**SIZES, **TEXT, **GROUPED}),
    "mistral": ("Mistral", "ForSequenceClassification", {**SIZES, **TEXT, **GROUPED}),
    "qwen2": ("Qwen2", "ForSequenceClassification", {**SIZES, **TEXT, **GROUPED}),
    "qwen3": ("Qwen3", "ForSequenceClassification", {**SIZES, **TEXT, **GROUPED, "head_dim": 16}),
    "gpt2": (
        "GPT2",
        "ForSequenceClassification",
        {
            "vocab_size": 32,
            "n_positions": 34,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "pad_token_id": 0,
        },
    ),
    "phi": ("Phi", "ForSequenceClassification", {**SIZES, **TEXT}),
    "opt": (
        "OPT",
        "ForSequenceClassification",
        {
            **TEXT,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "word_embed_proj_dim": 32,
        },
    ),
    "bart": (
        "Bart",
        "ForConditionalGeneration",
        {
            **TEXT,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
        },
    ),
    "t5": (
        "T5",
        "ForConditionalGeneration",
        {
            "vocab_size": 32,
            "d_model": 32,
            "num_layers": 2,
            "num_heads": 4,
            "d_ff": 64,
            "d_kv": 8,
            "decoder_start_token_id": 0,
        },
    ),
}
"""Architecture, task and config of a 2-layer model of width 32 for each family."""
WRITERS: dict[str, tuple[str, str, dict[str, object]]] = {
    "gpt_neox": ("GPTNeoX", "ForCausalLM", {**SIZES, **TEXT}),
    "gemma2": (
        "Gemma2",
        "ForCausalLM",
        {**SIZES, **TEXT, **GROUPED, "head_dim": 16, "final_logit_softcapping": 2.0},
    ),
}
"""More models, which the tests of language alone ask for."""


EVERYWHERE = ("cp", "tucker", "tensor_train")
"""Decompositions that are tried over every construction. The others over a matrix, over all there
is, and where a method has them: constructions differ in their modes alone.
"""
PAIRS = [
    (construction, decomposition)
    for construction in CONSTRUCTIONS
    for decomposition in DECOMPOSITIONS
    if decomposition in EVERYWHERE
    or construction in ("none", "att_qkv_depth")
    or any(method[:2] == (construction, decomposition) for method in METHODS.values())
]


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    """A test of both tables, which gives neither itself, is run over PAIRS."""
    names = {"construction", "decomposition"}
    given = "".join(str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    if names <= set(metafunc.fixturenames) and not any(name in given for name in names):
        both = pytest.mark.parametrize(("construction", "decomposition"), PAIRS, scope="session")
        metafunc.definition.add_marker(both)


def pytest_collection_modifyitems(items):
    """Slow files first, so that no worker is left with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    return PAIRS


@pytest.fixture(scope="session", params=list(CONSTRUCTIONS))
def construction(request) -> str:
    return request.param


@pytest.fixture(scope="session", params=list(DECOMPOSITIONS))
def decomposition(request) -> str:
    return request.param


@pytest.fixture(scope="session", params=list(TINY))
def family(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def geometries():
    """A strategy: attention with equal or grouped heads, with the transposed output projection,
    with an MLP's maps.
    """
    from hypothesis import strategies as st

    @st.composite
    def draw(choose) -> Geometry:
        kv_heads, shared, head_dim, layers = (choose(st.integers(1, high)) for high in (3, 3, 6, 4))
        heads, names = kv_heads * shared, choose(st.sampled_from(["qkv", "q", "kv", "qkvo"]))
        hidden, inner = choose(st.integers(1, 12)), choose(st.integers(1, 12))
        widths = {
            "q": ("query", heads),
            "k": ("key", kv_heads),
            "v": ("value", kv_heads),
            "o": ("out", heads),
        }
        maps = [(widths[name][0], hidden, widths[name][1], head_dim, name == "o") for name in names]
        if choose(st.booleans()):
            maps += [("up", hidden, 1, inner, False), ("down", hidden, 1, inner, True)]
        return Geometry.of_maps(maps, layers)

    return draw()


@pytest.fixture(scope="session")
def ranks_of():
    """Useful ranks of a construction x decomposition on a geometry, drawn by a strategy's
    `choose`."""
    from hypothesis import strategies as st

    def draw(choose, construction: str, decomposition: str, geometry: Geometry) -> tuple[int, ...]:
        structure = Structure.of(construction, decomposition, geometry)
        wanted = choose(st.tuples(*[st.integers(1, 6)] * len(structure.bonds)))
        return structure.clip(wanted)

    return draw


@pytest.fixture(scope="session")
def tiny():
    """tiny(family, task, **config) -> a model with random weights large enough to matter, and
    inputs of 4 examples for it.
    """
    import torch
    import transformers

    def make(family: str, task: str | None = None, **more: object):
        architecture, usual, sizes = {**TINY, **WRITERS}[family]
        config = getattr(transformers, f"{architecture}Config")(**{**sizes, **more})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = getattr(transformers, architecture + (task or usual))(config).eval()
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1 and "embed" not in name:
                    torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
            ids = torch.randint(3, 32, (4, 6))
            images = torch.randn(4, 3, 8, 8)
        if (task or usual) == "ForImageClassification":
            return model, {"pixel_values": images}
        ids[1, 4:] = 0
        mask = (ids > 0).long()
        inputs = {"input_ids": ids, "attention_mask": mask}
        if family in ("t5", "bart"):
            inputs["decoder_input_ids"] = ids.flip(0)
        return model, inputs

    return make


@pytest.fixture(scope="session")
def perturb():
    """perturb(adapter, size) -> draws all entries of all factors anew, so that every update has the
    Frobenius norm `size`.
    """
    import torch

    def draw(adapter, size: float = 1.0, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor, _ in adapter.tensors_and_trials():
                for trial in range(tensor.n_trials):
                    for name, parameter in tensor.factors.items():
                        mask = tensor.entries(name, trial)
                        tensor.of_trial(name, parameter, trial)[mask] = torch.randn(
                            int(mask.sum()), generator=generator
                        )
                form = tensor.network.form
                zeros = [one.name for one in form.counted if one.start == "zero"]
                names = zeros if form.scaled else list(tensor.factors)[-1:]
                # of several changes the update is a polynomial: its norm is met step by step
                for _ in range(1 if len(names) == 1 else 40):
                    whole = tensor.whole()
                    norm = whole.flatten(1).norm(dim=1) / len(whole[0].flatten(0, 1)) ** 0.5
                    for factor in (tensor.factors[name] for name in names):
                        share = (size / norm) ** (1 / len(names))
                        factor.mul_(share.reshape(-1, *[1] * (factor.ndim - 1)))

    return draw


@pytest.fixture(scope="session")
def dense_update():
    """The oracle: (projection, layer, input, output) of one trial, by one einsum over all factors,
    the scale in it.
    """
    from tenslora_search.nn.naive import dense_update

    def build(tensor, trial: int = 0):
        return dense_update(tensor, trial) * tensor.site_scale[trial]

    return build


@pytest.fixture(scope="session")
def small_spec():
    """A spec with ranks of 2 (3 where copies may take it) on a geometry, as far as they are
    useful."""

    def make(
        construction: str, decomposition: str, geometry: Geometry, rank: int = 2, **options
    ) -> AdapterSpec:
        structure = Structure.of(construction, decomposition, geometry)
        ranks = structure.clip([rank] * len(structure.bonds))
        return AdapterSpec.of(construction, decomposition, ranks, geometry, **options)

    return make


WORDS = (
    "good fine great nice superb bad poor dull awful weak film plot cast scene ending "
    "is was the a very not so and"
).split()


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """One cache folder for all tests, those of other workers too: digits-vit is trained once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSLORA_CACHE", str(folder))
        yield folder


DRAWN = ("tests/report/", "tests/test_cli.py")
"""Whose tests look at the figures of a run."""


@pytest.fixture(scope="session", autouse=True)
def few_figures():
    """The figures of a run, half of what a small search takes, are drawn in tests of DRAWN alone;
    elsewhere a report is built without them.
    """
    from tenslora_search.report import build

    draw = build.front_figures

    def draw_if_looked_at(record, folder: Path) -> None:
        if os.environ.get("PYTEST_CURRENT_TEST", "").startswith(DRAWN):
            draw(record, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "front_figures", draw_if_looked_at)
        yield


def save_tokenizer(folder: Path, *, decoder: bool = False, types: bool = True) -> int:
    """A word-level tokenizer over WORDS; the decoder's has no pad token and adds nothing. Returns
    the vocabulary's size.

    `types`: whether an encoder is told which sentence of a pair a token is of.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[UNK]", "[EOS]"] if decoder else ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if not decoder:
        pairs = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=pairs
        )
    names = (
        {"eos_token": "[EOS]"}
        if decoder
        else {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    )
    inputs = ["input_ids", "attention_mask"] + (["token_type_ids"] if types and not decoder else [])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        model_max_length=64,
        model_input_names=inputs,
        **names,
    ).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> str:
    """A folder with a 2-layer BERT of width 16."""
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    size = save_tokenizer(folder)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    BertForSequenceClassification(
        BertConfig(vocab_size=size, max_position_embeddings=64, **sizes)
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory) -> str:
    """A folder with a 2-layer RoBERTa of width 16 that knows no task: its head is of a language
    model.
    """
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder = tmp_path_factory.mktemp("models") / "tiny-roberta"
    size = save_tokenizer(folder, types=False)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    RobertaForMaskedLM(
        RobertaConfig(vocab_size=size, max_position_embeddings=66, **sizes)
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_gpt(tmp_path_factory) -> str:
    """A folder with a 2-layer GPT-2 of width 16, whose tokenizer has no pad token."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "tiny-gpt"
    size = save_tokenizer(folder, decoder=True)
    config = GPT2Config(
        vocab_size=size,
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=1,
        eos_token_id=1,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> str:
    """A folder with a 2-layer Llama of width 16 with grouped queries, whose tokenizer has a chat
    template.
    """
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    size = save_tokenizer(folder, decoder=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for turn in messages %}the {{ turn['role'] }} is {{ turn['content'] }} [EOS] "
        "{% endfor %}{% if add_generation_prompt %}the assistant is {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=size, max_position_embeddings=64, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=32,
        bos_token_id=1, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory) -> str:
    """A folder with a T5 of 1 + 1 layers of width 16."""
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("models") / "tiny-t5"
    size = save_tokenizer(folder, types=False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token, tokenizer.model_input_names = "[SEP]", ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=size, d_model=16, num_layers=1, num_decoder_layers=1, num_heads=2, d_kv=8,
        d_ff=32, decoder_start_token_id=0, pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory) -> str:
    """A folder with a 1-layer ViT of width 16 for images of 12 x 12, normalised by numbers of its
    own.
    """
    from transformers import ViTConfig, ViTForImageClassification

    from tenslora_search.hub.images import ImageProcessor

    folder = tmp_path_factory.mktemp("models") / "tiny-vit"
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    ViTForImageClassification(ViTConfig(image_size=12, patch_size=4, **sizes)).save_pretrained(
        folder
    )
    ImageProcessor(height=12, width=12, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).save(folder)
    return str(folder)


@pytest.fixture(scope="session")
def reviews():
    """120 rows with two classes, 1 of 4 negative, in columns `sentence` and `label`; some texts
    twice.
    """
    import pandas as pd

    rows = []
    for number in range(120):
        mood = number % 4 == 0
        adjective = WORDS[5 + number % 5] if mood else WORDS[number % 5]
        rows.append(
            (
                f"the {WORDS[10 + number % 5]} was {'very ' * (number % 7)}{adjective}",
                "negative" if mood else "positive",
            )
        )
    return pd.DataFrame(rows, columns=["sentence", "label"])
