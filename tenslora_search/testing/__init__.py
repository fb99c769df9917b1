"""Checks that an entry of a table keeps its contract, ours and those of a plugin alike.

Each takes an entry's name, works on a tiny geometry and a tiny model made on the spot, in seconds
and without a network, and raises AssertionError with a sentence that says what is wrong.
"""

import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenslora_search.data.goals import GOALS, Classes
from tenslora_search.data.labels import Targets
from tenslora_search.data.metrics import METRICS
from tenslora_search.data.sources import MAKERS
from tenslora_search.data.task import TaskData
from tenslora_search.nn.naive import dense_update
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS, Measured
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.knobs import Range, knobs
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.metrics import GOAL_METRICS, metric_for, metrics_of
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.tasks import TASKS
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.pruners import PRUNERS, Standing
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.seen import Seen
from tenslora_search.study.space import SearchSpace
from tenslora_search.testing.examples import (
    GEOMETRY,
    N_STEPS,
    data_of,
    labels_of,
    pack_of,
    written_data,
)
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import read_state

MEASURED = {
    "intrinsic_dimension": Measured((1.0, 3.0, 4.0)),
    "gradient_energy": Measured((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), ("query", "key", "value")),
}
"""Answers of our own probes on a model of `GEOMETRY`."""
HALF = 3
TOLERANCE, ZERO = 1e-4, 1e-6
"""Rounding: relative, and of an update that is zero by arithmetic."""


def check_construction(name: str) -> None:
    """Counts and starts as every construction, over CP, Tucker and a train."""
    _ = CONSTRUCTIONS[name]
    for decomposition in ("cp", "tucker", "tensor_train"):
        _check_structure(Structure.of(name, decomposition, GEOMETRY))


def check_decomposition(name: str) -> None:
    """Over every construction: the count is the module's, the update is zero at the start, factors
    made alone are those made beside larger ranks; trained alone, packed or paused it is the same.
    """
    for knob in knobs(DECOMPOSITIONS[name]):
        ends = [*knob.among[:2]] if isinstance(knob.among, Range) else list(knob.among.values)
        for value in ends:
            _ = Structure.of("none", name, GEOMETRY, options={knob.name: value}).networks
    for construction in CONSTRUCTIONS:
        structure = Structure.of(construction, name, GEOMETRY)
        _check_structure(structure)
        _check_made_alone(structure)
    _check_training(_trial("none", name), f"decomposition {name}")


def check_map(name: str) -> None:
    """Zero stays zero, shapes stay, gradients are finite; trained alone, packed or paused it is the
    same.
    """
    change, what = MAPS[name], f"map {name}"
    update = torch.linspace(-1, 1, 24).view(2, 3, 4).requires_grad_()
    changed = change(update)
    _check(changed.shape == update.shape, f"{what} changes the shape of an update")
    _check(not change(torch.zeros(3, 4)).any(), f"{what} makes an update of 0 another")
    gradient = torch.autograd.grad(changed.sum(), update)[0]
    _check(bool(gradient.isfinite().all()), f"{what} has a gradient that is not finite")
    _check_training(_trial("none", "cp", after=name), what)


def check_rule(name: str) -> None:
    """At the ends of its knobs it is made; trained alone, packed or paused it is the same."""
    for knob in knobs(RULES[name]):
        ends = [*knob.among[:2]] if isinstance(knob.among, Range) else list(knob.among.values)
        for value in ends:
            RULES[name](**{knob.name: value})
    for construction, decomposition in (("none", "cp"), ("qkv_depth", "tucker")):
        _check_training(_trial(construction, decomposition, rule=name), f"rule {name}")


def check_allocator(name: str, measured: Measured | None = None) -> None:
    """Within the size, the same each time, ranks that an adapter takes; for some structure.

    `measured` is an answer of the probe that it needs, for 2 layers of query, key and value.
    """
    measured = measured or MEASURED.get(ALLOCATORS[name]().needs, Measured())
    allocator, divided = ALLOCATORS[name](), 0
    for construction in CONSTRUCTIONS:
        structure = Structure.of(construction, "tucker", GEOMETRY)
        if not allocator.can_divide(structure):
            continue
        divided += 1
        for size in (structure.smallest, 700, 3_000):
            for weight in (0.1, 0.9):
                weights = [weight, *(0.5,) * (len(structure.bonds) - 1)]
                ranks = allocator.divide(structure, size, weights, measured)
                again = allocator.divide(structure, size, weights, measured)
                what = f"allocator {name} on {structure} with {size} parameters"
                _check(ranks == again, f"{what} is not the same twice")
                n_params = AdapterSpec.over(structure, ranks).n_params
                most = max(size, structure.smallest)
                _check(n_params <= most, f"{what} spends {n_params}")
    _check(divided > 0, f"allocator {name} can divide no construction over {GEOMETRY}")


