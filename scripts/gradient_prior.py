"""Does the first gradient rank configurations of equal size? Measured on recorded curves.

    python scripts/gradient_prior.py reports/curves/trec --model minilm --data DATA/trec

Three measures are taken of every recorded configuration before anything is trained:

- `caught`: the share of the first gradient that it can hold at most (spec/caught.py);
- `random`: the same of a gradient of random numbers: what the structure alone says;
- `at zero`: the share of its trained parameters in factors that start at zero, which alone learn at
  the first step. It needs no gradient.

Spearman's correlation is with the score on select and on report; what size and learning rate
explain is taken out by a cubic fit to the ranks of the scores. The mean over eight bins of size
stands beside that over all. FOLDER/spectra.json keeps what the probe gradient_spectra answers, for
`scripts/compare_searchers.py` and for a second call; it is derived from the task and stays out of
the repository.
"""

import argparse
import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from tenslora_search.runs.segment import Probe, Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.caught import caught, held_of
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.promise import at_zero
from tenslora_search.training.segment import probe
from tenslora_search.training.spectra import spectra

N_BINS, DEGREE = 8, 3


def asked(about: dict[str, Any], model: str, data: Path) -> list[float]:
    """What a search with this prior would ask the model."""
    where = {"name": about["task"], "data": str(data.resolve()), "fit_rows": about["rows"]["fit"]}
    setting = Setting(model, where, about["batch"], about["max_steps"])
    geometry = Geometry.from_json(about["geometry"])
    lora = TrialSpec(AdapterSpec.of("none", "cp", 1, geometry), 1e-3, 1e-3)
    return list(probe(Probe("gradient_spectra", setting, (lora,))))


def at_random(geometry: Geometry) -> list[float]:
    """The spectra of a gradient of random numbers."""
    (group,), generator = geometry.groups, torch.Generator().manual_seed(0)
    shape = group.layers, group.input, group.output
    drawn = {name: list(torch.randn(shape, generator=generator)) for name in group.projections}
    return spectra(geometry, drawn)


def measures_of(adapters: Sequence[AdapterSpec], numbers: Sequence[float]) -> pd.DataFrame:
    geometry = adapters[0].geometry
    columns = {"at zero": [at_zero(one) for one in adapters]}
    for name, found in {"caught": numbers, "random": at_random(geometry)}.items():
        held = held_of([geometry], found)[geometry]
        columns[name] = [caught(one, held) for one in adapters]
    return pd.DataFrame(columns)


def ranked(rows: pd.DataFrame, measures: pd.DataFrame, last_step: int) -> list[str]:
    """A table of Spearman correlations at equal size."""
    rates = [json.loads(text)["learning_rate"] for text in rows["point"]]
    rate, size = (standard(np.log(np.array(one, float))) for one in (rates, rows["n_params"]))
    bins = pd.qcut(rows["n_params"], N_BINS, labels=False, duplicates="drop").to_numpy()
    mixed = {name: standard(without(one.rank(), size)) for name, one in measures.items()}
    mixed["caught + at zero"] = mixed["caught"] + mixed["at zero"]
    mixed["random + at zero"] = mixed["random"] + mixed["at zero"]
    lines = ["| measure | select | in bins | report | in bins |", "| --- |" + " --: |" * 4]
    for name, measure in mixed.items():
        cells: list[float] = []
        for target in (f"select_{last_step}", "report"):
            score = without(rows[target].rank(), size, rate)
            one = pd.DataFrame({"measure": measure, "score": score})
            parts = [part.corr("spearman").iloc[0, 1] for _, part in one.groupby(bins)]
            cells += [one.corr("spearman").iloc[0, 1], float(np.mean(parts))]
        lines.append(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return lines


def without(values: Any, *causes: Any) -> Any:
    """What a cubic fit in the causes leaves of values."""
    powers = [one for one in product(range(DEGREE + 1), repeat=len(causes)) if sum(one) <= DEGREE]
    terms = [math.prod(c**k for c, k in zip(causes, one, strict=True)) for one in powers]
    outputs = np.asarray(values, float)
    inputs = np.stack([np.broadcast_to(term, outputs.shape) for term in terms], 1)
    return outputs - inputs @ np.linalg.lstsq(inputs, outputs, rcond=None)[0]


def standard(values: Any) -> Any:
    return (values - values.mean()) / values.std()


def main() -> None:
    options = arguments()
    table = pq.read_table(options.folder / "curves.parquet")
    about, rows = json.loads(table.schema.metadata[b"about"]), table.to_pandas()
    kept = options.folder / "spectra.json"
    if not kept.exists():
        kept.write_text(json.dumps(asked(about, options.model, options.data)) + "\n")
    adapters = [TrialSpec.from_json(json.loads(text)).adapter for text in rows["spec"]]
    measures = measures_of(adapters, json.loads(kept.read_text()))
    whole = rows["report"].notna() & rows[f"select_{about['max_steps']}"].notna()
    lines = ranked(rows[whole], measures[whole], about["max_steps"])
    print(f"### {about['task']} on {about['model']}", "", *lines, sep="\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of record_curves.py")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--data", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
