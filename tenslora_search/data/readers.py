"""READERS: a data file as a data frame and the names of its classes, by the file's ending."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.spec.table import QuestionError, Table

if TYPE_CHECKING:
    from pandas import DataFrame

QUOTED = re.compile(r'"(?:[^"]|"")*"')
"""A cell in quotes; those inside are written twice."""
HALVES = re.compile("[\ud800-\udfff]")
"""Halves of characters, of which JSON can write one without the other."""


def read_csv(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """Comma-separated values with a header line; every cell is text, an empty one too. Semicolons
    or tabs between are read where the header holds no comma.
    """
    return _text_table(file, _separator(file)), {}


def _separator(file: Path) -> str:
    with file.open(encoding=encoding_of(file)) as lines:
        header = QUOTED.sub("", lines.readline())
    return next((one for one in (",", ";", "\t") if one in header), ",")


def encoding_of(file: Path) -> str:
    """UTF-8, or UTF-16 where the file begins with that mark, as spreadsheets write it."""
    with file.open("rb") as content:
        is_utf16 = content.read(2) in (b"\xff\xfe", b"\xfe\xff")
    return "utf-16" if is_utf16 else "utf-8-sig"


def read_tsv(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """Tab-separated values with a header line, quoted properly or not at all (GLUE's files hold
    stray quotes).
    """
    try:
        plain = _text_table(file, "\t", csv.QUOTE_NONE)
    except ValueError:
        return _text_table(file, "\t"), {}
    cells = (cell for column in plain for cell in [column, *plain[column].dropna()])
    quoted = [cell for cell in cells if cell.startswith('"')]
    is_proper = all(len(cell) > 1 and QUOTED.fullmatch(cell) for cell in quoted)
    if quoted and is_proper:
        return _text_table(file, "\t"), {}
    return _over_lines(file, plain), {}


def _over_lines(file: Path, plain: "DataFrame") -> "DataFrame":
    """A table by its quotes where lines are short without them and whole with them: a text in
    quotes may go over several.
    """
    if plain.isna().to_numpy().any():
        with suppress(QuestionError):
            whole = _text_table(file, "\t")
            return plain if whole.isna().to_numpy().any() else whole
    return plain


def read_jsonl(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """One JSON object a line."""
    import pandas as pd

    rows = []
    with file.open(encoding=encoding_of(file)) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise QuestionError(
                        f"cannot read {file}: line {number} is no JSON ({error.msg})."
                    ) from error
                if not isinstance(rows[-1], dict):
                    raise QuestionError(f"cannot read {file}: line {number} is no JSON object.")
    return pd.DataFrame([_whole_text(row) for row in rows]), {}


def read_json(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """A JSON list of objects, alone or as `data` of an object; or one object a line."""
    import pandas as pd

    try:
        rows = json.loads(file.read_text(encoding=encoding_of(file)))
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        return read_jsonl(file)
    rows = rows.get("data", [rows]) if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise QuestionError(
            f"cannot read {file}: wanted a list of objects, one a row, or one object a line."
        )
    return pd.DataFrame([_whole_text(row) for row in rows]), {}


def _whole_text(value: Any) -> Any:
    """A value of JSON with U+FFFD for each half of a character: `"\\ud83d"` alone is no text."""
    if isinstance(value, str):
        return HALVES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole_text(one) for one in value]
    if isinstance(value, dict):
        return {_whole_text(name): _whole_text(one) for name, one in value.items()}
    return value


def read_txt(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """Plain text in column `text`, a paragraph a row: blank lines stand between them; a line a row
    where there are none.
    """
    import pandas as pd

    text = file.read_text(encoding="utf-8-sig").strip()
    paragraphs = re.split(r"\n\s*\n", text)
    rows = paragraphs if len(paragraphs) > 1 else text.splitlines()
    return pd.DataFrame({"text": [row.strip() for row in rows if row.strip()]}), {}


def read_parquet(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """A parquet file; the names of classes come from the schema's `huggingface` entry."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(
        file
    ).read()  # read_table would take folder names such as a=b for columns
    check_names(table.column_names, file)
    table.validate(full=True)  # as for texts that are no UTF-8
    try:
        about = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        features = about["info"]["features"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        features = ()  # written by something else
    named = {column: _class_names(feature) for column, feature in features}
    found = {column: names for column, names in named.items() if names}
    frame = table.to_pandas()
    names = frame.index.names  # columns that are its index; a name beside a column of it says none
    own = [k for k, name in enumerate(names) if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=own) if own else frame
    return frame.reset_index(drop=True), found


def _class_names(feature: Any) -> tuple[str, ...]:
    """The names of a column's classes, or of the labels that its lists hold; () where it has
    none.
    """
    while isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        feature = feature.get("feature")
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    names = feature.get("names")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def check_names(names: Sequence[str], file: Path) -> None:
    """`QuestionError` for columns of one name."""
    if len(set(names)) < len(names):
        raise QuestionError(
            f"cannot read {file}: columns of one name: {', '.join(names)}; give each a name of "
            "its own."
        )


def _text_table(file: Path, separator: str, quoting: Any = csv.QUOTE_MINIMAL) -> "DataFrame":
    """A header line and rows of text; a line that holds nothing is no row.

    `QuestionError` for a row of more cells than there are columns, unless those beyond are empty:
    no text may be lost.
    """
    import pandas as pd

    csv.field_size_limit(2**31 - 1)  # of a cell; csv's own is 131,072 characters
    with file.open(encoding=encoding_of(file), newline="") as lines:
        reader = csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)
        try:
            rows = [row for row in reader if "".join(row).strip()]
        except csv.Error as error:
            why = (
                f"line {reader.line_num} is not quoted properly ({error}); a quote inside "
                "quotes is written twice"
            )
            raise QuestionError(f"cannot read {file}: {why}.") from error
    if not rows:
        raise QuestionError(f"{file} is empty.")
    names = [name.strip() or f"column {place}" for place, name in enumerate(rows.pop(0), start=1)]
    if "\0" in "".join(names):
        raise QuestionError(f"cannot read {file}: its header holds null bytes; save it as UTF-8.")
    check_names(names, file)
    for number, row in enumerate(rows, start=1):
        if "".join(row[len(names) :]):
            why = f"row {number} has {len(row)} cells for {len(names)} columns"
            holds = {",": "commas", ";": "semicolons"}.get(separator, "tabs")
            raise QuestionError(
                f"cannot read {file}: {why}; put quotes around text that holds {holds}."
            )
    whole = [row[: len(names)] + [None] * (len(names) - len(row)) for row in rows]
    return pd.DataFrame(whole, columns=names)


READERS: "Table[Callable[[Path], tuple[DataFrame, dict[str, tuple[str, ...]]]]]" = Table(
    "kind of data file",
    {
        "csv": read_csv,
        "tsv": read_tsv,
        "jsonl": read_jsonl,
        "json": read_json,
        "parquet": read_parquet,
        "txt": read_txt,
    },
    renamed=True,
)
