"""What a shell offers as the value of an option: names of the tables, read without torch."""

import pkgutil
from collections.abc import Callable, Iterable

from tenslora_search.spec.declared import declared_formats
from tenslora_search.spec.homes import HOMES

Offer = Callable[[str], list[str]]
"""(what is typed of the value) -> the values that begin so."""

LIGHT = {
    "metric": "tenslora_search.spec.metrics.NOISE",
    "goal": "tenslora_search.spec.metrics.GOAL_METRICS",
    "list": "tenslora_search.listing.KINDS",
    "form": "tenslora_search.report.methods.FORMS",
}
"""Tables with the names of a kind, where its own takes entries from nowhere, or imports torch."""


def one_of(kind: str, *more: str) -> Offer:
    """`more`, and the names of a kind: those of the package, whatever a plugin adds."""

    def offer(incomplete: str) -> list[str]:
        return [name for name in (*more, *_names(kind)) if name.startswith(incomplete)]

    return offer


def some_of(kind: str, *more: str) -> Offer:
    """As `one_of`, several with commas between: the last one is completed."""
    one = one_of(kind, *more)

    def offer(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in one(last)]

    return offer


def words(*values: str) -> Offer:
    """These alone."""
    return one_of("", *values)


def _names(kind: str) -> Iterable[str]:
    if kind == "space":
        from tenslora_search.study.space_file import space_files

        return space_files()
    if kind == "format":
        return declared_formats()
    if kind == "method":  # in a form without blanks, which is read too
        return [name.lower().replace(" ", "_") for name in pkgutil.resolve_name(HOMES[kind])]
    home = LIGHT.get(kind) or HOMES.get(kind)
    return pkgutil.resolve_name(home) if home else ()
