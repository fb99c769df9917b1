"""load_backbone(): a pretrained model with a classification head, from safetensors alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tenslora_search.hub.quiet import quiet
from tenslora_search.nn.attach import head_parameters
from tenslora_search.spec.families import family_of
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel
from tenslora_search.data.processors import load_processor
from tenslora_search.hub.places import kind_of, place_and_config, reading


def load_backbone(name: str, *, n_labels: int, regression: bool = False) -> "PreTrainedModel":
    """The model in float32 and eval mode with a head of n_labels outputs (1 for regression); sdpa
    attention where it has it.

    A head of another size than the stored one starts anew; `model.started_anew` names all
    parameters that the weights' file does not give. The global random state stays as it was. Raises
    `QuestionError` for a name that is no model, a model without such a head, weights that are not
    safetensors, or weights that lack more of the model than its head and pooler.
    """
    import torch
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    place, config = place_and_config(name)
    kind = kind_of(name, config)
    factory: Any = (
        AutoModelForImageClassification if kind == "image" else AutoModelForSequenceClassification
    )
    config = _with_head(config, n_labels, regression)
    if kind == "text" and not family_of(config.get_text_config().model_type).positions_after_pad:
        # A decoder reads the last token that is no padding; numbered positions are as they were
        # trained.
        config.get_text_config().pad_token_id = config.pad_token_id = getattr(
            load_processor(name), "pad_token_id", None
        )
    options = {
        "config": config, "use_safetensors": True, "trust_remote_code": False,
        "ignore_mismatched_sizes": True, "dtype": torch.float32, "output_loading_info": True,
    }  # fmt: skip
    with reading(name, place), quiet(), torch.random.fork_rng(devices=[]):
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


def _with_head(config: "PretrainedConfig", n_labels: int, regression: bool) -> "PretrainedConfig":
    """A copy of the config with a head of that many outputs and unnamed labels."""
    changed = type(config).from_dict(config.to_dict())
    changed.num_labels = 1 if regression else n_labels
    changed.problem_type = "regression" if regression else "single_label_classification"
    return changed


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
