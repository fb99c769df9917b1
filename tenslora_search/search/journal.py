"""Journal: trials.jsonl, one event a line, append only; the truth from which a killed search goes on."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenslora_search.spec.table import QuestionError

VERSION = 1
"""Of the events' form; a journal from a newer version is refused rather than misread."""

Event = Mapping[str, Any]


class Journal:
    """Events in a file. What `append` returned from survives a crash; a line cut short by one is taken off in reading.

    Each listener is then called with each event that tells of a trial (those with a `number`), as it is read back.
    """

    def __init__(self, path: Path, listeners: Sequence[Callable[[Event], object]] = ()) -> None:
        self.path, self.listeners = path, tuple(listeners)

    def append(self, *events: Event) -> None:
        """Writes the events and waits until they are on the disk; `QuestionError` where that cannot be done."""
        lines = [json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n" for event in events]
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
            raise QuestionError(f"cannot write {self.path}: {error.strerror}. What was done so far is kept.") from error
        for listener in self.listeners:
            for line in lines:
                if "number" in (event := json.loads(line)):
                    listener(event)

    def read(self) -> list[dict[str, Any]]:
        """All events, the first of them `{"event": "journal", "version": ...}`; none where there is no file.

        `QuestionError` for a broken line that is not the last, and for a newer version.
        """
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise QuestionError(f"cannot read {self.path}: {error.strerror}.") from error
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            mend(self.path)
        events = [self._parsed(number, line) for number, line in enumerate(whole.splitlines(), start=1) if line.strip()]
        for event in events:
            if event["event"] == "journal" and event.get("version", 0) > VERSION:
                raise QuestionError(
                    f"{self.path} was written by a newer tenslora-search: its form is {event['version']}, this one reads up to "
                    f"{VERSION}. Upgrade, or choose another --out."
                )
        return events

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                return event
        except ValueError:
            pass
        raise QuestionError(
            f"{self.path} is damaged: line {number} is no event. Mend or remove the line, or choose another --out."
        )


def mend(path: Path) -> None:
    """Takes off a last line that a crash or a full disk cut short; lines end in a newline."""
    try:
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
    except OSError as error:
        raise QuestionError(f"cannot mend the last line of {path}: {error.strerror}.") from error
