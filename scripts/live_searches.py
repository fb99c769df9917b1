"""Live searches on one card, ours beside what people run with Ray Tune: everything on the clock.

    python scripts/live_searches.py run --task trec --data DATA/trec --model MINILM --seed 0 \
        --out live --ways "ours" "ours --sampler random --pruner none" "tune tpe asha 8 reuse"
    python scripts/live_searches.py referee --task trec --data DATA/trec --model MINILM --out live
    python scripts/live_searches.py table --out live --curves reports/curves/trec

Same space, budget, trial code, steps, rungs and precision. `ours OPTIONS` is the command of the
README, without retests. `tune SAMPLER PRUNER N` is a Tuner with OptunaSearch (tpe or random; one
objective, the score) and ASHAScheduler or none, N trials at a time on shares of the card, each in
an actor of its own, as Ray Tune does it by default; with `reuse` an actor keeps process, model and
data for the next trial. The clock starts with the process of the search: imports, Ray, model and
data count for both. Whoever is on a front at any time is then trained again by the same referee,
with three fresh seeds, and scored on report; a search at one time is worth the area under its
front, chosen by select, by these scores (compare_searchers.py). The referee is not on the clock.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.budget import parse_count
from tenslora_search.spec.tasks import TASKS
from tenslora_search.spec.trial import TrialSpec

RUNGS = 3
ETA = 3
SEEDS = (101, 102, 103)
"""Of the referee."""
PACK = 48
"""Trials that the referee trains side by side."""


@dataclass(frozen=True)
class End:
    """A trial that has reached the last step: when, what it is, how it scored on select."""

    seconds: float
    n_begun: int
    """trials that had been begun by then"""
    spec: Mapping[str, Any]
    score: float

    @property
    def n_params(self) -> int:
        return AdapterSpec.from_json(dict(self.spec)["adapter"]).n_params

    @property
    def key(self) -> str:
        """Equal for two trials that would train the same thing."""
        return json.dumps({**self.spec, "seed": 0}, sort_keys=True)


# Ours, from the shell.


def ours(options: argparse.Namespace, words: Sequence[str], folder: Path) -> list[End]:
    """A search by the command line; its journal is looked at ten times a second."""
    data = ["--data", str(options.data)] if options.data else []
    command = [
        sys.executable, "-m", "tenslora_search", "--task", options.task, "--model", options.model,
        *data, "--budget", options.budget, "--trials", str(options.trials),
        "--max-steps", str(options.max_steps), "--retest", "0", "--seed", str(options.seed),
        "--time-limit", f"{options.seconds:.0f}s", "--quiet", "--out", str(folder), *words,
    ]  # fmt: skip
    began, told = time.perf_counter(), list[tuple[float, dict[str, Any]]]()
    journal = folder / "trials.jsonl"
    with subprocess.Popen(command) as search:
        while search.poll() is None:
            _look(journal, told, time.perf_counter() - began)
            time.sleep(0.1)
    _look(journal, told, time.perf_counter() - began)
    if search.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {search.returncode}")
    specs, ends = dict[int, Any](), list[End]()
    for seconds, event in told:
        if event["event"] == "proposed":
            specs[event["number"]] = event["spec"]
        elif event["event"] == "complete":
            ends.append(End(seconds, len(specs), specs[event["number"]], event["score"]))
    return ends


def _look(journal: Path, told: list[tuple[float, dict[str, Any]]], now: float) -> None:
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    told.extend((now, json.loads(line)) for line in lines[len(told) :] if line.endswith("\n"))


# Theirs, in a process of its own as well.


def theirs(options: argparse.Namespace, words: Sequence[str], folder: Path) -> list[End]:
    """This script again, with `tune`."""
    command = [sys.executable, __file__, "tune", "--out", str(folder), "--way", " ".join(words)]
    command += ["--geometry", str(options.out / "geometry.json")]
    for name in ("task", "model", "data", "budget", "trials", "max_steps", "seed", "seconds"):
        if getattr(options, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    subprocess.run([*command, "--began", str(time.time())], check=True)
    return [End(**one) for one in json.loads((folder / "ends.json").read_text())]


def tune(options: argparse.Namespace) -> None:
    """Searches as people do with Ray Tune; writes OUT/ends.json."""
    import os

    import optuna
    import ray
    import torch
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
    from ray.tune.search.optuna import OptunaSearch

    from tenslora_search.spec.geometry import Geometry
    from tenslora_search.study.samplers import distributions
    from tenslora_search.study.space import SearchSpace

    sampler, pruner, n_processes, *more = options.way.split()
    shapes = Geometry.from_json(json.loads(options.geometry.read_text()))
    space = SearchSpace.load("default", shapes, parse_count(options.budget))
    ends, begun = list[dict[str, Any]](), set[str]()

    class Notes(ray_tune.Callback):
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            begun.add(trial.trial_id)

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
        ) -> None:
            if result["share"] == ETA ** (RUNGS - 1):
                seconds = result["told"] - options.began
                ends.append(vars(End(seconds, len(begun), result["spec"], result["score"])))

    by_name = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    goal = {"metric": "score", "mode": "max"}
    search = OptunaSearch(distributions(space), sampler=by_name[sampler](seed=options.seed), **goal)
    asha = ASHAScheduler("share", grace_period=1, reduction_factor=ETA, max_t=ETA ** (RUNGS - 1))
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    on_card = {"cpu": 1, "gpu": 1 / int(n_processes)} if torch.cuda.is_available() else {"cpu": 1}
    given = ray_tune.with_parameters(_alone(), setting=setting_of(options), space=space)
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(given, on_card),
        tune_config=ray_tune.TuneConfig(
            num_samples=options.trials, search_alg=search, reuse_actors="reuse" in more,
            scheduler=asha if pruner == "asha" else FIFOScheduler(), **goal,
            max_concurrent_trials=int(n_processes), time_budget_s=options.seconds,
        ),
        run_config=ray_tune.RunConfig(
            storage_path=str(options.out.resolve()), name="tune", verbose=0, callbacks=[Notes()],
            checkpoint_config=ray_tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip
    results = tuner.fit()
    ray.shutdown()
    (options.out / "ends.json").write_text(json.dumps(ends))
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed; the first: {results.errors[0]}")
    os._exit(0)


def geometry(options: argparse.Namespace) -> Path:
    """The model's shapes in a file, which no search is charged for."""
    file = options.out / "geometry.json"
    if not file.exists():
        from tenslora_search.nn.places import geometry_of
        from tenslora_search.training.segment import worker_backbone

        (model, _), _ = worker_backbone(setting_of(options))
        file.write_text(json.dumps(geometry_of(model).to_json()))
    return file


