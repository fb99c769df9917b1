"""The command line. Options without a verb run a search; torch, Ray and Optuna are imported only by
what needs them.
"""

import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from tenslora_search import meanings, options
from tenslora_search.answers import print_dry_run, print_result, without_result
from tenslora_search.api.signals import Stopped
from tenslora_search.origins import is_nothing_said, origins_told, with_origins
from tenslora_search.runs.provenance import COMMAND, printable
from tenslora_search.spec.budget import parse_pack, parse_seconds
from tenslora_search.spec.paths import shown
from tenslora_search.spec.plugins import blamed, load_plugins, raised_by
from tenslora_search.spec.table import QuestionError
from tenslora_search.streams import open_streams, printing, unsaid
from tenslora_search.words import check_words, plugins_first, with_commas

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # where a default in brackets is text
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TENSLORA"},
    help="Which low-rank adapter should I train on this model and task, if I may train at most N "
    "parameters?",
    epilog="Exit codes: 0 done; 2 a wrong question; 3 nothing fits the budget; 4 no trial was "
    "completed; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP, with the report of what there is.",
)


@app.callback(invoke_without_command=True)
def search(
    context: typer.Context, config: options.Config = None, plugin: options.Plugin = None,
    budget: options.Budget = None, task: options.Task = None, model: options.Model = None,
    data: options.Data = None, column: options.Column = None, goal: options.Goal = None,
    metric: options.Metric = None, drop_unlabelled: options.DropUnlabelled = False,
    space: options.Space = None, methods: options.Methods = None, group: options.Group = None,
    min_budget: options.MinBudget = None, max_rank: options.MaxRank = None,
    trials: options.Trials = None, time_limit: options.TimeLimit = None,
    warm_start: options.WarmStart = None, sampler: options.Sampler = None,
    pruner: options.Pruner = None, objective: options.Objective = None, pack: options.Pack = "auto",
    split: options.Split = None, asynchronous: options.Asynchronous = False,
    executor: options.Executor = "ray", ray_address: options.RayAddress = None,
    gpus_per_worker: options.GpusPerWorker = None, retest: options.Retest = None,
    retain: options.Retain = None, retest_methods: options.RetestMethods = False,
    cut: options.Cut = True, seed: options.Seed = None, max_steps: options.MaxSteps = None,
    batch_size: options.BatchSize = None, max_length: options.MaxLength = None,
    eta: options.Eta = None, fit_rows: options.FitRows = None,
    count_head: options.CountHead = False, out: options.Out = None, force: options.Force = False,
    as_json: options.AsJson = False, quiet: options.Quiet = False,
    log_level: options.LogLevel = None, track: options.Track = None,
    dry_run: options.DryRun = False, version: options.Version = False,
) -> None:  # fmt: skip
    """Search for the best adapters within a budget; `COMMAND --help` for the other verbs."""
    load_plugins(plugin or ())
    if context.invoked_subcommand is not None:
        return
    if version:
        raise typer.Exit(_print_version())
    if is_nothing_said(context):
        typer.echo(context.get_help())
        raise typer.Exit(2)
    with origins_told(context):
        _asked(context, as_json=as_json, quiet=quiet)


def _asked(context: typer.Context, *, as_json: bool, quiet: bool) -> None:
    """What the options of a search ask for: a dry run, or the search."""
    said: dict[str, Any] = context.params
    if said["budget"] is None:
        raise QuestionError("a search needs --budget, such as --budget 300k.")
    asked = {name: said[name] for name in ASKED}
    asked["columns"] = meanings.columns_of(said["column"] or [])
    how = {name: said[name] for name in HOW}
    how["plugins"], how["track"] = said["plugin"] or (), said["track"] or ()
    how["pack"], limit = parse_pack(said["pack"]), said["time_limit"]
    how["time_limit"] = None if limit is None else parse_seconds(limit)
    usual = logging.ERROR if quiet or as_json else logging.WARNING
    level = meanings.level_of(said["log_level"], usual)
    if said["dry_run"]:
        return print_dry_run(asked, how, as_json=as_json, quiet=quiet)
    raise typer.Exit(_search(asked | how, level, as_json=as_json, quiet=quiet))


def _print_version() -> int:
    from importlib.metadata import version as installed

    print(installed("tenslora-search"))
    return 0


