"""States: the files in which trials rest between segments; which are whole, which are needed."""

import json
import re
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from tenslora_search.runs.paths import inside
from tenslora_search.runs.replay import Record

OURS = re.compile(r"(retest-)?\d+-\d+\.(safetensors|part)")
SCRATCH = ".segment-"
"""What the scratch folders of segments begin with."""


CHECKSUM = "crc32"
"""What the metadata of a state calls the checksum of all else."""


def checksum(header: Mapping[str, Any], data: bytes) -> str:
    """Of a safetensors file: its header, but for the checksum in it, and its data."""
    notes = {**header.get("__metadata__", {}), CHECKSUM: ""}
    told = json.dumps({**header, "__metadata__": notes}, sort_keys=True)
    return f"{zlib.crc32(data, zlib.crc32(told.encode())):08x}"


def is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says, and holds what was written where it
    has a checksum (states of earlier versions have none).
    """
    try:
        content = path.read_bytes()
        n_header = int.from_bytes(content[:8], "little")
        if not 0 < n_header <= len(content) - 8:
            return False
        header = cast("Mapping[str, Any]", json.loads(content[8 : 8 + n_header]))
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        if 8 + n_header + max(ends, default=0) != len(content):
            return False
        notes = header.get("__metadata__", {})
        if CHECKSUM not in notes:
            return len(notes) <= 1  # of an earlier version, which had one note
        return notes[CHECKSUM] == checksum(header, content[8 + n_header :])
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return False


def clear(folder: Path, records: Iterable[Record]) -> None:
    """Takes away what a killed search left: scratch, half-copied files, states that no trial goes
    on from or is exported from. Files of other names stay.
    """
    needed: set[str] = set()
    for record in records:
        states = [record.rungs[-1].state if record.rungs else None, record.file]
        states += [one.state for one in record.retests.values()]
        if record.state != "failed":
            needed |= {state for state in states if state}
    for path in folder.glob(f"{SCRATCH}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
    for path in inside(folder, "states").glob("*"):
        if OURS.fullmatch(path.name) and f"states/{path.name}" not in needed:
            path.unlink(missing_ok=True)
    for path in inside(folder, "adapters").glob(".*.part"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
