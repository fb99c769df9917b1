"""Trial-steps a second of packs on this machine, by pack size, for one construction and for a mix of them.

A trial-step is forward, backward and AdamW of one trial on one batch. Backbones have random weights; every row is timed in
one process, after a warm-up, and compared with a pack of one trial of plain LoRA in the same process.

    python scripts/bench_packs.py --out reports/bench_packs.md
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig

from tenslora_search.nn.attach import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.data import Split, TaskData
from tenslora_search.training.pack import Pack


@dataclass(frozen=True)
class Shape:
    """A backbone and a batch."""

    hidden: int
    heads: int
    layers: int
    vocabulary: int
    batch: int
    tokens: int


SHAPES = {
    "minilm": Shape(384, 12, 6, 30522, 32, 32),
    "roberta-base": Shape(768, 12, 12, 50265, 32, 64),
    "tiny": Shape(64, 4, 2, 1000, 8, 16),
}
UNIFORM = (("none", "cp"),)
MIXED = tuple(
    (construction, decomposition)
    for construction in ("none", "depth", "qkv", "qkv_depth", "att_qkv_depth")
    for decomposition in ("cp", "tucker")
)


def main() -> None:
    options = arguments()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    lines = [
        "# Trial-steps a second, by pack size",
        "",
        f"{name}, torch {torch.__version__}, transformers {transformers.__version__}. Made by `scripts/bench_packs.py`.",
        "",
        "| backbone | tokens | trials | structures | trial-steps/s | times one LoRA | peak GB |",
        "| --- | --- | --: | --- | --: | --: | --: |",
    ]
    print(*lines, sep="\n", flush=True)
    for backbone in options.backbones:
        shape = SHAPES[backbone]
        model = encoder(shape).to(device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32)
        data, geometry, alone = rows(shape, device), geometry_of(model), 0.0
        for n_trials in options.trials:
            for label, structures in (("LoRA", UNIFORM), ("mixed", MIXED)):
                if n_trials == 1 and label == "mixed":
                    continue
                rate, peak = measure(model, data, trials(n_trials, structures, geometry, options.budget), shape)
                alone = alone or rate
                tokens = f"{shape.batch} x {shape.tokens}"
                line = f"| {backbone} | {tokens} | {n_trials} | {label} | {rate:,.0f} | {rate / alone:.1f} | {peak:.1f} |"
                print(line, flush=True)
                lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def measure(model: nn.Module, data: TaskData, specs: Sequence[TrialSpec], shape: Shape) -> tuple[float, float]:
    """Trial-steps a second over about two seconds, and peak memory in GB."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    with Pack(model, data, specs, max_steps=100_000, batch_size=shape.batch) as pack:
        pack.advance(3)
        synchronize()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        n_steps, began = 0, time.perf_counter()
        while time.perf_counter() - began < 2.0:
            pack.advance(pack.step + 10)
            n_steps += 10
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    return n_steps * len(specs) / seconds, peak


def trials(n: int, structures: Sequence[tuple[str, str]], geometry: Geometry, budget: int) -> list[TrialSpec]:
    specs = [AdapterSpec.of(*pair, proportional(*pair, geometry, budget), geometry) for pair in structures]
    return [TrialSpec(specs[k % len(specs)], 1e-3, 1e-3, seed=k) for k in range(n)]


def rows(shape: Shape, device: torch.device) -> TaskData:
    """Random tokens, all rows full, on the device."""
    ids = torch.randint(5, 1000, (1024, shape.tokens), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}
    split = Split(inputs, (ids[:, 0] % 2).to(device), torch.full((1024,), shape.tokens))
    return TaskData("random", "accuracy", ("0", "1"), False, split, split, split, "")


def encoder(shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=shape.hidden,
        intermediate_size=4 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        vocab_size=shape.vocabulary,
    )
    return AutoModelForSequenceClassification.from_config(config)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbones", nargs="+", choices=list(SHAPES), default=["minilm", "roberta-base"])
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--budget", type=int, default=100_000, help="adapter parameters of each trial")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
