"""load_processor(): what turns rows into a model's inputs, its tokenizer or its image processor."""

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.hub.contents import signature
from tenslora_search.hub.images import CONFIG_NAME, ImageProcessor
from tenslora_search.hub.places import kind_of, model_place, place_and_config, reading
from tenslora_search.hub.quiet import quiet
from tenslora_search.spec.families import family_of
from tenslora_search.spec.paths import shown
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def load_processor(name: str) -> "PreTrainedTokenizerBase | ImageProcessor":
    """The model's tokenizer, padding on the right, always with a pad token, cutting where the
    model's positions end; or its image processor.
    """
    place = model_place(name)
    with reading(name, place):
        return _processor(name, place, signature(place))


def check_length(model: str, max_length: int) -> None:
    """`QuestionError` for more tokens a text than the model reads: they would be cut off."""
    processor = load_processor(model)
    if isinstance(processor, ImageProcessor):
        return
    most = processor.model_max_length
    if max_length > most:
        raise QuestionError(
            f"--max-length {max_length:,} is more than the {most:,} tokens that {shown(model)} has "
            f"positions for; give {most:,} or less."
        )


@lru_cache(maxsize=4)
def _processor(
    name: str, place: str, known_by: object
) -> "PreTrainedTokenizerBase | ImageProcessor":
    """`known_by`: the signature of the model's files."""
    config = place_and_config(name)[1]
    if kind_of(name, config) == "image":
        return _image_processor(place, config)
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.model_max_length = min(tokenizer.model_max_length, _positions(config))
    if (
        getattr(config.get_text_config(), "type_vocab_size", 2) < 2
    ):  # all tokens are of one type, whatever the tokenizer says
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = (
            names  # which is what it saves
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise QuestionError(
                f"the tokenizer of {name!r} has neither a pad nor an end-of-text token; add one "
                "to its files."
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _image_processor(place: str, config: "PretrainedConfig") -> ImageProcessor:
    """By the model's preprocessor config; a model without one gets its config's image size and
    plain scaling.
    """
    from transformers.utils.hub import cached_file

    image_size = getattr(config, "image_size", None) or 224
    image_size = image_size if isinstance(image_size, int) else image_size[0]
    found: Any = cached_file(
        place,
        CONFIG_NAME,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    numbers = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
    return ImageProcessor.from_config(numbers, image_size=image_size)


def _positions(config: "PretrainedConfig") -> int:
    """Tokens that the model has positions for."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or sys.maxsize
    return positions - (
        text.pad_token_id + 1 if family_of(text.model_type).positions_after_pad else 0
    )
