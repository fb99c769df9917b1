"""KINDS: what `list` shows: for each kind of choice its entries, what each is, its knobs."""

from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any

from tenslora_search.spec.knobs import Knob, Range, knobs
from tenslora_search.spec.plugins import table_of
from tenslora_search.spec.table import Table

Lines = dict[str, str]


def tasks() -> Lines:
    """What a search can be asked about."""
    from tenslora_search.spec.tasks import TASKS

    return {name: task.about for name, task in TASKS.items()}


def models() -> Lines:
    """Models by their short names."""
    from tenslora_search.spec.backbones import BACKBONES

    return {
        name: _numbers(row.config) + (f", {row.hub}" if row.hub else ", made here")
        for name, row in BACKBONES.items()
    }


def methods() -> Lines:
    """The names people know, as points of the grid."""
    from tenslora_search.spec.methods import METHODS, USUAL

    found: Lines = {}
    for name, one in METHODS.items():
        more = [value for key, value in one.choices.items() if value != USUAL.get(key)]
        point = ", ".join([f"{one.construction} x {one.decomposition}", *more])
        found[name] = f"{point}: {one.note}" + (f" ({one.source})" if one.source else "")
    return found


def spaces() -> Lines:
    """What may be proposed."""
    from tenslora_search.study.space_file import about_spaces

    return dict(about_spaces())


def lines_of(kind: str) -> Lines:
    """The entries of a table that is open (`spec.homes.HOMES`): a text as it stands, of a
    function the first paragraph of its docstring and its knobs, of a row what it says of itself.
    """
    return {name: _about(entry) for name, entry in table_of(kind).items()}


def _about(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, FunctionType | type):
        paragraph = " ".join((entry.__doc__ or "").strip().partition("\n\n")[0].split())
        found = knobs(entry) if isinstance(entry, FunctionType) else ()
        return "".join([paragraph, *(f" [{_knob(knob)}]" for knob in found)])
    if hasattr(entry, "score"):  # a metric
        return f"{_about(entry.score)} (hubs call it {entry.hub_name})"
    if hasattr(entry, "model_types"):  # a family
        return ", ".join(entry.model_types)
    if hasattr(entry, "prompt_of"):  # a wording
        return f"of columns {', '.join(entry.columns)}"
    return f"for {entry.library}" + (f": {entry.about}" if entry.about else "")  # a format


def _knob(knob: Knob) -> str:
    """`xi: 1e-05 to 0.01, 0.0003 unless set`."""
    if isinstance(knob.among, Range):
        said = f"{knob.among.low:g} to {knob.among.high:g}"
        usual = f"{knob.default:g}"
    else:
        said, usual = " or ".join(map(str, knob.among.values)), str(knob.default)
    return f"{knob.name}: {said}, {usual} unless set"


def _numbers(config: Mapping[str, object]) -> str:
    return (
        f"{config['num_hidden_layers']} layers, {config['hidden_size']} wide, "
        f"{config['num_attention_heads']} heads"
    )


PLURALS = {
    "constructions": "construction",
    "decompositions": "decomposition",
    "maps": "map",
    "scales": "scale",
    "rules": "rule",
    "allocators": "allocator",
    "sites": "sites",
    "goals": "goal",
    "metrics": "metric",
    "answers": "measure of answers",
    "samplers": "sampler",
    "pruners": "pruner",
    "formats": "format",
    "picks": "pick",
    "pages": "page",
    "comparisons": "comparison",
    "trackers": "tracker",
    "executors": "executor",
    "trainers": "trainer",
    "probes": "probe",
    "families": "family",
    "layouts": "layout",
    "wordings": "wording",
    "readers": "kind of data file",
    "makers": "local task",
}
"""What `list` calls the entries of a kind that say themselves what they are."""

KINDS: Table[Callable[[], Lines]] = Table(
    "list",
    {
        **{one.__name__: one for one in (tasks, models, methods, spaces)},
        **{plural: partial(lines_of, kind) for plural, kind in PLURALS.items()},
    },
)
