"""Which learning rates suit a pretrained encoder: four structures at eight rates on each task, all
in one pack a task.

python scripts/learning_rates.py --model minilm --data DIR --out reports/learning_rates.md   # DIR
holds a folder a task
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from tenslora_search.nn.places import geometry_of
from tenslora_search.runs.segment import Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack
from tenslora_search.training.segment import worker_backbone

RATES = (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 1.3e-2)


def main() -> None:
    options = arguments()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    lines = [
        "# Learning rates of a pretrained encoder",
        "",
        f"{options.model}, {options.max_steps:,} steps of 32 rows, one seed, head at 5e-3, scale "
        f"`matched`; {device}. "
        "Score on select / on report.",
    ]
    for task in options.tasks:
        lines += [
            "",
            f"## {task}",
            "",
            "| structure | parameters | " + " | ".join(f"{rate:g}" for rate in RATES) + " |",
        ]
        lines += ["| --- | --: |" + " --: |" * len(RATES)]
        lines += rows(task, options.model, options.data, options.max_steps)
        print(*lines[-6:], sep="\n", flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows(task: str, model_name: str, folder: Path | None, max_steps: int) -> list[str]:
    where = {"name": task, "data": str(folder / task) if folder else None}
    (model, anew), data = worker_backbone(Setting(model_name, where, 32, max_steps))
    specs = structures(geometry_of(model))
    trials = [TrialSpec(spec, rate, 5e-3, seed=1) for spec in specs for rate in RATES]
    with Pack(model, data, trials, max_steps=max_steps, batch_size=32, anew=anew) as pack:
        pack.advance(max_steps)
        scores = list(zip(pack.scores(data.select), pack.scores(data.report), strict=True))
    found = []
    for number, spec in enumerate(specs):
        cells = [
            f"{select:.3f} / {report:.3f}"
            for select, report in scores[number * len(RATES) : (number + 1) * len(RATES)]
        ]
        ranks = ",".join(map(str, spec.ranks))
        found.append(f"| {spec.method} {ranks} | {spec.n_params:,} | {' | '.join(cells)} |")
    return found


def structures(geometry: Geometry) -> Sequence[AdapterSpec]:
    tucker = proportional(Structure.of("att_qkv_depth", "tucker", geometry), 100_000)
    shared = proportional(Structure.of("qkv_depth", "cp", geometry), 20_000)
    return [
        AdapterSpec.of("none", "cp", (8,), geometry),
        AdapterSpec.of("none", "cp", (1,), geometry),
        AdapterSpec.of("att_qkv_depth", "tucker", tucker, geometry),
        AdapterSpec.of("qkv_depth", "cp", shared, geometry),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--tasks", nargs="+", default=["cola", "trec", "sst2"])
    parser.add_argument(
        "--data", type=Path, help="a folder with a folder a task; none: from the hub"
    )
    parser.add_argument("--max-steps", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
