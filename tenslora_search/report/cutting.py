"""cut(): texts from outside at a length that a page can bear, with a note where something is
missing.
"""

from collections.abc import Mapping

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


def cut_all(texts: Mapping[str, str], most: int = MOST) -> dict[str, str]:
    """Texts by name, both cut."""
    return {cut(name, most): cut(text, most) for name, text in texts.items()}
