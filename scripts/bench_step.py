"""One training step of one adapter against peft's LoRA of the same slice rank: time and peak
memory, as ratios in one run.

Both are laid over the same RoBERTa-shaped model with random weights, in turn, again and again:
forward, backward, AdamW (fused on a GPU). Times are medians over rounds; each round's ratio
compares neighbours in time. Peak memory is what the allocator held at most during a step, the model
included. peft runs in its default settings and, in bf16, also with its adapter in bf16
(`autocast_adapter_dtype=False`), which is faster; the ratio is to the faster of the two by median.

    python scripts/bench_step.py --out reports/bench_step.md                      # the whole grid,
    on a GPU
    python scripts/bench_step.py --device cpu --hidden 256 --heads 4 --layers 2 --batch 8 --tokens
    32 --dtype fp32
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import peft
import torch
import transformers
from torch import nn
from transformers import AutoModelForSequenceClassification, RobertaConfig

from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.structure import Structure

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
Measure = tuple[float, float]
"""Seconds a step, and peak memory in MB."""


def main() -> None:
    options = arguments()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    shape = f"{options.layers} layers, {options.hidden} wide, {options.heads} heads"
    lines = [
        "# One adapter's training step against peft LoRA of the same slice rank",
        "",
        f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, peft "
        f"{peft.__version__}; "
        f"RoBERTa shape: {shape}; budget {options.budget:,} adapter parameters (`proportional`); "
        f"{options.rounds} rounds a row. Made by `scripts/bench_step.py`.",
        "",
    ]
    for dtype in options.dtype:
        model = roberta(options, DTYPES[dtype]).to(device)
        for tokens in options.tokens:
            lines += table(model, dtype, tokens, options)
        del model
        gc.collect()
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def table(model: nn.Module, dtype: str, tokens: int, options: argparse.Namespace) -> list[str]:
    """One row a construction x decomposition at one length and type."""
    batch = {
        "input_ids": torch.randint(5, 1000, (options.batch, tokens), device=options.device),
        "attention_mask": torch.ones(
            options.batch, tokens, dtype=torch.long, device=options.device
        ),
        "labels": torch.randint(0, 2, (options.batch,), device=options.device),
    }
    lines = [f"## {options.batch} x {tokens} tokens, {dtype}", ""]
    lines += [
        "| construction | decomposition | ranks | slice rank | ms | peft ms | time ratio | MB | "
        "peft MB | memory ratio |"
    ]
    lines += ["| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: |"]
    print(*lines, sep="\n", flush=True)
    for spec in specs(model, options):
        settings = (True, False) if dtype == "bf16" else (True,)
        ours: list[Measure] = []
        peers: dict[bool, list[Measure]] = {setting: [] for setting in settings}
        for _ in range(options.rounds):
            for setting in settings:
                peers[setting].append(run(lora(model, spec.slice_rank, setting), batch))
            ours.append(run(tensor(model, spec), batch))
        faster = min(settings, key=lambda setting: median(peers[setting]))
        (time_, memory), (time_peft, memory_peft) = median(ours), median(peers[faster])
        ratio = statistics.median(
            mine[0] / other[0] for mine, other in zip(ours, peers[faster], strict=True)
        )
        memories = (
            f"{memory:.0f} | {memory_peft:.0f} | {memory / memory_peft:.2f}"
            if memory_peft
            else "- | - | -"
        )
        ranks = ",".join(map(str, spec.ranks))
        times = f"{time_ * 1e3:.1f} | {time_peft * 1e3:.1f} | {ratio:.2f}"
        row = (
            f"| {spec.construction} | {spec.decomposition} | {ranks} | {spec.slice_rank} | "
            f"{times} | {memories} |"
        )
        print(row, flush=True)
        lines.append(row)
    return [*lines, ""]


def specs(model: nn.Module, options: argparse.Namespace) -> Iterator[AdapterSpec]:
    geometry = geometry_of(model)
    for construction in options.constructions:
        for decomposition in options.decompositions:
            ranks = proportional(
                Structure.of(construction, decomposition, geometry), options.budget
            )
            yield AdapterSpec.of(construction, decomposition, ranks, geometry)


@contextmanager
def tensor(model: nn.Module, spec: AdapterSpec) -> Iterator[nn.Module]:
    """The model with our adapter on it."""
    adapter = attach(model, spec)
    try:
        yield model
    finally:
        adapter.detach()


@contextmanager
def lora(model: nn.Module, rank: int, autocast: bool) -> Iterator[nn.Module]:
    """The model with peft's LoRA on the same maps, the head trained as well."""
    config = peft.LoraConfig(r=rank, target_modules=["query", "key", "value"], lora_dropout=0.0)
    wrapped = peft.get_peft_model(model, config, autocast_adapter_dtype=autocast)
    for name, parameter in model.named_parameters():
        if name.startswith("classifier"):
            parameter.requires_grad_(True)
    try:
        yield model
    finally:
        wrapped.unload()
        model.requires_grad_(False)


def run(adapted: Callable, batch: dict[str, torch.Tensor]) -> Measure:
    """Seconds a step and peak MB: a few steps to warm up, then about a quarter of a second of them,
    three at least.
    """
    with adapted as model:
        device = batch["labels"].device
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type == "cuda")

        def step() -> None:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        for _ in range(2):
            step()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        once = timed(step, 1, device)
        seconds = timed(step, max(3, min(50, round(0.25 / once))), device)
        peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
    return seconds, peak


def timed(step: Callable[[], None], n: int, device: torch.device) -> float:
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    began = time.perf_counter()
    for _ in range(n):
        step()
    synchronize()
    return (time.perf_counter() - began) / n


def median(measures: list[Measure]) -> Measure:
    times, memories = zip(*measures, strict=True)
    return statistics.median(times), statistics.median(memories)


def roberta(options: argparse.Namespace, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    config = RobertaConfig(
        hidden_size=options.hidden,
        intermediate_size=4 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        max_position_embeddings=max(options.tokens) + 2,
        vocab_size=50265 if options.hidden == 768 else 1000,
    )
    return AutoModelForSequenceClassification.from_config(config).to(dtype).train()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 512])
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument(
        "--budget",
        type=int,
        default=221_184,
        help="adapter parameters; LoRA of rank 4 on q, k, v by default",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--constructions", nargs="+", default=list(CONSTRUCTIONS))
    parser.add_argument("--decompositions", nargs="+", default=["cp", "tucker"])
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
