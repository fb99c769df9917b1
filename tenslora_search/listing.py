"""KINDS: what `list` shows: for each kind of choice its entries by name with a line about each."""

from collections.abc import Callable, Mapping

from tenslora_search.spec.table import Table

Lines = dict[str, str]


def tasks() -> Lines:
    from tenslora_search.spec.tasks import TASKS

    return {name: task.about for name, task in TASKS.items()}


def models() -> Lines:
    from tenslora_search.spec.backbones import BACKBONES

    return {
        name: _numbers(row.config) + (f", {row.hub}" if row.hub else ", made here")
        for name, row in BACKBONES.items()
    }


def methods() -> Lines:
    from tenslora_search.spec.methods import METHODS

    return {
        name: f"{one.construction} x {one.decomposition}: {one.note}"
        for name, one in METHODS.items()
    }


def constructions() -> Lines:
    from tenslora_search.spec.constructions import CONSTRUCTIONS

    return dict(CONSTRUCTIONS)


def decompositions() -> Lines:
    from tenslora_search.spec.decompositions import DECOMPOSITIONS

    return _docstrings(DECOMPOSITIONS)


def allocators() -> Lines:
    from tenslora_search.spec.allocators import ALLOCATORS

    return _docstrings(ALLOCATORS)


def rules() -> Lines:
    from tenslora_search.spec.rules import RULES

    return _docstrings(RULES)


def samplers() -> Lines:
    from tenslora_search.study.samplers import SAMPLERS

    return _docstrings(SAMPLERS)


def pruners() -> Lines:
    from tenslora_search.study.pruners import PRUNERS

    return _docstrings(PRUNERS)


def spaces() -> Lines:
    from tenslora_search.study.space import about_spaces

    return dict(about_spaces())


def _docstrings(table: Mapping[str, Callable]) -> Lines:
    return {name: (entry.__doc__ or "").strip().splitlines()[0] for name, entry in table.items()}


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
            tasks,
            models,
            methods,
            constructions,
            decompositions,
            allocators,
            rules,
            samplers,
            pruners,
            spaces,
        )
    },
)
