"""Exported adapters where they are served: peft with several adapters, pipelines, ONNX, and the
rules by which vLLM's and LoRAX's loaders take a folder.

A small search on texts is made here (or `--run` names one). The rules are those of vLLM's
`vllm/lora/peft_helper.py`, `lora_model.py` and `utils.py`, and LoRAX's `adapters/lora.py`, as their
sources stand; the servers themselves need a GPU and are not started.

    pip install onnx onnxruntime onnxscript
    python scripts/check_serving.py --out reports/check_serving.md

Exit code 1 if one of them does not give what the adapter gives.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from tenslora_search import Run, load_run, search
from tenslora_search.hub.places import model_place
from tenslora_search.spec.served import SERVER_RANKS

ASKED: dict[str, Any] = {
    "task": "docstrings", "model": "minilm", "budget": "50k", "trials": 4, "pruner": "none",
    "max_steps": 30, "batch_size": 16, "max_length": 48, "retest": 0, "executor": "inline",
}  # fmt: skip
TEXTS = ["Return the sum of the array elements.", "Draw a line " * 500]
PACKAGES = ("torch", "transformers", "peft", "onnx", "onnxruntime")
TOLERANCE = 1e-4


class Served:
    """A run's adapters on disk, and what the first of them answers."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.folder, numbers = folder, run.front()["number"].tolist()
        complete = run.trials().query("state == 'complete'")["number"].tolist()
        self.first, self.second = [*numbers, *(n for n in complete if n not in numbers)][:2]
        self.one = run.export(self.first, folder / "one")
        self.other = run.export(self.second, folder / "other")
        self.merged = run.export(self.first, folder / "merged", "merged")
        self.server = run.export(self.first, folder / "server", uniform_rank=True, head=False)
        self.server_other = run.export(
            self.second, folder / "server-other", uniform_rank=True, head=False
        )
        self.place = model_place(run.file.model)
        self.tokenizer = AutoTokenizer.from_pretrained(self.one)
        self.inputs = self.tokenizer(TEXTS, truncation=True, padding=True, return_tensors="pt")
        self.expected = self.logits(AutoModelForSequenceClassification.from_pretrained(self.merged))

    def base(self) -> Any:
        config = AutoConfig.from_pretrained(self.one)
        return AutoModelForSequenceClassification.from_pretrained(
            self.place, config=config, ignore_mismatched_sizes=True
        )

    @torch.no_grad()
    def logits(self, model: Any) -> torch.Tensor:
        return model.eval()(**self.inputs).logits

    def distance(self, model: Any) -> float:
        return float((self.logits(model) - self.expected).abs().max())


def hot_swap(it: Served) -> float:
    """peft: a second adapter beside it, and back."""
    model = PeftModel.from_pretrained(it.base(), it.one, adapter_name="one")
    model.load_adapter(it.other, adapter_name="other")
    model.set_adapter("other")
    assert it.distance(model) > 1e-3
    model.set_adapter("one")
    return it.distance(model)


def weighted(it: Served) -> float:
    """peft: add_weighted_adapter of both, without heads, weights 1 and 0 (`linear`, one rank)."""
    model = PeftModel.from_pretrained(it.base(), it.server, adapter_name="one")
    model.load_adapter(it.server_other, adapter_name="other")
    model.add_weighted_adapter(["one", "other"], [1.0, 0.0], "both", combination_type="linear")
    model.set_adapter("both")
    head = load_file(it.server / "head.safetensors")
    model.base_model.model.load_state_dict(head, strict=False)
    return it.distance(model)


def unloaded(it: Served) -> float:
    """peft: merge_and_unload."""
    return it.distance(PeftModel.from_pretrained(it.base(), it.one).merge_and_unload())


