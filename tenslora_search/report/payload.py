"""payload(): what the page's script needs of a run, as small as it can be: one list a trial,
constants said once.
"""

import math
import shlex
from typing import Any

from tenslora_search.report.pareto import PICKS, front
from tenslora_search.report.reading import SETTINGS, RunRecord
from tenslora_search.spec.methods import METHODS

FIELDS = (
    "number", "state", "method", "construction", "decomposition", "ranks", "n_params", "bytes",
    "extra_macs", "peak_memory_mb", "seconds", "score", "report_score", "report_std", "n_retests",
    "step", "reason",
)  # fmt: skip
AXES = {
    "n_params": "trainable parameters",
    "bytes": "bytes of the factors (float32)",
    "extra_macs": "extra multiply-adds a token, unmerged",
    "peak_memory_mb": "peak training memory, MB a trial",
    "seconds": "training time, seconds a trial",
}
"""What the front can be drawn against; one without a value is not offered."""
BASELINES = [name for name in METHODS if not name.startswith("TensLoRA")]
"""Named methods from elsewhere, each with a mark of its own."""


def payload(record: RunRecord) -> dict[str, Any]:
    """Columns and rows of all trials, and what they stand beside."""
    trials, curves = record.trials, record.curves
    settings = [name for name in SETTINGS if trials[name].nunique(dropna=False) > 1]
    columns = [*FIELDS, *settings]
    leading = front(trials)
    rows = [
        [_plain(value) for value in row]
        for row in trials[columns].itertuples(index=False, name=None)
    ]
    return {
        "columns": [*columns, "curve"],
        "rows": [
            [*row, [[step, _plain(score)] for step, score in curves.get(row[0], [])]]
            for row in rows
        ],
        "common": {
            name: _plain(trials[name].iloc[0])
            for name in SETTINGS
            if name not in settings and len(trials)
        },
        "settings": list(SETTINGS),
        "front": [int(number) for number in leading["number"]],
        "picks": {name: pick(leading) for name, pick in PICKS.items()} if len(leading) else {},
        "axes": {name: label for name, label in AXES.items() if (trials[name] > 0).any()},
        "baselines": [name for name in BASELINES if (trials["method"] == name).any()],
        "budget": record.file["budget"],
        "metric": record.file["metric"],
        "folder": str(record.folder),
        "shell": shlex.quote(str(record.folder)),
    }


def _plain(value: Any) -> Any:
    """A number for JSON: five digits are more than any chart or table shows; what is unknown is
    null.
    """
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() else float(f"{value:.6g}")
    return value
