"""The command line. Options without a verb run a search; torch, Ray and Optuna are imported only by
what needs them.
"""

import json
import logging
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from tenslora_search.api.signals import Stopped
from tenslora_search.runs.provenance import COMMAND, printable
from tenslora_search.spec.budget import format_count, parse_seconds
from tenslora_search.spec.table import QuestionError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which low-rank adapter should I train on this model and task, if I may train at most N "
    "parameters?",
    epilog="Exit codes: 0 done; 2 a wrong question; 3 nothing fits the budget; 4 no trial was "
    "completed; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP, with the report of what there is.",
)


@app.callback(invoke_without_command=True)
def search(
    context: typer.Context,
    budget: Annotated[
        str | None, typer.Option(metavar="N|300k|1.2M", help="trainable parameters at most")
    ] = None,
    task: Annotated[str | None, typer.Option(help="see: list tasks")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="see: list models; or a folder, or a hub id"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE",
            help="local data: csv, tsv, jsonl, json, parquet; or images, a folder a class",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="text, text_pair, image or label column"),
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(
            "--goal", "--labels", metavar="classes|numbers|labels", help="of own data [found out]"
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="accuracy, f1_macro, f1_micro, matthews, ... [by goal]")
    ] = None,
    drop_unlabelled: Annotated[
        bool, typer.Option("--drop-unlabelled", help="leave out rows without a label")
    ] = False,
    space: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="see: list spaces; or a TOML file")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="configurations to try [64]")] = None,
    time_limit: Annotated[
        str | None, typer.Option(metavar="90s|15m|2h", help="of the whole search")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="who proposes: tpe, random, nsga2, gp [tpe]")
    ] = None,
    pruner: Annotated[
        str | None, typer.Option(help="who climbs on: see list pruners [front]")
    ] = None,
    objective: Annotated[str | None, typer.Option(metavar="front|score", help="[front]")] = None,
    pack: Annotated[
        str, typer.Option(metavar="auto|N", help="trials side by side on a worker")
    ] = "auto",
    executor: Annotated[str, typer.Option(metavar="ray|inline")] = "ray",
    ray_address: Annotated[str | None, typer.Option(help="a running Ray cluster")] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="1, or a share such as 0.25")
    ] = None,
    retest: Annotated[
        int | None, typer.Option(metavar="N", help="fresh seeds for the front [2]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[0]")] = None,
    max_steps: Annotated[int | None, typer.Option(help="of one trial [by task]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="[by task]")] = None,
    max_length: Annotated[int | None, typer.Option(help="tokens a text at most [128]")] = None,
    fit_rows: Annotated[int | None, typer.Option(help="train on at most so many rows")] = None,
    count_head: Annotated[
        bool, typer.Option("--count-head", help="the budget covers the task head too")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="run folder [runs/TASK-BUDGET]; an old one goes on"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="delete the run in the folder first; other files stay")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the result as one JSON object")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="the space in numbers; trains nothing")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Search for the best adapters within a budget; `COMMAND --help` for the other verbs."""
    if context.invoked_subcommand is not None:
        return
    if version:
        from importlib.metadata import version as installed

        print(installed("tenslora-search"))
        return
    if budget is None:
        raise QuestionError("a search needs --budget, such as --budget 300k.")
    columns = _columns(column or [])
    asked = {
        "task": task, "model": model, "data": data, "columns": columns, "goal": goal,
        "space": space, "trials": trials, "sampler": sampler, "pruner": pruner,
        "objective": objective, "retest": retest, "seed": seed, "max_steps": max_steps,
        "batch_size": batch_size, "max_length": max_length, "fit_rows": fit_rows,
        "count_head": count_head, "metric": metric, "drop_unlabelled": drop_unlabelled,
    }  # fmt: skip
    limit = parse_seconds(time_limit) if time_limit is not None else None
    means = {
        "executor": executor,
        "pack": _pack(pack),
        "gpus_per_worker": gpus_per_worker,
        "time_limit": limit,
    }
    if dry_run:
        _dry_run(budget, asked, means, as_json=as_json)
        return
    from tenslora_search.api.finish import Interrupted
    from tenslora_search.api.search import search as run_search

    logging.getLogger("tenslora_search").setLevel(
        logging.ERROR if quiet or as_json else logging.WARNING
    )
    with _display(quiet=quiet or as_json) as progress:
        code = 0
        try:
            places = {"ray_address": ray_address, "out": out, "force": force}
            run = run_search(budget=budget, progress=progress, **places, **means, **asked)
        except Interrupted as interrupted:
            run, code = interrupted.run, 128 + interrupted.signal
    _print_result(run, as_json=as_json, quiet=quiet)
    if code == 0 and (why := _without_result(run)):
        code = _say(why, 4)
    raise typer.Exit(code)


@app.command()
def count(
    construction: Annotated[str, typer.Option()],
    decomposition: Annotated[str, typer.Option()],
    ranks: Annotated[
        str,
        typer.Option(
            metavar="R,R,...",
            help="in the order input, output or head_dim, head, projection, layer",
        ),
    ],
    model: Annotated[str | None, typer.Option(metavar="NAME|DIR")] = None,
    hidden: Annotated[int | None, typer.Option()] = None,
    heads: Annotated[int | None, typer.Option()] = None,
    layers: Annotated[int | None, typer.Option()] = None,
    kv_heads: Annotated[int | None, typer.Option()] = None,
    head_dim: Annotated[int | None, typer.Option()] = None,
    inner: Annotated[int | None, typer.Option(help="width of the MLP, for up, gate, down")] = None,
    projections: Annotated[
        str, typer.Option(help="of query, key, value, out, up, gate, down")
    ] = "query,key,value",
    as_json: Annotated[bool, typer.Option("--json", help="the parts too")] = False,
) -> None:
    """The exact number of trainable parameters of an adapter."""
    from tenslora_search.spec.adapter import AdapterSpec
    from tenslora_search.spec.backbones import geometry_of_model
    from tenslora_search.spec.geometry import Geometry

    names = tuple(projections.replace(" ", "").split(","))
    if model is not None:
        geometry = geometry_of_model(model, names)
    elif hidden is None or heads is None or layers is None:
        raise QuestionError("count needs --model, or --hidden, --heads and --layers.")
    else:
        geometry = Geometry.attention(
            hidden,
            heads,
            layers,
            kv_heads=kv_heads,
            head_dim=head_dim,
            inner=inner,
            projections=names,
        )
    spec = AdapterSpec.of(construction, decomposition, _ranks(ranks), geometry)
    if not as_json:
        print(spec.n_params)
        return
    parts = {
        "n_params": spec.n_params,
        "method": spec.method,
        "construction": construction,
        "decomposition": decomposition,
        "ranks": dict(zip(spec.structure.bonds, spec.ranks, strict=True)),
        "slice_rank": spec.slice_rank,
        "factors": spec.factor_counts,
    }
    print(json.dumps(parts, indent=2))


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="tasks|models|methods|sites|...")],
) -> None:
    """What there is: tasks, models, sites, methods, constructions, decompositions, maps, scales,
    rules, allocators, samplers, pruners, spaces; and the knobs of each.
    """
    from tenslora_search.listing import KINDS

    lines = KINDS[what]()
    width = max(len(name) for name in lines)
    for name, about in lines.items():
        print(f"{name:<{width}}  {about}".rstrip())


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")],
) -> None:
    """Rebuild report.html, report.md, front.csv, trials.csv, front.png and front.svg from a run
    folder alone.
    """
    from tenslora_search.report.build import build

    build(run)
    print(run / "report.html")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="run folders")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="the page")] = Path("compare.html"),
) -> None:
    """Put several runs (tasks, seeds, budgets) on one page."""
    from tenslora_search.report.compare import compare as compare_runs

    print(compare_runs(runs, out))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")],
    pick: Annotated[str, typer.Option(metavar="best|knee|smallest|NUMBER")] = "best",
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="a new folder, or an earlier export")
    ] = Path("adapter"),
    format: Annotated[str, typer.Option(metavar="peft|native|merged")] = "peft",
) -> None:
    """Write a trained adapter of a run: weights, task head, labels, tokenizer, and a card that says
    how it is loaded.
    """
    from tenslora_search.api.results import load_run

    loaded = load_run(run)
    number = loaded.pick(pick)
    print(f"trial {number}: {loaded.export(number, to, format)}")


