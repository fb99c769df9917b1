"""Models of 4 or 8 bits where they cannot be loaded: one line.
tests/training/test_gpu_language.py trains on one.
"""

import importlib.util
import json
import shutil

import pytest
import torch

from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.goals import Classes
from tenslora_search.spec.table import QuestionError


@pytest.mark.parametrize(
    ("method", "has_package", "said"),
    [
        ("gptq", True, r"is quantized by gptq; frozen weights are whole, or of 4 or 8 bits"),
        ("bitsandbytes", False, r"needs bitsandbytes: pip install 'tenslora-search\[quantized\]'"),
        ("bitsandbytes", True, r"needs a CUDA GPU, and there is none here"),
    ],
)
def test_what_a_quantized_model_lacks_is_one_line(
    method, has_package, said, tiny_bert, tmp_path, monkeypatch
):
    folder = tmp_path / "four"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    find, found = importlib.util.find_spec, importlib.util.find_spec("json")

    def looked_for(name, *more):
        return find(name, *more) if name != "bitsandbytes" else found if has_package else None

    monkeypatch.setattr(importlib.util, "find_spec", looked_for)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(QuestionError, match=said) as told:
        load_backbone(str(folder), Classes(("a", "b"), "accuracy"))
    assert "\n" not in str(told.value)