def setting_of(options: argparse.Namespace) -> Any:
    from tenslora_search.runs.segment import Setting

    where = {"name": options.task, "data": options.data and str(options.data.resolve())}
    batch = TASKS[options.task].batch_size
    return Setting(options.model, where, batch, options.max_steps)


def _alone() -> Any:
    """A Trainable of one trial: a step of it is a rung."""
    from ray import tune as ray_tune

    from tenslora_search.training.pack import Pack
    from tenslora_search.training.segment import worker_backbone

    class Alone(ray_tune.Trainable):
        def setup(self, config: dict[str, Any], setting: Any, space: Any) -> None:
            self.setting, self.space = setting, space
            self.backbone, self.data = worker_backbone(setting)
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.cleanup()
            self.rung = 0
            self.spec = self.space.trial(new_config, crc32(json.dumps(new_config).encode()))
            steps, batch = self.setting.max_steps, self.setting.batch_size
            model, anew = self.backbone
            pack = Pack(model, self.data, [self.spec], max_steps=steps, batch_size=batch, anew=anew)
            self.pack = pack.__enter__()
            return True

        def step(self) -> dict[str, Any]:
            self.rung += 1
            self.pack.advance(round(self.setting.max_steps / ETA ** (RUNGS - self.rung)))
            (score,) = self.pack.scores(self.data.select)
            score = score if math.isfinite(score) else -math.inf
            return {
                "score": score, "share": ETA ** (self.rung - 1),
                "done": self.rung == RUNGS, "told": time.time(), "spec": self.spec.to_json(),
            }  # fmt: skip

        def cleanup(self) -> None:
            pack, self.pack = getattr(self, "pack", None), None
            if pack is not None:
                pack.__exit__()

    return Alone


# What came out.


def run(options: argparse.Namespace) -> None:
    """Each way in turn; what is there already is left."""
    geometry(options)
    for way in options.ways:
        file = options.out / f"{way.replace(' ', '_')}.{options.seed}.json"
        if file.exists():
            continue
        folder = options.out / "searches" / file.stem
        folder.parent.mkdir(parents=True, exist_ok=True)
        first, *words = way.split()
        began = time.perf_counter()
        ends = (ours if first == "ours" else theirs)(options, words, folder)
        seconds = time.perf_counter() - began
        about = {"way": way, "seed": options.seed, "seconds": seconds}
        file.write_text(json.dumps(about | {"ends": [vars(one) for one in ends]}))
        print(f"{way}, seed {options.seed}: {len(ends)} complete in {seconds:.0f} s", flush=True)


