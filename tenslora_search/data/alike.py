"""tell_alike(): names of classes that perhaps mean the same."""

import logging
from collections import Counter
from collections.abc import Sequence

LOGGER = logging.getLogger("tenslora_search")


def tell_alike(labels: Sequence[str], column: str, origin: str) -> None:
    """A warning of labels that differ in case alone: perhaps they mean the same."""
    groups: dict[str, Counter[str]] = {}
    for label in labels:
        groups.setdefault(label.casefold(), Counter())[label] += 1
    alike = [
        " and ".join(f"{label!r} ({count:,} rows)" for label, count in group.most_common())
        for group in groups.values()
        if len(group) > 1
    ]
    if alike:
        LOGGER.warning(
            "labels in column %r of %s differ in case alone, and are classes of their own: %s; "
            "write them alike if they mean the same",
            column, origin, "; ".join(alike[:3]),
        )  # fmt: skip
