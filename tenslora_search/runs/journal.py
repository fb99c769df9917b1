"""Journal: trials.jsonl, one event a line, append only; the truth from which a killed search goes
on.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenslora_search.runs.events import Event
from tenslora_search.runs.replay import replayed
from tenslora_search.spec.table import QuestionError

Line = Mapping[str, Any]
"""An event as a line of the file has it."""


class Journal:
    """The events of the one search that writes them. What `append` returned from survives a crash.

    Opening it takes off a last line that a crash cut short: only who holds the folder's lock may;
    others call `read_events`. Each listener is called with each event written that tells of a trial
    (those with a `number`), as its line is read back.
    """

    def __init__(self, path: Path, listeners: Sequence[Callable[[Line], object]] = ()) -> None:
        self.path, self.listeners = path, tuple(listeners)
        mend(path)

    def append(self, *events: Event) -> None:
        """Writes the events and waits until they are on the disk; `QuestionError` where that cannot
        be done.
        """
        lines = [
            json.dumps(event.to_json(), separators=(",", ":"), allow_nan=False) + "\n"
            for event in events
        ]
        try:
            with self.path.open("ab") as file:
                start = file.tell()
                try:
                    file.write("".join(lines).encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(self.path, start)
                    raise
        except OSError as error:
            raise QuestionError(
                f"cannot write {self.path}: {error.strerror}. What was done so far is kept."
            ) from error
        for listener in self.listeners:
            for line in lines:
                if "number" in (event := json.loads(line)):
                    listener(event)

    def whole(self, unfinished: Callable[[Sequence[Event]], int]) -> list[Event]:
        """All events, without the last `unfinished(events)`, which a crash has cut off from what
        belongs to them: those leave the file.
        """
        events = replayed(self.path)[0]
        lost = unfinished(events)
        if lost:
            content = self.path.read_bytes()
            lines = [line for line in content.splitlines(keepends=True) if line.strip()]
            os.truncate(self.path, len(content) - sum(map(len, lines[-lost:])))
        return events[: len(events) - lost]


def check_not_emptied(folder: Path) -> None:
    """`QuestionError` where the report there tells of trials, and the journal of none."""
    n_before = _lines(folder / "trials.csv", b"") - 1
    if n_before > 0 and not _lines(folder / "trials.jsonl", rb'"event":\s*"proposed"'):
        raise QuestionError(
            f"trials.jsonl in {folder} tells of no trial, and the report there of {n_before:,}: it "
            "was emptied. The report stays; put trials.jsonl back, or begin again in a new --out."
        )


def _lines(path: Path, pattern: bytes) -> int:
    """How many lines of a file hold a pattern; none where there is no file."""
    if not path.is_file():
        return 0
    with path.open("rb") as lines:
        return sum(re.search(pattern, line) is not None for line in lines)


def mend(path: Path) -> None:
    """Takes off a last line that a crash or a full disk cut short, if there is a file; lines end in
    a newline.
    """
    try:
        content = path.read_bytes() if path.exists() else b"\n"
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    except OSError as error:
        raise QuestionError(f"cannot open {path}: {error.strerror}.") from error
