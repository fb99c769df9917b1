"""columns_of(): which outputs of a fused map are a projection's, checked against what is known of
the model's layout.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tenslora_search.spec.fused import LAYOUTS, Columns
from tenslora_search.spec.model_config import read_config
from tenslora_search.spec.table import QuestionError


class Fused(NamedTuple):
    """A map that may hold several projections, the projection asked for, and the model's config."""

    module: str
    outputs: int
    projection: str
    config: Mapping[str, Any]


def columns_of(fused: Fused, part: str, known: str) -> Columns:
    """The columns that `part` names: all (""), `1/3` of equal blocks, a layout, or `64:128`.

    `known` is what the model's family says of the map, "" if nothing. `QuestionError` for blocks, a
    layout or outputs where the model's heads lie otherwise, or for blocks where nothing says how.
    """
    columns, model_type = _said(fused, part), fused.config.get("model_type")
    if not part or not model_type or (not known and "/" not in part):
        return columns
    if not known:
        first, end = columns.start, columns.start + columns.width
        raise QuestionError(
            f"nothing here knows how a {model_type} model lays out {fused.module}, and {part} may "
            f"mix its heads; if {fused.projection} is its outputs {first} to {end - 1}, say so: "
            f"'{_end(fused)} {first}:{end}'."
        )
    right = _said(fused, known)
    if columns != right and (
        ":" not in part or not _outputs(columns, fused) <= _outputs(right, fused)
    ):
        raise QuestionError(
            f"{fused.module} of a {model_type} model does not hold {fused.projection} as "
            f"{part}; say '{_end(fused)} {known}', or leave targets out."
        )
    return columns


def _outputs(columns: Columns, fused: Fused) -> set[int]:
    """The numbers of a projection's outputs."""
    run = fused.outputs // columns.runs
    return {
        start + place
        for start in range(columns.start, fused.outputs, run)
        for place in range(columns.width)
    }


def _said(fused: Fused, part: str) -> Columns:
    """The columns by the word alone."""
    if not part:
        return Columns(0, fused.outputs)
    if ":" in part:
        return _exactly(fused, part)
    return _equal(fused, part) if "/" in part else _laid_out(fused, part)


def _equal(fused: Fused, part: str) -> Columns:
    number, of = map(int, part.split("/"))
    if fused.outputs % of:
        raise QuestionError(
            f"{fused.module} has {fused.outputs} outputs, which do not divide into {of} blocks."
        )
    width = fused.outputs // of
    return Columns(number * width, width)


def _exactly(fused: Fused, part: str) -> Columns:
    first, end = map(int, part.split(":"))
    if not first < end <= fused.outputs:
        raise QuestionError(
            f"{fused.module} has outputs 0 to {fused.outputs - 1}; {part} is no part of them."
        )
    return Columns(first, end - first)


def _laid_out(fused: Fused, layout: str) -> Columns:
    """The columns by a layout's word and the numbers of the model's config."""
    entry = LAYOUTS[layout]
    if fused.projection not in ("query", "key", "value"):
        raise QuestionError(
            f"the layout {layout} holds query, key and value; got {fused.projection}."
        )
    numbers = read_config(fused.config, "the model's config")
    heads = numbers["heads"]
    kv_heads = numbers["kv_heads"] or heads
    head_dim = numbers["head_dim"] or numbers["hidden"] // heads
    if heads % kv_heads or (heads + 2 * kv_heads) * head_dim != fused.outputs:
        raise QuestionError(
            f"{fused.module} has {fused.outputs} outputs; {heads} heads and {kv_heads} key/value "
            f"heads of {head_dim} would be {(heads + 2 * kv_heads) * head_dim}."
        )
    return entry(fused.projection, heads, kv_heads, head_dim)


def _end(fused: Fused) -> str:
    return fused.module.rpartition(".")[2]
