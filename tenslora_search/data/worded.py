"""worded(): the rows of a frame as a wording writes them: prompts, completions, chats, answers."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.data.cells import check_length
from tenslora_search.data.columns import Columns
from tenslora_search.data.labels import is_missing, name_of
from tenslora_search.hub.lines import numbered
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.wordings import Wording, columns_in, written

SPEAKERS = {"human": "user", "gpt": "assistant"}
"""The roles of a chat by the names that ShareGPT's files have."""

PLAIN = ("text", "prompt", "completion", "instruction", "input", "output")
"""Columns that hold a text, and nothing to be taken apart."""

Row = Mapping[str, Any]
"""The cells of a row by the wording's names of their columns."""


def worded(frame: Any, roles: Columns, where: str) -> tuple[list[str], ...]:
    """Texts: of kind `text` one list, of `pairs` prompts and completions, of `messages` chats as
    JSON, of `choices` prompts and lists of answers as JSON. `QuestionError`, with row and column,
    for a row that cannot be written.
    """
    wording = roles.wording
    assert wording is not None
    writers: dict[str, tuple[Callable[..., str], ...]] = {
        "text": (lambda row, say: written(wording.text, row),),
        "pairs": (lambda row, say: wording.prompt_of(row), _completion(wording)),
        "messages": (lambda row, say: _chat(row[wording.messages], say),),
        "choices": (
            lambda row, say: wording.prompt_of(row),
            lambda row, say: json.dumps(choices_of(wording, row, say)),
        ),
    }
    rows = _rows(frame, roles, where)
    return tuple([write(row, say) for row, say in rows] for write in writers[wording.kind])


def right_answers(frame: Any, roles: Columns, where: str) -> NDArray[np.int64]:
    """(n,): which of a row's choices is right; zeros where there are none to choose from."""
    wording = roles.wording
    assert wording is not None
    if wording.kind != "choices":
        return np.zeros(len(frame), dtype=np.int64)
    found = [_right(wording, row, say) for row, say in _rows(frame, roles, where)]
    return np.array(found, dtype=np.int64)


Say = Callable[[str, str], QuestionError]
"""(column, what is wrong) -> an error that says row and column."""


def _rows(frame: Any, roles: Columns, where: str) -> list[tuple[Row, Say]]:
    """Each row's cells, checked to be there, and how to speak of it."""
    assert roles.wording is not None
    names = roles.roles  # of plain text a row may be empty, as in a file of lines
    needed = set() if roles.wording.kind == "text" else set(roles.wording.columns)
    cells = zip(*(frame[column] for column in roles.inputs), strict=True)
    for name in needed:
        _check_filled(frame, names[name], where)
    found = []
    for number, values in zip(frame.index, cells, strict=True):
        say = _sayer(int(number) + 1, where, names)
        row = dict(zip(roles.worded, values, strict=True))
        for name, cell in row.items():
            if name in PLAIN and isinstance(cell, list | dict | np.ndarray):
                raise say(name, f"holds no text: {repr(cell)[:60]}")
            if isinstance(cell, str):
                check_length(cell, f"row {number + 1} of {where}", names.get(name, name))
        found.append(({name: "" if _is_none(cell) else cell for name, cell in row.items()}, say))
    return found


def _check_filled(frame: Any, column: str, where: str) -> None:
    """`QuestionError` with the rows' numbers where a cell is empty."""
    empty = frame.index[frame[column].map(_is_none)]
    if len(empty):
        raise QuestionError(
            f"{len(empty):,} of {len(frame):,} rows of {where} have nothing in column {column!r} "
            f"(row {numbered((empty + 1).tolist())}); fill them in, or take the rows out."
        )


def _is_none(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and bool(np.isnan(cell)))


def _sayer(number: int, where: str, names: Mapping[str, str]) -> Say:
    def say(name: str, wrong: str) -> QuestionError:
        return QuestionError(f"row {number} of {where}: column {names.get(name, name)!r} {wrong}.")

    return say


def _completion(wording: Wording) -> Callable[[Row, Say], str]:
    def write(row: Row, say: Say) -> str:
        text = written(wording.completion, row)
        if not text.strip():
            raise say(
                (*columns_in(wording.completion), wording.columns[-1])[0],
                "has an empty completion, of which nothing can be learnt; fill it in, or take the "
                "row out",
            )
        return text

    return write


def _chat(cell: Any, say: Say) -> str:
    """A chat as JSON: a list of role and content."""
    turns = json_or(cell) if isinstance(cell, str) else cell
    turns = turns.tolist() if isinstance(turns, np.ndarray) else turns
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise say("messages", f"holds no list of messages: {str(cell)[:60]!r}")
    found = []
    for turn in turns:
        role = turn.get("role", SPEAKERS.get(turn.get("from"), turn.get("from")))
        content = turn.get("content", turn.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise say("messages", f"has a turn without role or content: {str(turn)[:60]!r}")
        found.append({"role": role, "content": content})
    if not any(turn["role"] == "assistant" and turn["content"].strip() for turn in found):
        raise say("messages", "has no assistant turn, so there is nothing to learn")
    return json.dumps(found)


def json_or(text: str) -> Any:
    """What a text holds as JSON; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def choices_of(wording: Wording, row: Row, say: Say) -> list[str]:
    """The answers of a row, two or more."""
    if isinstance(wording.choices, tuple):
        return [written(template, row) for template in wording.choices]
    cell = row[wording.choices]
    found = json_or(cell) if isinstance(cell, str) else cell
    if isinstance(found, Mapping):  # as ARC has them: {"text": [...], "label": [...]}
        found = found.get("text")
    found = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(found, list) or not found:
        raise say(wording.choices, f"holds no list of choices: {str(cell)[:60]!r}")
    if len(found) < 2:
        raise say(wording.choices, f"holds a single choice: {str(found[0])[:60]!r}; two or more")
    if any(is_missing(one) for one in found):
        raise say(wording.choices, "holds an empty choice")
    return [f" {str(one).strip()}" for one in found]


def _right(wording: Wording, row: Row, say: Say) -> int:
    """By a name, in the words of a choice, by its place from 0, or by a letter."""
    choices, cell = choices_of(wording, row, say), row[wording.answer]
    names = list(wording.names)
    if isinstance(wording.choices, str):
        held = row[wording.choices]
        held = json_or(held) if isinstance(held, str) else held
        if isinstance(held, Mapping) and "label" in held:
            names = [str(one) for one in held["label"]]
    text = name_of(cell)
    for known in (names, [one.strip() for one in choices]):
        if text in known:
            return known.index(text)
    if not names and text.isdecimal() and int(text) < len(choices):
        return int(text)
    letters = "ABCDEFGHIJ"[: len(choices)]
    if not names and len(text) == 1 and text.upper() in letters:
        return letters.index(text.upper())
    listed = ", ".join(one.strip()[:40] for one in choices)
    raise say(wording.answer, f"has {text[:60]!r}, which is none of the choices ({listed})")