def searches(folder: Path) -> list[dict[str, Any]]:
    """What `run` has written."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.*.json"))]
    return [one | {"ends": [End(**end) for end in one["ends"]]} for one in found]


def fronts(ends: Sequence[End]) -> list[tuple[End, list[End]]]:
    """After each trial that ended the front of all so far, by the scores on select."""
    from compare_searchers import leading

    def front(some: Sequence[End]) -> list[End]:
        return leading(some, lambda one: one.n_params, lambda one: one.score)

    return [(end, front(ends[: place + 1])) for place, end in enumerate(ends)]


def referee(options: argparse.Namespace) -> None:
    """Trains all that was ever on a front with three fresh seeds; writes OUT/referee.json."""
    from tenslora_search.training.pack import Pack
    from tenslora_search.training.segment import worker_backbone

    file = options.out / "referee.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    asked = {
        one.key: one.spec
        for search in searches(options.out)
        for _, members in fronts(search["ends"])
        for one in members
    }
    left = [(key, seed) for key in asked for seed in SEEDS if f"{seed} {key}" not in known]
    setting = setting_of(options)
    (model, anew), data = worker_backbone(setting)
    for first in range(0, len(left), PACK):
        part = left[first : first + PACK]
        specs = [TrialSpec.from_json({**asked[key], "seed": seed}) for key, seed in part]
        steps, batch = setting.max_steps, setting.batch_size
        with Pack(model, data, specs, max_steps=steps, batch_size=batch, anew=anew) as pack:
            pack.advance(steps)
            scores = pack.scores(data.report)
        known |= {f"{seed} {key}": score for (key, seed), score in zip(part, scores, strict=True)}
        file.write_text(json.dumps(known))
    print(f"referee: {len(asked)} configurations, {len(left)} trainings", flush=True)


def table(options: argparse.Namespace) -> None:
    """A row a search: its area at the end and the seconds to shares of the best baseline's."""
    from compare_searchers import TARGETS, Moment, Recorded, time_to

    recorded = Recorded(options.curves)
    known = json.loads((options.out / "referee.json").read_text())

    def share(members: Sequence[End]) -> float:
        pairs = [
            (one.n_params, sum(known[f"{seed} {one.key}"] for seed in SEEDS) / len(SEEDS))
            for one in members
        ]
        return recorded._area(pairs) / recorded.whole  # pyright: ignore[reportPrivateUsage]

    curves = {
        (one["way"], one["seed"]): [
            Moment(end.seconds, end.n_begun, share(members)) for end, members in fronts(one["ends"])
        ]
        for one in searches(options.out)
        if one["ends"]
    }
    best = max(curve[-1].share for (way, _), curve in curves.items() if way.startswith("tune"))
    print(
        f"Best baseline's area at its end: {best:.3f}. A dash: never.\n\n"
        "| search | seed | complete | area at the end | s to 90 % | 95 % | 99 % | s to 95 % of the "
        "best of this table | first trial at | s in all |\n"
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    )
    of: Callable[[Moment], float] = lambda moment: moment.seconds  # noqa: E731
    top = max(curve[-1].share for curve in curves.values())
    for one in searches(options.out):
        curve = curves.get((one["way"], one["seed"]))
        if curve is None:
            print(f"| {one['way']} | {one['seed']} | 0 |  |  |  |  |  |  | {one['seconds']:.0f} |")
            continue
        times = [time_to(curve, target * best, of) for target in TARGETS]
        times.append(time_to(curve, 0.95 * top, of))
        cells = " | ".join("-" if math.isinf(at) else f"{at:.0f}" for at in times)
        print(
            f"| {one['way']} | {one['seed']} | {len(curve)} | {curve[-1].share:.3f} | {cells} | "
            f"{curve[0].seconds:.0f} | {one['seconds']:.0f} |"
        )


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    if Path(options.model).is_dir():
        options.model = str(Path(options.model).resolve())
    {"run": run, "tune": tune, "referee": referee, "table": table}[options.what](options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "tune", "referee", "table"))
    parser.add_argument("--ways", nargs="*", default=["ours", "tune tpe asha 8"])
    parser.add_argument("--way", help="of one search with Ray Tune")
    parser.add_argument("--geometry", type=Path, help="of one search with Ray Tune")
    parser.add_argument("--began", type=float, help="when its clock started")
    parser.add_argument("--task", default="trec")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--budget", default="300k")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--max-steps", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=600.0, help="of a search at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curves", type=Path, help="recorded ones of the task: the reference")
    parser.add_argument("--out", type=Path, default=Path("live"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
