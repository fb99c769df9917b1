"""KINDS: what `list` shows: for each kind of choice its entries, what each is, its knobs."""

from collections.abc import Callable, Mapping
from typing import Any

from tenslora_search.spec.knobs import Knob, Range, knobs
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


def sites() -> Lines:
    """Which maps are adapted."""
    from tenslora_search.spec.sites import SITES

    return dict(SITES)


def methods() -> Lines:
    """The names people know, as points of the grid."""
    from tenslora_search.spec.methods import METHODS, USUAL

    found: Lines = {}
    for name, one in METHODS.items():
        more = [value for key, value in one.choices.items() if value != USUAL.get(key)]
        found[name] = f"{', '.join([f'{one.construction} x {one.decomposition}', *more])}: " + (
            one.note
        )
    return found


def constructions() -> Lines:
    """Which axes one tensor spans."""
    from tenslora_search.spec.constructions import CONSTRUCTIONS

    return dict(CONSTRUCTIONS)


def decompositions() -> Lines:
    """What a tensor is made of."""
    from tenslora_search.spec.decompositions import DECOMPOSITIONS

    return _about(DECOMPOSITIONS)


def maps() -> Lines:
    """What is done to the whole update."""
    from tenslora_search.spec.maps import MAPS

    return _about(MAPS)


def scales() -> Lines:
    """What stands in front of an update."""
    from tenslora_search.spec.scales import SCALES

    return _about(SCALES)


def rules() -> Lines:
    """How a trial is trained."""
    from tenslora_search.spec.rules import RULES

    return _about(RULES)


def allocators() -> Lines:
    """How a size becomes ranks."""
    from tenslora_search.spec.allocators import ALLOCATORS

    return _about(ALLOCATORS)


def samplers() -> Lines:
    """Who proposes."""
    from tenslora_search.study.samplers import SAMPLERS

    return _about(SAMPLERS)


def pruners() -> Lines:
    """Who climbs on."""
    from tenslora_search.study.pruners import PRUNERS

    return _about(PRUNERS)


def spaces() -> Lines:
    """What may be proposed."""
    from tenslora_search.study.space import about_spaces

    return dict(about_spaces())


def _about(table: Mapping[str, Callable[..., Any]]) -> Lines:
    """The first paragraph of each entry's docstring, then its knobs."""
    found: Lines = {}
    for name, entry in table.items():
        paragraph = " ".join((entry.__doc__ or "").strip().partition("\n\n")[0].split())
        found[name] = "".join([paragraph, *(f" [{_knob(knob)}]" for knob in knobs(entry))])
    return found


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


KINDS: Table[Callable[[], Lines]] = Table(
    "list",
    {
        entry.__name__: entry
        for entry in (
            tasks, models, sites, methods, constructions, decompositions, maps, scales, rules,
            allocators, samplers, pruners, spaces,
        )
    },
)  # fmt: skip