ASKED = (
    "budget", "task", "model", "data", "goal", "space", "methods", "trials", "sampler", "pruner",
    "objective", "retest", "retain", "seed", "max_steps", "batch_size", "max_length", "fit_rows",
    "count_head", "max_rank", "metric", "drop_unlabelled", "eta", "retest_methods", "min_budget",
    "group", "split", "asynchronous", "cut", "warm_start",
)  # fmt: skip
"""The options that `Question.of` takes as they were typed."""
HOW = ("executor", "gpus_per_worker", "ray_address", "out", "force")
"""Those that `search` takes besides."""


def _search(asked: dict[str, Any], level: int, *, as_json: bool, quiet: bool) -> int:
    """Runs a search and prints what it found; the exit code."""
    from tenslora_search.api.finish import Interrupted
    from tenslora_search.api.search import search as run_search

    code = 0
    with _logging_from(level), _display(quiet=quiet or as_json) as progress:
        try:
            run = run_search(progress=progress, **asked)
        except Interrupted as interrupted:
            run, code = interrupted.run, 128 + interrupted.signal
    with printing():
        print_result(run, as_json=as_json, quiet=quiet, is_interrupted=code != 0)
    if code == 0 and (why := without_result(run)):
        return _say(why, 4)
    return code


@contextmanager
def _logging_from(level: int) -> Iterator[None]:
    """The package's logger speaks from this level on, and as before afterwards."""
    logger = logging.getLogger("tenslora_search")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@app.command()
def count(
    construction: options.Construction = None, decomposition: options.Decomposition = None,
    method: options.Method = None, ranks: options.Ranks = "",
    model: options.CountedModel = None, hidden: options.Size = None, heads: options.Size = None,
    layers: options.Size = None, kv_heads: options.Size = None, head_dim: options.Size = None,
    inner: options.Inner = None, projections: options.Projections = "query,key,value",
    as_json: options.PartsAsJson = False,
) -> None:  # fmt: skip
    """The exact number of trainable parameters of an adapter."""
    from tenslora_search.spec.adapter import AdapterSpec

    structure = meanings.structure_of(method, construction, decomposition)
    names = tuple(projections.replace(" ", "").split(","))
    sizes = {
        "hidden": hidden, "heads": heads, "layers": layers, "kv_heads": kv_heads,
        "head_dim": head_dim, "inner": inner,
    }  # fmt: skip
    geometry = meanings.geometry_of(model, names, sizes)
    spec = AdapterSpec.of(*structure, meanings.ranks_of(ranks), geometry)
    if not as_json:
        print(spec.n_params)
        return
    parts = {
        "n_params": spec.n_params,
        "method": spec.method,
        "construction": spec.construction,
        "decomposition": spec.decomposition,
        "ranks": dict(zip(spec.structure.bonds, spec.ranks, strict=True)),
        "slice_rank": spec.slice_rank,
        "factors": spec.factor_counts,
    }
    print(json.dumps(parts, indent=2))


@app.command("list")
def list_(
    what: options.What,
) -> None:
    """What there is: tasks, models, sites, methods, constructions, decompositions, maps, scales,
    rules, allocators, samplers, pruners, goals, metrics, formats, spaces, ...; and their knobs.
    """
    from tenslora_search.listing import KINDS

    lines = KINDS[what]()
    width = max(len(name) for name in lines)
    for name, about in lines.items():
        print(f"{name:<{width}}  {about}".rstrip())


@app.command()
def report(
    run: options.RunFolder,
) -> None:
    """Rebuild report.html, report.md, front.csv, trials.csv, front.png and front.svg from a run
    folder alone.
    """
    from tenslora_search.report.build import build

    build(run)
    print(run / "report.html")


@app.command()
def table(
    runs: options.RunFolders,
    form: options.Form = "markdown",
) -> None:
    """Methods at equal sizes, with mean, spread and significance, for a paper: runs that differ in
    their seeds alone are one table.
    """
    from tenslora_search.report.comparing import said_of, settings
    from tenslora_search.report.methods import FORMS, cells
    from tenslora_search.report.reading import read_run

    write = FORMS[form]
    records = {str(run): read_run(run) for run in runs}
    groups = settings(records)
    print("\n".join(said_of(records, groups)), file=sys.stderr)
    print("\n".join(write(cells(group)) for group in groups.values()), end="")


