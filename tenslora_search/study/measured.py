"""What run.json knows of the model that a space is about: its geometries, and what probes found."""

from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.allocators import Measured
from tenslora_search.study.geometries import Geometries


def geometries_of(run_file: RunFile) -> Geometries:
    """The geometries that run.json holds: one for each of the sites, or the one of before there was
    a choice.
    """
    return run_file.geometries or run_file.geometry


def measured_of(run_file: RunFile) -> dict[str, Measured]:
    """What probes have found so far, by their names. They were asked about the projections of all
    sites of the search, each once, in the order of its geometries.
    """
    every = (run_file.geometries or {"": run_file.geometry}).values()
    projections = tuple(dict.fromkeys(name for one in every for name in one.projections))
    return {name: Measured(one, projections) for name, one in (run_file.probes or {}).items()}
