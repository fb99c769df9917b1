r"""Trial-steps a second of packs, by size, for one construction and for a mix of ten, beside one
process a trial with peft.

A trial-step is forward, backward and AdamW of one trial on one batch. Backbones have random
weights. The baseline is what a user of Ray Tune does today: a process a trial, peft's LoRA, fused
AdamW, alone on the GPU and eight at a time on shares of it; eight start measuring together. MFU is
the arithmetic of the frozen backbone (forward, and backward to its inputs) over the rate of a large
matrix product, measured first in the same run.

    python scripts/bench_packs.py --out reports/bench_packs.md                                     #
    on a GPU
    python scripts/bench_packs.py --backbones smollm2-135m qwen2.5-0.5b --trials 1 16 \
        --processes 1 2 4 8 --out reports/bench_language.md       # language models, in 6 minutes
    python scripts/bench_packs.py --backbones digits-vit --trials 1 2 4 8 16 32 --processes
    # on a CPU
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    Qwen2Config,
    RobertaConfig,
    ViTConfig,
)

from tenslora_search.backbone.ready import made_ready
from tenslora_search.data.batches import Split
from tenslora_search.data.goals import GOALS, Classes
from tenslora_search.data.task import TaskData
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

BASELINE_SECONDS = 4.0


@dataclass(frozen=True)
class Shape:
    """A backbone and a batch; `size` pixels a side, or none for text."""

    hidden: int
    heads: int
    layers: int
    batch: int
    tokens: int
    budget: int
    """adapter parameters of each trial"""
    size: int | None = None
    patch: int = 16
    kv_heads: int = 0
    inner: int = 0
    vocabulary: int = 0
    """of a language model; 0: a classifier"""

    @property
    def flops(self) -> float:
        """Of a trial-step: forward and back 2 a weight and token, 12 h^2 weights a layer; attention
        3 times 4 L h a token. Of a language model its own widths and the output embeddings too.
        """
        if self.vocabulary:
            keys = self.hidden * self.kv_heads // self.heads
            weights = 2 * self.hidden * (self.hidden + keys) + 3 * self.hidden * self.inner
            a_layer = 4 * weights + 6 * self.tokens * self.hidden  # a token sees half of the others
            outputs = 4 * self.hidden * self.vocabulary
            return self.batch * self.tokens * (self.layers * a_layer + outputs)
        return (
            self.batch
            * self.tokens
            * self.layers
            * (48 * self.hidden**2 + 12 * self.tokens * self.hidden)
        )

    @property
    def pack_flops(self) -> float:
        """Of a trial-step in a pack, whose last layer goes on with one token past the attention
        (`read_first_token`).
        """
        if self.vocabulary:
            return self.flops
        left_out = (
            8 if self.size else 9
        )  # of 12 h^2 weights; a ViT still projects every token's attention
        return self.flops - self.batch * (self.tokens - 1) * 4 * left_out * self.hidden**2


SHAPES = {
    "minilm": Shape(384, 12, 6, batch=32, tokens=32, budget=100_000),
    "roberta-base": Shape(768, 12, 12, batch=32, tokens=64, budget=300_000),
    "vit-base": Shape(768, 12, 12, batch=16, tokens=197, budget=300_000, size=224),
    "smollm2-135m": Shape(
        576, 9, 30, batch=8, tokens=256, budget=500_000, kv_heads=3, inner=1536, vocabulary=49152
    ),
    "qwen2.5-0.5b": Shape(
        896, 14, 24, batch=4, tokens=256, budget=500_000, kv_heads=2, inner=4864, vocabulary=151936
    ),
    "tiny-lm": Shape(
        64, 4, 2, batch=2, tokens=32, budget=5_000, kv_heads=2, inner=128, vocabulary=1000
    ),
    "digits-vit": Shape(64, 4, 4, batch=16, tokens=17, budget=10_000, size=8, patch=2),
}
LORA = (("none", "cp"),)
MIXED = tuple(
    (construction, decomposition)
    for construction in ("none", "depth", "qkv", "qkv_depth", "att_qkv_depth")
    for decomposition in ("cp", "tucker")
)


class Row(NamedTuple):
    """One measurement: trial-steps a second, share of the matrix rate, GB."""

    backbone: str
    n_trials: int
    label: str
    rate: float
    mfu: float
    peak: float


def main() -> None:
    options = arguments()
    device = torch.device(options.device)
    peak_rate = matmul_rate(device)
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} thread(s)"
    )
    lines = [
        "# Trial-steps a second, by pack size",
        "",
        f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, commit "
        f"{options.commit}. "
        f"Matrix product: {peak_rate / 1e12:,.1f} TFLOP/s. Made by `scripts/bench_packs.py`.",
        "",
        *(f"- {name}: {s.layers} layers, {s.hidden} wide, {s.batch} x {s.tokens} tokens, "
          f"{s.budget:,} parameters a trial"
          for name, s in SHAPES.items() if name in options.backbones),
        "",
        "| backbone | trials | structures | trial-steps/s | times one process | MFU | peak GB |",
        "| --- | --: | --- | --: | --: | --: | --: |",
    ]  # fmt: skip
    print(*lines, sep="\n", flush=True)
    alone = {}
    rows: list[Row] = []

    def tell(row: Row) -> None:
        rows.append(row)
        times = f"{row.rate / alone[row.backbone]:.1f}" if row.backbone in alone else "-"
        line = (
            f"| {row.backbone} | {row.n_trials} | {row.label} | {row.rate:,.0f} | {times} | "
            f"{row.mfu:.2f} | {row.peak:.1f} |"
        )
        print(line, flush=True)
        lines.append(line)

    if options.processes:
        for n_processes in options.processes:
            for backbone, rate in baseline(options.backbones, n_processes).items():
                if n_processes == 1:
                    alone[backbone] = rate
                label = (
                    f"peft, {n_processes} process{'es' if n_processes > 1 else ''} under Ray Tune"
                )
                tell(
                    Row(
                        backbone,
                        n_processes,
                        label,
                        rate,
                        rate * SHAPES[backbone].flops / peak_rate,
                        0.0,
                    )
                )
    for backbone in options.backbones:
        shape = SHAPES[backbone]
        model = made_ready(encoder(shape))
        geometry, data = geometry_of(model), task(shape, device)
        for n_trials in options.trials:
            for label, structures in (("LoRA", LORA), ("mixed", MIXED)):
                if n_trials == 1 and label == "mixed":
                    continue
                specs = trials(n_trials, structures, geometry, shape.budget)
                try:
                    rate, peak = measure(model, data, specs, shape)
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    lines.append(f"| {backbone} | {n_trials} | {label} | out of memory | | | |")
                    continue
                tell(
                    Row(backbone, n_trials, label, rate, rate * shape.pack_flops / peak_rate, peak)
                )
        if backbone in options.overhead:
            lines += overhead(model, data, geometry, shape, backbone, options.overhead_trials)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        plot(rows, name, options.out.with_suffix(".png"))


def overhead(
    model: nn.Module, data: TaskData, geometry: Geometry, shape: Shape, backbone: str, n_trials: int
) -> list[str]:
    """What mixing costs by itself: a mixed pack beside uniform packs of each of its ten structures,
    of the same ranks.
    """
    each = [
        measure(model, data, trials(n_trials, (pair,), geometry, shape.budget), shape)[0]
        for pair in MIXED
    ]
    mixed = measure(model, data, trials(n_trials, MIXED, geometry, shape.budget), shape)[0]
    uniform = statistics.harmonic_mean(each)  # equal numbers of trial-steps of each
    text = (
        f"{backbone}, {n_trials} trials: mixed {mixed:,.0f} trial-steps/s; uniform packs of each "
        "of its structures "
        f"{uniform:,.0f} on (harmonic) average: mixing costs {uniform / mixed - 1:.0%}."
    )
    print(text, flush=True)
    return ["", text]


def measure(
    model: nn.Module, data: TaskData, specs: Sequence[TrialSpec], shape: Shape
) -> tuple[float, float]:
    """Trial-steps a second, warm, and peak memory in GB."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with Pack(model, data, specs, max_steps=100_000, batch_size=shape.batch) as pack:
        seconds = pack.seconds_a_step(min(40, max(6, 320 // len(specs))))
    return len(specs) / seconds, torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0


def trials(
    n: int, structures: Sequence[tuple[str, str]], geometry: Geometry, budget: int
) -> list[TrialSpec]:
    specs = [
        AdapterSpec.of(*pair, proportional(Structure.of(*pair, geometry), budget), geometry)
        for pair in structures
    ]
    return [TrialSpec(specs[k % len(specs)], 1e-3, 1e-3, seed=k) for k in range(n)]


def task(shape: Shape, device: torch.device) -> TaskData:
    """Random rows, all full, on the device."""
    generator = torch.Generator().manual_seed(0)
    n_rows = 256
    if shape.vocabulary:
        ids = torch.randint(5, 1000, (n_rows, shape.tokens), generator=generator).to(device)
        targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], 1)
        split = Split(
            {"input_ids": ids, "targets": targets},
            torch.zeros(n_rows, dtype=torch.int64, device=device),
            torch.full((n_rows,), shape.tokens),
        )
        goal = GOALS["next_token"](metric="minus_loss")
        return TaskData("random", goal, split, split, split, "")
    labels = torch.randint(0, 2, (n_rows,), generator=generator).to(device)
    if shape.size is not None:
        pixels = torch.randint(
            0, 255, (n_rows, 3, shape.size, shape.size), dtype=torch.uint8, generator=generator
        )
        split = Split(
            {"pixel_values": pixels.to(device)},
            labels,
            torch.ones(n_rows, dtype=torch.int64),
            ImageProcessor(shape.size, shape.size),
        )
    else:
        ids = torch.randint(5, 1000, (n_rows, shape.tokens), generator=generator).to(device)
        split = Split(
            {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
            labels,
            torch.full((n_rows,), shape.tokens),
        )
    return TaskData("random", Classes(("0", "1"), "accuracy"), split, split, split, "")


def encoder(shape: Shape) -> Any:
    """As transformers makes it."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": shape.hidden,
        "intermediate_size": 4 * shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
    }
    if shape.vocabulary:
        kind = LlamaConfig if shape.hidden != 896 else Qwen2Config
        sizes |= {"num_key_value_heads": shape.kv_heads, "intermediate_size": shape.inner}
        config = kind(vocab_size=shape.vocabulary, tie_word_embeddings=True, **sizes)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.device(device):  # drawn there, in seconds
            return AutoModelForCausalLM.from_config(config).eval()
    if shape.size is not None:
        model = AutoModelForImageClassification.from_config(
            ViTConfig(image_size=shape.size, patch_size=shape.patch, **sizes)
        )
    elif shape.hidden == 768:
        model = AutoModelForSequenceClassification.from_config(
            RobertaConfig(vocab_size=50265, **sizes)
        )
    else:
        model = AutoModelForSequenceClassification.from_config(
            BertConfig(vocab_size=30522, **sizes)
        )
    return model.eval()


def matmul_rate(device: torch.device) -> float:
    """Operations a second of a large product, in bfloat16 on a GPU."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for n in (3, 10):
        began = time.perf_counter()
        for _ in range(n):
            product = a @ b
        product.sum().item()  # waits for the device
        seconds = time.perf_counter() - began
    return n * 2 * size**3 / seconds


def baseline(backbones: Sequence[str], n_processes: int) -> dict[str, float]:
    """Trial-steps a second of all processes together, each backbone in turn."""
    import ray
    from ray import tune

    if not ray.is_initialized():
        ray.init(
            address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "backbones": list(backbones),
            "folder": folder,
            "n": n_processes,
            "trial": tune.grid_search(list(range(n_processes))),
        }
        share = 1 / n_processes if torch.cuda.is_available() else 0
        cores = min(
            1.0, ray.cluster_resources()["CPU"] / n_processes
        )  # all at the same time, whatever the machine
        tuner = tune.Tuner(
            tune.with_resources(one_process, {"cpu": cores, "gpu": share}),
            param_space=config,
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
    return {backbone: sum(result.metrics[backbone] for result in results) for backbone in backbones}


def one_process(config: dict[str, Any]) -> None:
    """The trainable: peft's LoRA on each backbone; all processes begin to measure together."""
    from ray import tune

    tune.report({backbone: peft_rate(backbone, config) for backbone in config["backbones"]})


def peft_rate(backbone: str, config: dict[str, Any]) -> float:
    """Trial-steps a second of this process: its share of what all do at the same time."""
    import peft

    shape, device = SHAPES[backbone], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config["trial"])
    model = encoder(shape).to(
        device=device, dtype=torch.bfloat16 if device.type == "cuda" else None
    )
    is_named_so = shape.size is not None or shape.vocabulary
    maps = ["q_proj", "k_proj", "v_proj"] if is_named_so else ["query", "key", "value"]
    saved = None if shape.vocabulary else ["classifier"]
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(r=8, target_modules=maps, modules_to_save=saved)
    )
    trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type == "cuda")
    data = task(shape, device)
    batch = {name: value[: shape.batch] for name, value in data.fit.inputs.items()}
    if data.fit.processor is not None:
        batch = {
            "pixel_values": data.fit.processor.normalise(batch["pixel_values"]).to(model.dtype)
        }
    labels = data.fit.labels[: shape.batch]
    if shape.vocabulary:  # transformers shifts them itself
        labels = batch["input_ids"]
        del batch["targets"]

    def step() -> None:
        wrapped(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(5):
        step()
    wait_for_all(Path(config["folder"]), backbone, config["trial"], config["n"])
    n_steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < BASELINE_SECONDS:
        step()
        n_steps += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return n_steps / (time.perf_counter() - began)


def wait_for_all(folder: Path, name: str, trial: int, n: int) -> None:
    (folder / f"ready-{name}-{trial}").touch()
    while len(list(folder.glob(f"ready-{name}-*"))) < n:
        time.sleep(0.01)


def plot(rows: Sequence[Row], device: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    backbones = list(dict.fromkeys(row.backbone for row in rows))
    figure = Figure(figsize=(3.6 * len(backbones), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, backbone in zip(
        figure.subplots(1, len(backbones), squeeze=False)[0], backbones, strict=True
    ):
        for label, color, marker in (("LoRA", "#d55e00", "^"), ("mixed", "#0072b2", "o")):
            found = [row for row in rows if row.backbone == backbone and row.label == label]
            axes.plot(
                [row.n_trials for row in found],
                [row.rate for row in found],
                marker=marker,
                color=color,
                label=f"pack, {label}",
            )
        for row in rows:
            if row.backbone == backbone and row.label.startswith("peft"):
                style = ":" if row.n_trials == 1 else "--"
                axes.axhline(
                    row.rate,
                    color="0.4",
                    ls=style,
                    lw=1,
                    label=f"{row.n_trials} process{'es' * (row.n_trials > 1)}, peft",
                )
        axes.set(xscale="log", yscale="log", xlabel="trials side by side", title=backbone)
        axes.set_xticks(sorted({row.n_trials for row in rows}))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("trial-steps a second")
    figure.axes[0].legend(fontsize=7, frameon=False)
    figure.suptitle(device, fontsize=9)
    figure.savefig(path, dpi=130)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--backbones",
        nargs="+",
        choices=list(SHAPES),
        default=["minilm", "roberta-base", "vit-base"],
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 4, 16, 64, 128])
    parser.add_argument(
        "--processes",
        type=int,
        nargs="*",
        default=[1, 8],
        help="of the baseline; none leaves it out",
    )
    parser.add_argument(
        "--overhead",
        nargs="*",
        default=[],
        help="backbones on which mixing is compared structure by structure",
    )
    parser.add_argument("--overhead-trials", type=int, default=64)
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
