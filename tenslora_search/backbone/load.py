"""load_backbone(): a pretrained model with a classification head, from safetensors alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tenslora_search.backbone.quantized import options_of_quantized
from tenslora_search.data.goals import Goal
from tenslora_search.hub.quiet import quiet
from tenslora_search.hub.turns import TURN
from tenslora_search.nn.attach import head_parameters
from tenslora_search.nn.token_loss import check_head
from tenslora_search.spec.families import family_of
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel
from tenslora_search.data.processors import load_processor
from tenslora_search.hub.places import kind_of, place_and_config, reading


class Backbone(NamedTuple):
    """A pretrained model, and the names of its parameters that the weights' file does not give."""

    model: Any
    anew: tuple[str, ...]


def load_backbone(name: str, goal: Goal) -> Backbone:
    """The model in float32 (a quantized one as it is, on the GPU) and eval mode with the head that
    the goal wants; sdpa attention where it has it.

    A head of another size than the stored one starts anew. The global random state stays as it was.
    Raises `QuestionError` for a name that is no model, a model without such a head, weights that
    are not safetensors, or weights that lack more of the model than its head and pooler.
    """
    with TURN:
        return _loaded(name, goal)


def _loaded(name: str, goal: Goal) -> Backbone:
    place, config = place_and_config(name)
    with reading(name, place), quiet():
        config = _configured(name, config, goal)
        _check_weights(name, place)
        more = options_of_quantized(name, config)
        model, info = _pretrained(place, config, _class_for(goal, name, config), more)
        if goal.writes:
            check_head(model.eval())
        return Backbone(model.eval(), _started_anew(name, model, info))


def _class_for(goal: Goal, name: str, config: "PretrainedConfig") -> str:
    """transformers' class; `QuestionError` where the goal is of what the model does not read."""
    kind = kind_of(name, config)
    if kind not in goal.auto:
        raise QuestionError(f"goal {goal.name} is of text; model {name!r} reads {kind}.")
    return goal.auto[kind]


def _configured(name: str, config: "PretrainedConfig", goal: Goal) -> "PretrainedConfig":
    """A copy of the config with the goal's head."""
    config = type(config).from_dict(config.to_dict())
    goal.configure(config)
    kind = kind_of(name, config)
    if kind == "text" and not family_of(config.get_text_config().model_type).positions_after_pad:
        # A decoder reads the last token that is no padding; numbered positions are as they were
        # trained.
        config.get_text_config().pad_token_id = config.pad_token_id = getattr(
            load_processor(name), "pad_token_id", None
        )
    return config


def _pretrained(
    place: str, config: "PretrainedConfig", auto: str, more: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]]:
    """The model by transformers' class `auto`, and what it says of the weights it found."""
    import torch
    import transformers

    factory: Any = getattr(transformers, auto)
    options = {
        "config": config, "use_safetensors": True, "trust_remote_code": False,
        "ignore_mismatched_sizes": True, "dtype": torch.float32, "output_loading_info": True,
        **more,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return factory.from_pretrained(place, attn_implementation="sdpa", **options)
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            return factory.from_pretrained(place, attn_implementation="eager", **options)


def _started_anew(name: str, model: "PreTrainedModel", info: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters that were not in the weights' file, or in another size; `QuestionError` if
    head and pooler are not all.
    """
    parameters, head = dict(model.named_parameters()), head_parameters(model)
    anew = sorted(
        {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])} & parameters.keys()
    )
    lacking = [key for key in anew if key not in head and "pooler" not in key.split(".")]
    if lacking:
        raise QuestionError(
            f"model {name!r}: its weights lack {len(lacking)} of {len(parameters)} parameters of "
            "its config, or hold them in "
            f"another size (first: {lacking[0]}); give a model whose config.json belongs to its "
            "weights."
        )
    return tuple(anew)


def _check_weights(name: str, place: str) -> None:
    """`QuestionError` if the model has no safetensors: what else there may be is not opened."""
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
    from transformers.utils.hub import cached_file

    for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME):
        if cached_file(place, file, _raise_exceptions_for_missing_entries=False) is not None:
            return
    raise QuestionError(
        f"model {name!r} has no safetensors weights, the only kind that is opened; save it anew "
        "by save_pretrained."
    )
