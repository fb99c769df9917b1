"""cut(): texts from outside at a length that a page can bear, with a note where something is
missing.
"""

from collections.abc import Mapping
from typing import Any

MOST = 2_000
"""Characters of a text that stands once in a report, such as a command."""
MOST_JOINED = 8_000
"""Of several such texts in one line."""
MOST_IN_ROW = 300
"""Of one that stands in every row, such as a method's name."""


def cut(text: object, most: int = MOST) -> str:
    """The text, or its beginning with a note that says how long it was."""
    whole = str(text)
    if len(whole) <= most:
        return whole
    return f"{whole[:most]} ... (cut here, {len(whole):,} characters in all)"


def cut_all(value: Any, most: int = MOST) -> Any:
    """JSON data with every text in it cut, names of entries too."""
    if isinstance(value, str):
        return cut(value, most)
    if isinstance(value, Mapping):
        return {cut(name, most): cut_all(one, most) for name, one in value.items()}
    if isinstance(value, list):
        return [cut_all(one, most) for one in value]
    return value
