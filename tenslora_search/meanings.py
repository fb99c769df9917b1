"""What the texts of options mean: read, or refused in one line."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tenslora_search.runs.config import load_config
from tenslora_search.spec.table import QuestionError, shortened

if TYPE_CHECKING:
    from tenslora_search.spec.geometry import Geometry


def whole(text: str | int) -> int:
    """As typer's own, but for what it says of anything else."""
    try:
        return int(str(text))
    except ValueError:
        raise typer.BadParameter(f"a whole number is needed; got {shortened(text)}.") from None


def number(text: str | float) -> float:
    try:
        return float(str(text))
    except ValueError:
        raise typer.BadParameter(f"a number is needed; got {shortened(text)}.") from None


def of_config(context: typer.Context, path: Path | None) -> Path | None:
    """What the file says stands in for options that are neither typed nor in the environment."""
    if path is None or context.resilient_parsing:  # the shell asks how a word goes on
        return path
    said = load_config(path)
    columns: dict[str, Any] = said.pop("columns", {})
    roles = [
        f"{role}={name}"
        for role, names in columns.items()
        for name in (names if isinstance(names, list) else [names])
    ]
    listed = {"column": roles, "plugin": said.pop("plugins", [])}
    said |= {name: value for name, value in listed.items() if value}  # the file is blamed for them
    if isinstance(said.get("methods"), list):
        said["methods"] = ",".join(said["methods"])
    if isinstance(said.get("warm_start"), str):
        said["warm_start"] = [said["warm_start"]]
    for name in ("time_limit", "pack"):
        if name in said:
            said[name] = str(said[name])
    context.default_map = {**(context.default_map or {}), **said}
    return path


LEVELS = ("debug", "info", "warning", "error")


def level_of(name: str | None, usual: int) -> int:
    if name is not None and name.lower() not in LEVELS:
        raise QuestionError(f"--log-level is {', '.join(LEVELS)}; got {name!r}.")
    return usual if name is None else logging.getLevelNamesMapping()[name.upper()]


def columns_of(given: list[str]) -> dict[str, str | list[str]] | None:
    """Column names by role; a role that is given twice has a list."""
    columns: dict[str, list[str]] = {}
    for one in given:
        role, equals, name = one.partition("=")
        if not equals or not name:
            raise QuestionError(
                f"--column takes ROLE=NAME, such as --column label=stars; got {one!r}."
            )
        columns.setdefault(role, []).append(name)
    return {role: names[0] if len(names) == 1 else names for role, names in columns.items()} or None


def ranks_of(text: str) -> tuple[int, ...]:
    if not text:
        return ()  # of a decomposition without bonds
    try:
        return tuple(int(rank) for rank in text.split(","))
    except ValueError:
        raise QuestionError(
            f"--ranks are whole numbers with commas between them, such as 8,8,3,12; got {text!r}."
        ) from None


def geometry_of(
    model: str | None, names: tuple[str, ...], sizes: Mapping[str, int | None]
) -> "Geometry":
    """Of a count: of a model's projections, or of sizes; `QuestionError` for both, or neither."""
    from tenslora_search.spec.backbones import geometry_of_model
    from tenslora_search.spec.geometry import Geometry

    given: dict[str, Any] = {name: size for name, size in sizes.items() if size is not None}
    if model is not None:
        if given:
            option = f"--{next(iter(given)).replace('_', '-')}"
            raise QuestionError(f"count takes --model or sizes; {model} says what {option} would.")
        return geometry_of_model(model, names)
    if not {"hidden", "heads", "layers"} <= given.keys():
        raise QuestionError("count needs --model, or --hidden, --heads and --layers.")
    return Geometry.attention(**given, projections=names)


def structure_of(
    method: str | None, construction: str | None, decomposition: str | None
) -> tuple[str, str]:
    """The construction and the decomposition of a count: of a method, or as they are named."""
    from tenslora_search.spec.methods import find_method

    if method is not None:
        if construction is not None or decomposition is not None:
            raise QuestionError("count takes --method, or --construction and --decomposition.")
        row = find_method(method)
        return row.construction, row.decomposition
    if construction is None or decomposition is None:
        raise QuestionError("count needs --method, or --construction and --decomposition.")
    return construction, decomposition
