"""A cache of the tests' own, and tiny models made on the spot: an encoder, a decoder, and a vision model."""

from pathlib import Path

import pytest

WORDS = "good fine great nice superb bad poor dull awful weak film plot cast scene ending is was the a very not so and".split()


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """One cache folder for all tests of this folder, so that digits-vit is trained once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSLORA_CACHE", str(folder))
        yield folder


def save_tokenizer(folder: Path, *, decoder: bool = False, types: bool = True) -> int:
    """A word-level tokenizer over WORDS; the decoder's has no pad token and adds nothing. Returns the vocabulary's size.

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
    names = {"eos_token": "[EOS]"} if decoder else {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "attention_mask"] + (["token_type_ids"] if types and not decoder else [])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", model_max_length=64, model_input_names=inputs, **names
    ).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> str:
    """A folder with a 2-layer BERT of width 16."""
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    size = save_tokenizer(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertForSequenceClassification(BertConfig(vocab_size=size, max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory) -> str:
    """A folder with a 2-layer RoBERTa of width 16 that knows no task: its head is of a language model."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder = tmp_path_factory.mktemp("models") / "tiny-roberta"
    size = save_tokenizer(folder, types=False)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    RobertaForMaskedLM(RobertaConfig(vocab_size=size, max_position_embeddings=66, **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_gpt(tmp_path_factory) -> str:
    """A folder with a 2-layer GPT-2 of width 16, whose tokenizer has no pad token."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "tiny-gpt"
    size = save_tokenizer(folder, decoder=True)
    config = GPT2Config(vocab_size=size, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory) -> str:
    """A folder with a 1-layer ViT of width 16 for images of 12 x 12, normalised by numbers of its own."""
    from transformers import ViTConfig, ViTForImageClassification

    from tenslora_search.training.images import ImageProcessor

    folder = tmp_path_factory.mktemp("models") / "tiny-vit"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ViTForImageClassification(ViTConfig(image_size=12, patch_size=4, **sizes)).save_pretrained(folder)
    ImageProcessor(height=12, width=12, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).save(folder)
    return str(folder)


@pytest.fixture(scope="session")
def reviews():
    """120 rows with two classes, 1 of 4 negative, in columns `sentence` and `label`; some texts twice."""
    import pandas as pd

    rows = []
    for number in range(120):
        mood = number % 4 == 0
        adjective = WORDS[5 + number % 5] if mood else WORDS[number % 5]
        rows.append(
            (f"the {WORDS[10 + number % 5]} was {'very ' * (number % 7)}{adjective}", "negative" if mood else "positive")
        )
    return pd.DataFrame(rows, columns=["sentence", "label"])
