"""read_events(): trials.jsonl as it stands; a search may be writing in it meanwhile."""

import json
from pathlib import Path
from typing import Any

from tenslora_search.runs.versions import check_version
from tenslora_search.spec.table import QuestionError

JOURNAL_VERSION = 1
"""Of the events' form; what a newer version has written is refused rather than misread."""


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events of a trials.jsonl, none where there is no file; a last line without its end is not there yet.

    `QuestionError` for any other line that is no event, and for a newer version.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise QuestionError(f"cannot read {path}: {error.strerror}.") from error
    events = [
        _event(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    for event in events:
        if event["event"] == "journal":
            check_version(path, event.get("version", 0), JOURNAL_VERSION)
    return events


def _event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            return event
    except ValueError:
        pass
    raise QuestionError(
        f"{path} is damaged: line {number} is no event. Mend or remove the line, or choose another folder."
    )