def check_sampler(name: str) -> None:
    """Proposes as many points as asked, which the space holds, also beside failed and running
    trials; the same for the same seed.
    """
    space = SearchSpace.load("default", lambda sites: GEOMETRY, 3_000)
    for objective in ("front", "score"):
        found = [_proposed(SAMPLERS[name](space, 0, objective), space) for _ in range(2)]
        _check(found[0] == found[1], f"sampler {name} proposes others for the same seed")
        for point in found[0]:
            _check(space.holds(point), f"sampler {name} proposes what the space does not hold")


def _proposed(proposer: Callable[..., list], space: SearchSpace) -> list[dict[str, Any]]:
    """Three batches: of a search that begins, of one with trials of each state, and of one with
    enough of them for a model.
    """
    first, generator = proposer((), 3), random.Random(0)
    _check(len(first) == 3, f"of 3 points that were asked for, {len(first)} were proposed")
    states = ("complete", "paused", "failed", "running", "waiting", "complete")

    def told(number: int, point: dict[str, Any]) -> Seen:
        state, size = states[number % 6], space.trial(point, number).adapter.n_params
        scores = {10: generator.random()} if state in ("complete", "paused") else {}
        return Seen(number, point, size, scores, state)

    many = [*first, *(space.nudged(first[0], generator, 2.0) for _ in range(37))]
    seen = [told(number, point) for number, point in enumerate(many)]
    found = [*first, *proposer(seen[:6], 2), *proposer(seen, 4)]
    _check(len(found) == 9, f"of 9 points that were asked for, {len(found)} were proposed")
    return found


def check_pruner(name: str) -> None:
    """Lets only trials climb that stand on the rung, the same each time, whoever comes first."""
    judge, what = PRUNERS[name](3, 3), f"pruner {name}"
    standings = [
        Standing(
            number, 100 * (1 + number), (0.3 + number / 30,) * (1 + number % 3), number % 3 == 2
        )
        for number in range(36)
    ]  # fmt: skip
    for rung in range(3):
        here = {one.number for one in standings if len(one.scores) == rung + 1}
        here -= {one.number for one in standings if one.is_complete}
        found = set(judge(standings, rung))
        _check(found <= here, f"{what} lets trials climb that do not stand on rung {rung}")
        _check(found == set(judge(standings, rung)), f"{what} judges otherwise the second time")
        turned = set(judge(standings[::-1], rung))
        _check(found == turned, f"{what} judges by the order in which trials are told")
    _check(set(judge([], 0)) == set(), f"{what} lets trials climb where there are none")
    _check(set(judge(standings[:1], 0)) <= {0}, f"{what} cannot judge a trial that is alone")


def check_metric(name: str) -> None:
    """Right answers score more than wrong ones, for each goal that it scores; noise falls with
    rows.
    """
    metric, what = METRICS[name], f"metric {name}"
    _check(0 < metric.noise(10_000) < metric.noise(100), f"{what}: noise does not fall with rows")
    goals = [goal for goal in GOAL_METRICS if name in metrics_of(goal)]
    _check(bool(goals), f"{what} scores no goal")
    truth = np.arange(12) % 2
    right = {
        "classes": (np.eye(3)[np.arange(12) % 3], np.arange(12) % 3),
        "labels": (np.eye(2)[truth], np.eye(2, dtype=np.int64)[truth]),
        "numbers": (np.linspace(0, 5, 12), np.linspace(0, 5, 12)),
    }
    for answers, labels in (right[goal] for goal in goals if goal in right):
        best, worst = metric(answers, labels), metric(answers[::-1], labels)
        _check(math.isfinite(best) and best > worst, f"{what}: right scores {best}, wrong {worst}")


def check_goal(name: str) -> None:
    """Reads labels, takes a loss of each trial, answers row by row, scores; what it keeps goes
    through JSON; trained alone, packed or paused it is the same.
    """
    what, kind = f"goal {name}", GOALS[name]
    _check(kind.name == name, f"{what} calls itself {kind.name}")
    read = Targets({"train": np.arange(24) % 2}) if kind.kinds else labels_of(kind)
    metric = metric_for(name, None)
    goal = kind.of(read.names, metric, read.of["train"])
    targets = torch.from_numpy(read.of["train"])
    strata = kind.strata(read.of["train"])
    _check(strata.shape == (len(targets),), f"{what}: strata are not one a row")
    data = written_data(goal, targets) if kind.kinds else data_of(goal, targets)
    again = kind.again(goal.names, metric, json.loads(json.dumps(dict(goal.kept))))
    _check(again.n_outputs == goal.n_outputs, f"{what} is another after JSON")
    with pack_of(data, [_trial("none", "cp")] * 2) as pack:
        losses = pack.advance(2)
        answers, scores = pack.predict(data.select), pack.scores(data.select)
    _check(all(map(math.isfinite, losses)), f"{what}: losses are {losses}")
    _check(answers.shape[:2] == (2, len(targets)), f"{what}: answers are {answers.shape}")
    _check(all(map(math.isfinite, scores)), f"{what}: scores are {scores}")
    broken = np.full_like(answers[0], np.nan)
    _check(math.isnan(goal.score(broken, read.of["train"])), f"{what} scores NaN as a number")
    _check_training(_trial("none", "cp"), what, data)