def main() -> None:
    """The command; every wrong question is one line on stderr and exit code 2 (3: nothing fits; 4:
    no trial was completed; 130, 143, 129: ended by Ctrl-C, SIGTERM, SIGHUP).
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a terminal lacks the signs of the table
    typed = COMMAND.set(printable(shlex.join(["tenslora-search", *sys.argv[1:]])))
    try:
        code = app(standalone_mode=False)
    except QuestionError as error:
        code = _say(str(error), error.exit_code)
    except typer.Abort:
        code = _say("interrupted.", 130)
    except KeyboardInterrupt:
        code = _say("interrupted.", 130)
    except Stopped as stopped:
        code = _say(str(stopped), 128 + stopped.signal)
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error of the command line's own
            raise
        message: str = error.format_message()  # type: ignore[attr-defined]
        code = (
            _say(message, 2) if message else 2
        )  # none: the help was printed, since nothing was asked
    finally:
        COMMAND.reset(typed)
    sys.exit(code or 0)


def _say(message: str, code: int) -> int:
    print(f"tenslora-search: {' '.join(message.split())}", file=sys.stderr)
    return code


def _without_result(run: Any) -> str:
    """Why no trial of a search is complete; "" where one is."""
    trials = run.trials()
    states = set(trials["state"])
    if "complete" in states:
        return ""
    if states == {"failed"}:
        return f"every trial failed; the first: {trials['reason'].iloc[0]}"
    return "no trial was completed; give it more time: the same command goes on where it stopped."


def _dry_run(budget: str, asked: dict[str, Any], means: dict[str, Any], *, as_json: bool) -> None:
    from tenslora_search.api.checks import check_options
    from tenslora_search.runs.question import Question
    from tenslora_search.study.space import SearchSpace

    question = Question.of(budget=budget, **asked)
    check_options(question, **means)
    head = question.head_params if question.count_head else 0
    if head is None:
        print(
            "tenslora-search: the task head is known when data and model are read; it is not "
            "subtracted here.",
            file=sys.stderr,
        )
    of_adapter = question.adapter_budget(head or 0)
    rows = SearchSpace.load(question.space, question.geometry, of_adapter).table()
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    beside = f" beside the {format_count(head)} of the task head" if head else ""
    print(
        f"{question.task or question.data} on {question.model}, at most "
        f"{format_count(of_adapter)} parameters{beside}"
    )
    width = 8 if len({row.sites for row in rows}) > 1 else 0  # a column only where it tells
    head_line = f"{'construction':<15}{'decomposition':<15}{'sites'[:width]:<{width}}"
    print(f"{head_line}{'smallest':>10}{'largest':>10}  feasible ranks")
    for row in rows:
        about = f"about {row.feasible:,}" if row.is_estimate else f"{row.feasible:,}"
        what = f"{row.construction:<15}{row.decomposition:<15}{row.sites[:width]:<{width}}"
        print(f"{what}{row.smallest:>10,}{row.largest:>10,}  {about}")
    rungs = ", ".join(map(str, question.rungs))
    print(f"{question.trials} trials, scored after {rungs} steps of {question.batch_size} rows; "
          f"sampler {question.sampler}, "
          f"pruner {question.pruner}")  # fmt: skip


def _print_result(run: Any, *, as_json: bool, quiet: bool) -> None:
    from tenslora_search.display import print_front
    from tenslora_search.report.pareto import front
    from tenslora_search.report.reading import read_run

    checked, over = run.proof
    if as_json:
        rows = json.loads(run.front().to_json(orient="records"))
        proof = {"checked": checked, "over": over}
        print(json.dumps({"folder": str(run.folder), "front": rows, "proof": proof}, indent=2))
    elif not quiet:
        record = read_run(run.folder)
        print_front(front(record.rows), record.curves, run.file.metric)
        print(
            f"proof: {over} of {checked} configurations over budget "
            f"({format_count(run.file.budget)} parameters)"
        )
        adapters = run.folder / "adapters"  # none after Ctrl-C with nothing complete
        print(
            f"report: {run.folder / 'report.html'}"
            + (f"   adapters: {adapters}" if adapters.is_dir() else "")
        )


def _display(*, quiet: bool) -> Any:
    """A context that gives what `search` calls with its progress: a live table on a terminal, else
    plain lines.
    """
    from tenslora_search.display import live, plain, silent

    if quiet:
        return silent()
    return live() if sys.stdout.isatty() else plain()


def _columns(given: list[str]) -> dict[str, str | list[str]] | None:
    """Column names by role; a role that is given twice has a list."""
    columns: dict[str, list[str]] = {}
    for one in given:
        role, equals, name = one.partition("=")
        if not equals or not name:
            raise QuestionError(
                f"--column takes ROLE=NAME, such as --column label=stars; got {one!r}."
            )
        columns.setdefault(role, []).append(name)
    return {role: names[0] if len(names) == 1 else names for role, names in columns.items()} or None


def _pack(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise QuestionError(f"--pack is auto or a whole number of 1 or more; got {text!r}.")
    return int(text)


def _ranks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(rank) for rank in text.split(","))
    except ValueError:
        raise QuestionError(
            f"--ranks are whole numbers with commas between them, such as 8,8,3,12; got {text!r}."
        ) from None


if __name__ == "__main__":
    main()