@app.command()
def track(
    run: options.RunFolder,
    to: options.TrackTo,
) -> None:
    """Send a run to MLflow, W&B or TensorBoard: one run a trial, under one parent."""
    from tenslora_search.api.results import load_run
    from tenslora_search.api.trackers import track as send

    print(send(to, load_run(run)))


@app.command()
def gate(
    new: options.NewRun,
    old: options.OldRun,
    slack: options.Slack = 1.1,
    within: options.Within = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Exit with 1 if the front of NEW is worse than that of OLD beyond the noise of their retests:
    for a pipeline that searches anew when data or models change.
    """
    from tenslora_search.report.gate import gate as compared

    verdict = compared(new, old, slack=slack, within=within)
    print(json.dumps(verdict.to_json(), indent=2) if as_json else verdict)
    raise typer.Exit(0 if verdict.holds else 1)


@app.command()
def compare(
    runs: options.RunFolders,
    out: options.Page = Path("compare.html"),
) -> None:
    """Put several runs (tasks, seeds, budgets) on one page."""
    from tenslora_search.report.compare import compare as compare_runs

    print(compare_runs(runs, out))


@app.command()
def export(
    run: options.RunFolder, pick: options.Pick = "best", to: options.To = Path("adapter"),
    format: options.Format = "peft", rank: options.Rank = None,
    uniform_rank: options.UniformRank = False, head: options.Head = True,
    license: options.License = None, push: options.Push = None,
    base_name: options.BaseName = None,
) -> None:  # fmt: skip
    """Write a trained adapter of a run: weights, task head, labels, tokenizer, and a card that says
    how it is loaded.
    """
    from tenslora_search.api.results import load_run

    loaded = load_run(run)
    number = loaded.pick(pick)
    asked = {"rank": rank, "uniform_rank": uniform_rank, "head": head}
    asked |= {"license": license, "push": push, "base_name": base_name}
    print(f"trial {number}: {loaded.export(number, to, format, **asked)}")


def main() -> None:
    """The command; every wrong question is one line on stderr and exit code 2 (3: nothing fits; 4:
    no trial was completed; 130, 143, 129: ended by Ctrl-C, SIGTERM, SIGHUP).
    """
    open_streams()
    if not os.environ.get("OMP_NUM_THREADS", "1").replace(",", "").isdecimal():
        del os.environ["OMP_NUM_THREADS"]  # libgomp complains of it in lines of its own
    typed = COMMAND.set(printable(shlex.join(["tenslora-search", *sys.argv[1:]])))
    try:
        code = _answered(sys.argv[1:])
    finally:
        COMMAND.reset(typed)
    if why := unsaid():
        code = _say(f"cannot write: {why}.", 2)
    sys.exit(code)


def _answered(words: list[str]) -> int:
    """Does what the words of a command say; the exit code."""
    try:
        check_words(words)
        return app(plugins_first(words), standalone_mode=False) or 0
    except QuestionError as error:
        return _say(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted.", 130)
    except Stopped as stopped:
        return _say(str(stopped), 128 + stopped.signal)
    except SystemExit as ended:  # so says typer that nobody reads any more
        if isinstance(ended.__context__, BrokenPipeError):
            return 0
        return _say(blamed(ended), 2)
    except OSError as error:
        if raised_by(error):
            return _say(blamed(error), 2)
        if error.filename is not None:
            return _say(f"{shown(str(error.filename))}: {error.strerror}.", 2)
        why = unsaid(error)
        return _say(f"cannot write: {why}.", 2) if why else 0
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error of the command line's own
            return _say(blamed(error), 2)
        message = with_commas(error.format_message(), words)  # type: ignore[attr-defined]
        return _say(with_origins(message, getattr(error, "ctx", None)), 2)


def _say(message: str, code: int) -> int:
    print(f"tenslora-search: {' '.join(message.split())}", file=sys.stderr)
    return code


def _display(*, quiet: bool) -> Any:
    """Gives what `search` calls with its progress: a live table on a terminal, else plain lines."""
    from tenslora_search.display import live, plain, silent

    if quiet:
        return silent()
    return live() if sys.stdout.isatty() else plain()


if __name__ == "__main__":
    main()