def check_task(name: str) -> None:
    """Its goal is one, its metric scores that; rows that are made here have its columns."""
    task, what = TASKS[name], f"task {name}"
    _check(task.name == name, f"{what} calls itself {task.name}")
    _ = GOALS[task.goal], metric_for(task.goal, task.metric)
    n_outputs = 1 if task.wording else task.n_outputs
    _check(min(task.max_steps, task.batch_size, n_outputs) >= 1, f"{what}: numbers below 1")
    if task.needs_network:
        return
    _check(name in MAKERS, f"{what} is on no hub, and no function of MAKERS makes its rows")
    frame = MAKERS[name]()
    missing = {*task.columns, *filter(None, [task.label])} - set(frame)
    _check(not missing, f"{what}: its rows have no column {', '.join(sorted(missing))}")
    found = len(set(frame[task.label])) if task.goal == "classes" else task.n_outputs
    _check(found == task.n_outputs, f"{what} has {found} classes; its row says {task.n_outputs}")


def _check(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"{sentence}.")


def _spec(structure: Structure, rank: int = 2) -> AdapterSpec:
    ranks = structure.clip((rank,) * len(structure.bonds))
    return AdapterSpec.over(structure, ranks)


def _trial(construction: str, decomposition: str, rank: int = 2, **more: Any) -> TrialSpec:
    after = more.pop("after", "as_is")
    structure = Structure.of(construction, decomposition, GEOMETRY, after=after)
    return TrialSpec(_spec(structure, rank), 5e-3, 2e-3, seed=rank, **more)


def _tensor(specs: Sequence[AdapterSpec]) -> FactoredTensor:
    return FactoredTensor(specs, 0, [torch.Generator().manual_seed(k) for k in range(len(specs))])


def _check_structure(structure: Structure) -> None:
    spec = _spec(structure)
    tensor = _tensor([spec])
    counted = sum(int(tensor.entries(name, 0).sum()) for name in tensor.factors)
    _check(
        counted == spec.n_params,
        f"{structure} counts {spec.n_params} parameters; its module trains {counted}",
    )
    largest = float(dense_update(tensor).detach().abs().max())
    _check(largest < ZERO, f"the update of {structure} is {largest:.1g} at the start, not 0")
    there = AdapterSpec.from_json(json.loads(json.dumps(spec.to_json())))
    _check(there == spec, f"{structure} is another adapter after JSON")


def _check_made_alone(structure: Structure) -> None:
    """No padding of a larger neighbour enters the update."""
    mine, other = _spec(structure, 2), _spec(structure, 3)
    alone, packed = _tensor([mine]), _tensor([other, mine, other])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in alone.arrays.items():
            entries = alone.entries(name, 0)
            values = torch.randn(entries.shape, generator=generator) * entries
            alone.of_trial(name, array, 0).copy_(values)
            packed.of_trial(name, packed.arrays[name], 1).copy_(values)
    one, two = dense_update(alone), dense_update(packed, 1)
    _check(_are_close(one, two), f"{structure} is another update beside an adapter of larger ranks")


def _check_training(trial: TrialSpec, what: str, data: TaskData | None = None) -> None:
    """Alone = packed, paused = unbroken, and nothing but numbers."""
    data = data or data_of(Classes(("low", "high"), "accuracy"), torch.arange(24) % 2)
    others = [_trial("none", "cp", 3), _trial("qkv", "cp", 1)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def state(pack: Pack, place: int = 0, to_step: int = N_STEPS) -> dict[str, torch.Tensor]:
            with pack:
                losses = pack.advance(to_step)
                _check(math.isfinite(losses[place]), f"{what}: the loss is {losses[place]}")
                return read_state(pack.save(place, folder / "state.safetensors"))[1]

        alone = state(pack_of(data, [trial]))
        packed = state(pack_of(data, [others[0], trial, others[1]]), 1)
        state(pack_of(data, [trial]), to_step=HALF)
        paused = [folder / "state.safetensors"]
        unbroken = state(pack_of(data, [trial], from_step=HALF, states=paused))
    for name, value in alone.items():
        _check(_are_close(value, packed[name]), f"{what}: {name} is another in a pack")
        _check(_are_close(value, unbroken[name]), f"{what}: {name} is another after a pause")


def _are_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    size = max(1e-3, float(other.detach().abs().max())) if other.numel() else 1.0
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * size)