def long_texts(it: Served) -> float:
    """transformers: pipeline("text-classification", ..., truncation=True), 1,000 words, no
    warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = pipeline("text-classification", str(it.merged), truncation=True)(TEXTS)
    shares = it.expected.softmax(-1).max(-1).values
    return max(abs(one["score"] - float(share)) for one, share in zip(answers, shares, strict=True))


def onnx(it: Served) -> float:
    """torch.onnx.export (dynamo) of the merged folder, run by onnxruntime."""
    import onnxruntime

    model = AutoModelForSequenceClassification.from_pretrained(it.merged).eval()
    names, path = list(it.inputs), it.folder / "model.onnx"
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("token")}
    torch.onnx.export(
        model, kwargs=dict(it.inputs), f=path, input_names=names, output_names=["logits"],
        dynamic_shapes=dict.fromkeys(names, sizes), dynamo=True, verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path)
    given = {name: it.inputs[name].numpy() for name in names}
    return float(abs(session.run(["logits"], given)[0] - it.expected.numpy()).max())


def vllm_rules(it: Served) -> float:
    """vLLM's loader: modules_to_save None, nothing but lora_A and lora_B, alpha / r = 1, r one of
    its ranks and that of every map.
    """
    config = json.loads((it.server / "adapter_config.json").read_text())
    tensors = load_file(it.server / "adapter_model.safetensors")
    assert config["modules_to_save"] is None
    assert not config.get("use_dora")
    assert config["bias"] == "none"
    assert all(name.split(".")[-2] in ("lora_A", "lora_B") for name in tensors)
    assert all(name.startswith("base_model.model.") for name in tensors)
    assert config["r"] in SERVER_RANKS
    ranks = {value.shape[0] for name, value in tensors.items() if ".lora_A." in name}
    assert ranks == {config["r"]}, ranks
    return abs(config["lora_alpha"] / config["r"] - 1.0)


def lorax_rules(it: Served) -> float:
    """LoRAX's loader: lora_A and lora_B of a kind of map stack over the layers; the sum by hand."""
    tensors = load_file(it.server / "adapter_model.safetensors")
    kinds: dict[str, list[torch.Size]] = {}
    for name, value in tensors.items():
        kinds.setdefault(".".join(p for p in name.split(".") if not p.isdecimal()), []).append(
            value.shape
        )
    assert all(len(set(shapes)) == 1 for shapes in kinds.values())
    model = it.base()
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name in [one for one in tensors if ".lora_A." in one]:
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            weights[f"{module}.weight"] += tensors[name.replace("_A.", "_B.")] @ tensors[name]
    model.load_state_dict(load_file(it.server / "head.safetensors"), strict=False)
    return it.distance(model)


CHECKS: tuple[Callable[[Served], float], ...] = (
    hot_swap, weighted, unloaded, long_texts, onnx, vllm_rules, lorax_rules,
)  # fmt: skip


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        run = load_run(options.run) if options.run else search(**ASKED, out=Path(folder) / "run")
        it = Served(run, Path(folder))
        rows = [(check, *_outcome(check, it)) for check in CHECKS]
        ranks = it.first, json.loads((it.one / "adapter_config.json").read_text())["r"]
    text = page(rows, *ranks)
    print(text)
    if options.out:
        options.out.write_text(text)
    return 0 if all(not why and found <= TOLERANCE for _, found, why in rows) else 1


def _outcome(check: Callable[[Served], float], it: Served) -> tuple[float, str]:
    try:
        return check(it), ""
    except Exception as error:  # of a library: the report says so
        return float("nan"), f"{type(error).__name__}: {str(error).splitlines()[0]:.90}"


def page(rows: list[tuple[Any, float, str]], trial: int, rank: int) -> str:
    said = [
        f"| {' '.join((check.__doc__ or '').split())} | {why or f'{found:.1e}'} |"
        for check, found, why in rows
    ]
    return "\n".join(
        [
            "# Exported adapters where they are served",
            "",
            "`python scripts/check_serving.py --out reports/check_serving.md`",
            "",
            f"Trial {trial} of a small search on docstrings with MiniLM (peft's r is {rank}), "
            "exported as it is and with",
            "`--uniform-rank --no-head`. The number is the largest difference from the merged "
            "model's logits (of the",
            "pipeline, from its probabilities; of vLLM's rules, of alpha / r from 1).",
            "",
            "| where | difference |",
            "| --- | --- |",
            *said,
            "",
            f"With {', '.join(f'{name} {version(name)}' for name in PACKAGES)}.",
            "",
        ]
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="a run of a task of texts, with minilm")
    parser.add_argument("--out", type=Path, help="also write the table as Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
