"""Question: everything that decides a search's answer, checked before anything costly starts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

from tenslora_search.runs.fields import LONGEST_NAME, Check, Count, Name, Number, record_of
from tenslora_search.spec.arguments import Asked
from tenslora_search.spec.backbones import (
    BACKBONES,
    geometry_of_sites,
    head_of_model,
    known_backbone,
)
from tenslora_search.spec.budget import parse_count
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.methods import methods_named
from tenslora_search.spec.metrics import GOAL_METRICS, NOISE, metric_for
from tenslora_search.spec.paths import exists, found, typed
from tenslora_search.spec.sites import DEFAULT_SITES
from tenslora_search.spec.table import NothingFitsError, QuestionError, unknown
from tenslora_search.spec.tasks import TASKS, Task, check_reads

OBJECTIVES = ("front", "score")
Objective = Annotated[str, Check(" or ".join(OBJECTIVES), lambda name: name in OBJECTIVES)]
Goal = Annotated[str, Check(" or ".join(GOAL_METRICS), lambda name: name in GOAL_METRICS)]
Eta = Annotated[int, Check("2 or more", lambda eta: eta >= 2)]
Place = Annotated[Name, Asked(str | Path)]
Several = Annotated[tuple[Name, ...], Asked(str | Path | Sequence[str | Path])]
Parameters = Annotated[Count, Asked(str | int)]
LARGEST = 10**9
"""Of trials, steps, rows and the like."""
MOST = {"batch_size": 2**16}
OF_TASK = ("model", "trials", "max_steps", "batch_size", "max_length")
"""Options that a task by name has defaults of."""
FREE = ("trials", "retest", "retest_methods", "cut", "split", "asynchronous")
"""What may be another in the same folder: a search can be taken further."""
OWN_LOOP = (
    "space",
    "methods",
    "trials",
    "max_steps",
    "eta",
    "sampler",
    "pruner",
    "objective",
    "seed",
    "min_budget",
    "max_rank",
    "warm_start",
)
"""The options of `ask_tell`."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a task or own data, a model, a budget, and how to search. The same question is
    the same search.
    """

    FORMERLY: ClassVar[Mapping[str, str]] = {"labels": "goal"}

    budget: Parameters
    """trainable parameters of an adapter at most (with `count_head`, of adapter and task head)"""
    model: Place
    task: Name | None = None
    data: Place | None = None
    columns: Mapping[str, str | tuple[str, ...]] | None = None
    goal: Goal | None = None
    """of own data; None: of labels, lists are labels, numbers with fractions are numbers, anything
    else is classes; of text without labels next_token, choice or sequence, by its columns
    """
    metric: Name | None = None
    """None: the task's, or the goal's first"""
    drop_unlabelled: bool = False
    """leave out rows without a label"""
    space: Place = "default"
    methods: Several | None = None
    """names of METHODS, or "all": those alone are proposed; None: what the space names"""
    trials: Count = 64
    max_steps: Count = 1000
    """of one trial; the rungs below are eta apart"""
    batch_size: Count = 32
    max_length: Count = 128
    fit_rows: Count | None = None
    sampler: Name = "tpe"
    pruner: Name = "front"
    objective: Objective = "front"
    retest: Number = 2
    """fresh seeds on which each member of the front is trained again"""
    retest_methods: bool = False
    """and the best of each method at a sixteenth, a quarter and all of the budget"""
    cut: bool = True
    """whether the front's largest members are cut down after training too, before the retest"""
    seed: Number = 0
    retain: Place | None = None
    """text that must not be forgotten, a task or a file: the retest measures how much the loss on
    it rises
    """
    count_head: bool = False
    max_rank: Count | None = None
    """of the pair of any map, which is the rank that a server of adapters sees"""
    eta: Eta = 3
    min_budget: Parameters | None = None
    """trainable parameters at least, counted as the budget's"""
    warm_start: Several | None = None
    """folders of earlier runs, whose scores the sampler is told of"""
    group: Name | None = None
    """a column of the data: rows of equal value stay on one side of the cut of fit and select"""
    split: Count | None = None
    """packs that the trials of a rung are cut into; None: the task's on CPUs, one a worker on GPUs
    """
    asynchronous: bool = False
    """decide whenever a worker is free: the answer depends on who came back first"""

    @classmethod
    def of(
        cls,
        *,
        budget: str | int,
        task: str | None = None,
        data: str | Path | None = None,
        **options: Any,
    ) -> "Question":
        """From what a user says; what is left out (None) takes the task's default, else the tool's.

        `QuestionError` for anything that cannot be, before torch, Ray or Optuna are imported.
        """
        row = TASKS[task] if task is not None else None
        if row is None and data is None:
            raise QuestionError(
                "name a task with --task or give your own data with --data. Tasks: "
                f"{', '.join(TASKS)}."
            )
        path = _data_path(data)
        chosen: dict[str, Any] = cls._checked(options, [field.name for field in fields(cls)])
        if row is not None:
            chosen = {name: getattr(row, name) for name in OF_TASK} | chosen
        if "model" not in chosen:
            raise QuestionError(
                "own data needs --model: minilm or roberta-base for text, smollm2 for text to be "
                "written, google/vit-base-patch16-224 for images."
            )
        if row is not None:
            _check_task(row, chosen)
        # workers run in folders of their own
        chosen["model"] = _resolved(chosen["model"], BACKBONES)
        if "retain" in chosen:
            chosen["retain"] = _resolved(chosen["retain"], TASKS)
        return cls(budget=_budget(budget, chosen), task=task, data=path, **chosen)

    @classmethod
    def of_own_loop(cls, *, budget: str | int, model: str | Path, **options: Any) -> "Question":
        """What `ask_tell` asks: the training is the user's, so there is no task, and one rung where
        `max_steps` is left out.
        """
        of_loop: dict[str, Any] = {"max_steps": 1, "retest": 0, "asynchronous": True}
        own = of_loop | cls._checked(options, OWN_LOOP)
        return cls(
            budget=_budget(budget, own),
            model=str(model),
            **own,
        )

    @classmethod
    def _checked(cls, options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """The options that are not left out; `QuestionError` for an unknown name or a number that
        cannot be.
        """
        chosen = {name: value for name, value in options.items() if value is not None}
        for name in cls.FORMERLY.keys() & chosen.keys():
            chosen.setdefault(cls.FORMERLY[name], chosen.pop(name))
        for name, value in chosen.items():
            _check_length(name, value)
            if name not in names:
                raise QuestionError(unknown("option", name, tuple(names)))
        _check_numbers(chosen)
        if "min_budget" in chosen:
            chosen["min_budget"] = parse_count(chosen["min_budget"], "--min-budget")
        if chosen.get("objective", "front") not in OBJECTIVES:
            raise QuestionError(unknown("objective", chosen["objective"], OBJECTIVES))
        if "goal" in chosen:
            _ = metric_for(chosen["goal"], chosen.get("metric"))
        elif "metric" in chosen:
            _ = NOISE[chosen["metric"]]
        if "methods" in chosen:
            chosen["methods"] = methods_named(chosen["methods"])
        if "warm_start" in chosen:
            chosen["warm_start"] = _folders(chosen["warm_start"])
        for name in ("model", "space"):
            if name in chosen:
                chosen[name] = str(chosen[name])  # a path is welcome
        if chosen.get("space", "default").endswith(".toml"):
            chosen["space"] = str(typed(chosen["space"]).resolve())
        return chosen

    @property
    def rungs(self) -> tuple[int, ...]:
        """Cumulative steps at which trials are scored, eta apart, the last one `max_steps`: 240 ->
        27, 80, 240.
        """
        steps = [self.max_steps]
        while len(steps) < 3 and steps[0] >= 4 * self.eta:
            steps.insert(0, round(steps[0] / self.eta))
        return tuple(steps)

    @property
    def task_options(self) -> dict[str, Any]:
        """The arguments of `load_task` besides the model."""
        names = (
            "data", "columns", "goal", "metric", "drop_unlabelled", "fit_rows", "max_length",
            "seed", "group",
        )  # fmt: skip
        return {"name": self.task, **{name: getattr(self, name) for name in names}}

    def geometry(self, sites: str = DEFAULT_SITES) -> Geometry:
        """Of an entry of SITES on the model, from its config alone."""
        return geometry_of_sites(self.model, sites)

    @property
    def head_params(self) -> int | None:
        """Parameters of the task head as far as they are known before data and model are read; else
        None.
        """
        return head_of_model(self.model, TASKS[self.task].n_outputs) if self.task else None

    def adapter_budget(self, head_params: int) -> int:
        """What the budget leaves to an adapter; `NothingFitsError` if that is nothing."""
        if self.count_head and not head_params:
            raise QuestionError(
                "--count-head: a language model has no task head, its own output is read; leave "
                "the option out."
            )
        budget = self.budget - (head_params if self.count_head else 0)
        if budget < 1:
            raise NothingFitsError(
                f"the task head alone has {head_params:,} parameters, the budget with --count-head "
                f"is {self.budget:,}."
            )
        return budget

    def limits(self, head_params: int) -> dict[str, int | None]:
        """What `SearchSpace.load` is told besides the budget of an adapter."""
        least = self.min_budget
        if least is not None and self.count_head:
            least = max(1, least - head_params)
        return {"min_budget": least, "max_rank": self.max_rank}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> "Question":
        """`FieldError` for the first field that is missing or wrong."""
        if isinstance(data, Mapping):
            said = cast("Mapping[str, object]", data)
            data = {"goal": said["labels"], **said} if "labels" in said else said  # before goals
        return record_of(cls, data)

    def check_same(self, other: "Question", folder: Path) -> None:
        """`QuestionError` if the folder's question (self) is another than the one asked now."""
        before, now = self.to_json(), other.to_json()
        changed = [
            f"{name} was {before[name]}, now {now[name]}"
            for name in before
            if before[name] != now[name] and name not in FREE
        ]
        if changed:
            raise QuestionError(
                f"{folder} holds another search: {'; '.join(changed)}. Choose another --out, or "
                "--force."
            )


def _resolved(name: str, known: Mapping[str, Any]) -> str:
    """A name that is known as it is, else the whole path where there is such a file or folder."""
    path = typed(name)
    return str(path.resolve()) if name not in known and exists(path) else name


def _budget(budget: str | int, chosen: Mapping[str, Any]) -> int:
    """The budget as a number; `QuestionError` for one below the least number of parameters."""
    most, least = parse_count(budget), chosen.get("min_budget", 1)
    if least > most:
        raise QuestionError(f"--min-budget {least:,} is above the budget, {most:,}.")
    return most


def _data_path(data: str | Path | None) -> str | None:
    if data is None:
        return None
    _check_length("data", data)
    return str(found(data, "--data").resolve())


def _folders(said: object) -> tuple[str, ...] | None:
    """One or several, as whole paths; None for none."""
    every = [said] if isinstance(said, str | Path) else list(cast("Sequence[str | Path]", said))
    return tuple(str(typed(one).resolve()) for one in every) or None


def _check_length(name: str, value: object) -> None:
    """Of names and paths: longer ones are none that a file system knows."""
    if isinstance(value, str | Path) and (len(str(value)) > LONGEST_NAME or "\0" in str(value)):
        option = f"--{name.replace('_', '-')}"
        raise QuestionError(f"{option} is a text of at most {LONGEST_NAME:,} plain characters.")


def _check_task(task: Task, chosen: Mapping[str, Any]) -> None:
    """Of a task and what goes with it: its goal is its own, the metric one of it, and the model one
    that reads its data; what models of other names read shows when they are loaded.
    """
    if "goal" in chosen:
        raise QuestionError(
            f"--goal is for own data without --task; the goal of task {task.name} is {task.goal}."
        )
    _ = metric_for(task.goal, chosen.get("metric"))
    model: str = chosen["model"]
    backbone = known_backbone(model)
    if backbone is not None:
        check_reads(
            f"task {task.name}",
            "image" if task.kind == "image" else "text",
            model,
            backbone.family.reads,
        )


LEAST = {"retest": 0, "seed": 0, "eta": 2}
"""Of numbers that are not at least 1."""


def _check_numbers(chosen: Mapping[str, Any]) -> None:
    """`QuestionError` for a number that cannot be."""
    ones = "trials", "max_steps", "batch_size", "max_length", "fit_rows", "max_rank", "split"
    for name, least in {**dict.fromkeys(ones, 1), **LEAST}.items():
        _at_least(name, chosen.get(name, least), least)
    if chosen.get("seed", 0) >= 2**32:
        raise QuestionError(f"--seed is below 2**32, which is 4294967296; got {chosen['seed']}.")


def _at_least(name: str, value: object, least: int) -> None:
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise QuestionError(f"{option} is a whole number of {least} or more; got {value}.")
    if name != "seed" and value > (most := MOST.get(name, LARGEST)):
        raise QuestionError(f"{option} is {most:,} at most.")
