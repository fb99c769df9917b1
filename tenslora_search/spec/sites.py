"""SITES: which maps of a model are adapted, by the names people use."""

from collections.abc import Iterable

from tenslora_search.spec.families import family_of
from tenslora_search.spec.table import Table

SITES: Table[str] = Table(
    "sites",
    {
        "qkv": "query key value",
        "qv": "query value",
        "qkvo": "query key value out",
        "all": "query key value out up gate down",
    },
)
"""Names of projections. A gate is left out where the family has none, as in BERT."""
DEFAULT_SITES = "qkv"


def projections_of(sites: str, model_type: str | None) -> tuple[str, ...]:
    """The projections of an entry of SITES, as far as the model's family has them."""
    names = tuple(SITES[sites].split())
    if "gate" in names and not family_of(model_type).gate:
        names = tuple(name for name in names if name != "gate")
    return names


def are_sites(projections: Iterable[str], sites: str) -> bool:
    """Whether the adapted maps are those of an entry of SITES, with or without a gate."""
    return set(projections) - {"gate"} == set(SITES[sites].split()) - {"gate"}
