"""Reading and writing parameter counts (300k, 1.2M, 300_000, 300,000); reading time limits (90s,
15m, 2h, 1h30m) and packs.
"""

import re
from decimal import Decimal

from tenslora_search.spec.table import QuestionError, shortened

MOST = 10**15
"""Parameters; no model has as many."""
_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def parse_count(text: str | int, option: str = "--budget") -> int:
    """The number of parameters that a text means; `QuestionError` if it is not a whole number of 1
    or more.
    """
    match = re.fullmatch(r"(?i)(\d[\d_,]*(?:\.\d+)?|\.\d+)([kmb]?)", str(text).strip())
    if match:
        value = Decimal(match[1].replace("_", "").replace(",", "")) * _SUFFIXES[match[2].lower()]
        if value > MOST:
            raise QuestionError(f"{option} is {MOST:,} at most; got {shortened(str(text))}.")
        if value >= 1 and value == int(value):
            return int(value)
    raise QuestionError(
        f"{option} {shortened(str(text))} is not a parameter count of 1 or more; write 300000, "
        "300k or 1.2M."
    )


def parse_pack(said: str | int | None) -> int | None:
    """Trials that train side by side; None for auto. `QuestionError` for anything else."""
    if said is None or said == "auto":
        return None
    try:
        pack = int(said)
    except ValueError:
        pack = 0
    if pack < 1:
        raise QuestionError(
            f"--pack is auto or a whole number of 1 or more; got {shortened(said)}."
        )
    return pack


def format_count(count: int) -> str:
    """A count for reading: 216,093."""
    return f"{count:,}"


def parse_seconds(text: str | float) -> float:
    """Seconds from 90, 90s, 15m, 2h, 1.5h, 1h30m or a number; `QuestionError` otherwise."""
    if isinstance(text, int | float):
        return text
    match = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower()
    )
    seconds = (
        sum(
            float(part or 0) * unit
            for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)
        )
        if match
        else 0.0
    )
    if seconds <= 0:
        raise QuestionError(
            f"--time-limit {shortened(text)} is no time limit; write 90s, 15m, 2h or 1h30m."
        )
    return seconds
