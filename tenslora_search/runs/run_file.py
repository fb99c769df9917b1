"""RunFile: what run.json says of a search; read and written here alone, each field checked."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from tenslora_search.runs.fields import (
    Count,
    FieldError,
    Name,
    Number,
    Seconds,
    parsed,
    record_of,
)
from tenslora_search.runs.paths import check_links
from tenslora_search.runs.question import Question
from tenslora_search.runs.versions import check_version
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.plugins import Plugin, check_plugins
from tenslora_search.spec.table import QuestionError

RUN_VERSION = 1
"""Of run.json's form."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The driver's machine."""

    cpu: str = ""
    cores: int | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFile:
    """What a search rests on: the question, and what model and data turned out to be."""

    question: Question
    budget: Number
    """trainable parameters that are left to the adapter"""
    head_params: Number
    task: str
    model: str
    metric: str
    labels: tuple[str, ...]
    goal: Name
    """of GOALS; `own` where only the user's loop knows"""
    geometry: Geometry
    rungs: tuple[Count, ...]
    versions: Mapping[str, str]
    data_digest: str | None
    command: str | None
    """as it was typed; None where search() was called"""
    model_digest: str | None = None
    """of the model's files; None where nobody has looked"""
    geometries: Mapping[str, Geometry] | None = None
    """by sites; None in folders of before there was a choice"""
    columns: Mapping[str, str | tuple[str, ...]] | None = None
    """the data's column by role; None in folders of before they were written down"""
    unused_columns: tuple[str, ...] = ()
    rows: Mapping[str, Number] | None = None
    """of fit, select, report"""
    grouped: Mapping[str, str | int] | None = None
    """what stayed on one side of the cut of fit and select: `by` a column, or near rows, and how
    many `rows` in `groups`
    """
    absent: Mapping[str, tuple[str, ...]] | None = None
    """of a class or label that fit, select or report has no row of: those parts"""
    hardware: Hardware | None = None
    probes: Mapping[str, tuple[float, ...]] | None = None
    """answers of workers, by probe"""
    wall_seconds: Seconds = 0.0
    """of all openings of the search"""
    importances: Mapping[str, float] | None = None
    """share of each choice"""
    importances_step: Number | None = None
    """the rung at which the shares were taken"""
    plugins: tuple[Plugin, ...] = ()
    """whose entries the search took; they are named, and never run by who reads this"""

    def __post_init__(self) -> None:
        if not self.rungs or sorted(set(self.rungs)) != list(self.rungs):
            raise QuestionError(f"rungs are steps that rise; got {list(self.rungs)}.")

    @classmethod
    def from_json(cls, data: object) -> "RunFile":
        """`FieldError` for the first field that is missing or wrong."""
        return record_of(cls, data)

    def to_json(self) -> dict[str, Any]:
        """What is not known is left out."""
        found = asdict(self)
        left_out = [one.name for one in fields(self) if one.default is None]
        kept = {name: one for name, one in found.items() if one is not None or name not in left_out}
        return {"version": RUN_VERSION, **kept}

    @property
    def absence(self) -> str:
        """A line on classes that some part has no row of; "" where each has all."""
        every = list((self.absent or {}).items())
        if not every:
            return ""
        named = "; ".join(f"{name!r} has no row in {' and '.join(of)}" for name, of in every[:3])
        more = f"; and {len(every) - 3:,} more" if len(every) > 3 else ""
        return f"scores say nothing, or little, of some classes: {named}{more}"

    def __getitem__(self, name: str) -> Any:
        """A field as run.json has it."""
        return self.to_json()[name]

    @classmethod
    def read(cls, folder: Path) -> "RunFile":
        """`QuestionError` if there is none, it is broken, something of the run lies elsewhere, it
        is from a newer version, or its plugins are not loaded.
        """
        return read_both(folder)[0]

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        check_links(folder)
        temporary = folder / "run.json.part"
        try:
            text = json.dumps(self.to_json(), indent=2) + "\n"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(folder / "run.json")
        except OSError as error:
            raise QuestionError(f"cannot write {folder / 'run.json'}: {error.strerror}.") from error


def read_both(folder: Path) -> tuple[RunFile, dict[str, Any]]:
    """The run file, and the JSON that it was made of."""
    path = folder / "run.json"
    if not os.path.lexists(path):  # before anything of others is looked at
        raise QuestionError(f"{folder} is no run folder: run.json is missing.")
    check_links(folder)
    if not path.is_file():
        raise QuestionError(f"{path} is a folder, and no file of a run; take it away.")
    try:
        data = parsed(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise FieldError("", "it is no object")
        run = cast("dict[str, Any]", data)
        check_version(path, record_of(_Version, run).version, RUN_VERSION)
    except (OSError, UnicodeError) as error:
        raise QuestionError(f"{path} cannot be read: {error}.") from error
    except FieldError as error:
        raise QuestionError(f"{path} cannot be read: {error}.") from error
    missing = [name for name in _NEEDED if name not in run]
    if missing:
        raise QuestionError(f"{path} is damaged: {', '.join(missing)} is missing.")
    run.setdefault("goal", "numbers" if run.get("regression") else "classes")  # before goals
    try:
        file = RunFile.from_json(run)
    except FieldError as error:
        raise QuestionError(f"{path} is damaged: {error}.") from error
    check_plugins(file.plugins, folder)
    return file, run


@dataclass(frozen=True, slots=True)
class _Version:
    version: Number


_NEEDED = (
    "question", "budget", "head_params", "task", "model", "metric", "labels",
    "geometry", "rungs", "versions", "data_digest", "command",
)  # fmt: skip
"""What every run.json says; the rest came later, or comes at the end."""
