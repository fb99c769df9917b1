"""run.json: read as it stands."""

import json
from pathlib import Path
from typing import Any

from tenslora_search.runs.versions import check_version
from tenslora_search.spec.table import QuestionError

RUN_VERSION = 1
"""Of run.json's form."""


NEEDED = (
    "question", "budget", "head_params", "task", "model", "metric", "labels", "geometry", "rungs", "versions",
    "data_digest", "command",
)  # fmt: skip
"""What every run.json says; the rest came later, or comes at the end."""


def read_run_file(folder: Path) -> dict[str, Any]:
    """run.json of a run folder; `QuestionError` if there is none, it is broken, or it is from a newer version."""
    path = folder / "run.json"
    if not path.is_file():
        raise QuestionError(f"{folder} is no run folder: run.json is missing.")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        version = int(run["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QuestionError(f"{path} cannot be read: {error}.") from error
    check_version(path, version, RUN_VERSION)
    missing = [name for name in NEEDED if name not in run]
    if missing:
        raise QuestionError(f"{path} is damaged: {', '.join(missing)} is missing.")
    run.setdefault("goal", "numbers" if run.get("regression") else "classes")  # before 0.2
    return run
