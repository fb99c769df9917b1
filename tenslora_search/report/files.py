"""The two files of a run folder, run.json and trials.jsonl, read as they stand: a search may be writing in them meanwhile."""

import json
from pathlib import Path
from typing import Any

from tenslora_search.spec.table import QuestionError

RUN_VERSION = 1
"""Of run.json's form."""
JOURNAL_VERSION = 1
"""Of the events' form; what a newer version has written is refused rather than misread."""
NEEDED = (
    "question", "budget", "head_params", "task", "model", "metric", "labels", "regression", "geometry", "rungs", "versions",
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
    _check_version(path, version, RUN_VERSION)
    missing = [name for name in NEEDED if name not in run]
    if missing:
        raise QuestionError(f"{path} is damaged: {', '.join(missing)} is missing.")
    return run


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events of a trials.jsonl, none where there is no file; a last line without its end is not there yet.

    `QuestionError` for any other line that is no event, and for a newer version.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise QuestionError(f"cannot read {path}: {error.strerror}.") from error
    events = [_event(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    for event in events:
        if event["event"] == "journal":
            _check_version(path, event.get("version", 0), JOURNAL_VERSION)
    return events


def _event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            return event
    except ValueError:
        pass
    raise QuestionError(f"{path} is damaged: line {number} is no event. Mend or remove the line, or choose another folder.")


def _check_version(path: Path, found: int, known: int) -> None:
    if found > known:
        raise QuestionError(
            f"{path} was written by a newer tenslora-search: its form is {found}, this one reads up to {known}. "
            "Upgrade, or choose another folder."
        )
