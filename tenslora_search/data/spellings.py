"""tell_of_spellings(): says which classes may be no classes, but cells that hold nothing, or one
class that is written in two ways.
"""

import logging
import unicodedata
from collections.abc import Sequence

from tenslora_search.data.labels import LabelColumn, name_of

NOTHING = ("na", "n/a", "#n/a", "#na", "nan", "-nan", "null", "none", "<na>", "nil", "?", "-")
"""What other tools write, or read, where there is no value."""
LOGGER = logging.getLogger("tenslora_search")


def tell_of_spellings(names: Sequence[str], column: LabelColumn) -> None:
    """A warning for names of classes that are another's in other letters, or that say nothing.

    Every cell is text and none is changed: `NA` may be Namibia. Names that the files themselves
    list are meant.
    """
    if column.class_names is not None:
        return
    empty = [name for name in names if name.lower() in NOTHING]
    if empty:
        rows = sum(name_of(cell) in empty for cells in column.cells.values() for cell in cells)
        LOGGER.warning(
            "%s row(s) of %s have the label %s, which is learnt as a class; where that means there "
            "is none, empty those cells and give --drop-unlabelled",
            f"{rows:,}", column.where, " or ".join(map(repr, empty)),
        )  # fmt: skip
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold(), []).append(name)
    several = [same for same in alike.values() if len(same) > 1]
    if several:
        LOGGER.warning(
            "%s holds classes that differ in letters alone: %s; each is learnt as one of its own",
            column.where, "; ".join(" and ".join(map(ascii, same[:4])) for same in several[:4]),
        )  # fmt: skip
