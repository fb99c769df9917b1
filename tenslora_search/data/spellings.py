"""tell_of_spellings(): says which classes may be no classes, but cells that hold nothing, or one
class that is written in two ways.
"""

import logging
import unicodedata
from collections.abc import Sequence

import numpy as np

from tenslora_search.data.labels import LabelColumn, Targets

NOTHING = ("na", "n/a", "#n/a", "#na", "nan", "-nan", "null", "none", "<na>", "nil", "?", "-")
"""What other tools write, or read, where there is no value."""
LOGGER = logging.getLogger("tenslora_search")


def tell_of_spellings(targets: Targets, column: LabelColumn) -> None:
    """A warning for names of classes that are another's in other letters, or that say nothing.

    Every cell is text and none is changed: `NA` may be Namibia. Names that the files themselves
    list are meant.
    """
    if column.class_names is not None:
        return
    names = targets.names
    empty = _saying_nothing(names)
    if empty:
        rows = sum(
            int((found[:, empty].any(1) if found.ndim > 1 else np.isin(found, empty)).sum())
            for found in targets.of.values()
        )
        LOGGER.warning(
            "%s row(s) of %s have the label %s, which is learnt as a class; where that means there "
            "is none, empty those cells and give --drop-unlabelled",
            f"{rows:,}", column.where, " or ".join(repr(names[k]) for k in empty),
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


def _saying_nothing(names: Sequence[str]) -> list[int]:
    """The places of names that other tools write where there is no value; of signs only among
    words: beside `+`, `-` is a class.
    """
    words = [any(map(str.isalnum, name)) for name in names]
    nothing = [name.lower() in NOTHING for name in names]
    has_words = any(is_word and not none for is_word, none in zip(words, nothing, strict=True))
    return [k for k, none in enumerate(nothing) if none and (words[k] or has_words)]
