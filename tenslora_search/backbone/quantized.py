"""Models whose frozen weights have 4 or 8 bits (bitsandbytes), as their config says: a folder or a
hub id of a model that was saved so. Adapters, heads and all else stay as they are.
"""

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

INSTALL = "pip install 'tenslora-search[quantized]'"


def options_of_quantized(name: str, config: "PretrainedConfig") -> dict[str, Any]:
    """What transformers is told besides to load a quantized model: onto the GPU, the rest of it in
    bfloat16. Nothing for a model that is not; `QuestionError` where it cannot be loaded here.
    """
    import torch

    said: Any = getattr(config, "quantization_config", None)
    if not said:
        return {}
    how = said if isinstance(said, Mapping) else said.to_dict()
    method = getattr(how.get("quant_method"), "value", how.get("quant_method"))
    if method != "bitsandbytes":
        raise QuestionError(
            f"model {name!r} is quantized by {method}; frozen weights are whole, or of 4 or 8 bits "
            "by bitsandbytes."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise QuestionError(
            f"model {name!r} is quantized and needs bitsandbytes: {INSTALL}; or take the model "
            "that it was made of."
        )
    if not torch.cuda.is_available():
        raise QuestionError(
            f"model {name!r} is quantized, which needs a CUDA GPU, and there is none here; take "
            "the model that it was made of."
        )
    return {"dtype": torch.bfloat16, "device_map": {"": torch.cuda.current_device()}}
