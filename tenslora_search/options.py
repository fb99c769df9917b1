"""The options of the commands: what each is called, takes and means in `--help`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tenslora_search import meanings
from tenslora_search.completing import one_of, some_of, words


def number(help: str) -> Any:
    return typer.Option(parser=meanings.number, metavar="X", help=help)


def whole(help: str) -> Any:
    return typer.Option(parser=meanings.whole, metavar="N", help=help)


# search
Budget = Annotated[
    str | None, typer.Option(metavar="N|300k|1.2M", help="trainable parameters at most")
]
Task = Annotated[str | None, typer.Option(help="see: list tasks", autocompletion=one_of("task"))]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|DIR",
        help="see: list models; or a folder, or a hub id",
        autocompletion=one_of("model"),
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|FILE",
        help="local data: csv, tsv, jsonl, json, parquet; or images, a folder a class",
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE=NAME",
        help="text, text_pair, image, label, prompt, completion, messages, ... column",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="rows of one value stay together [near rows do]"),
]
Goal = Annotated[
    str | None,
    typer.Option(
        "--goal",
        "--labels",
        metavar="classes|numbers|labels|next_token|choice|sequence",
        help="of own data [found out]",
        autocompletion=one_of("goal"),
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="accuracy, f1_macro, minus_loss, ...: see list metrics [by goal]",
        autocompletion=one_of("metric"),
    ),
]
DropUnlabelled = Annotated[
    bool, typer.Option("--drop-unlabelled", help="leave out rows without a label")
]
MinBudget = Annotated[
    str | None, typer.Option(metavar="N|5k", help="trainable parameters at least [1]")
]
Space = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="see: list spaces; or a TOML file",
        autocompletion=one_of("space"),
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...|all",
        help="these alone; see: list methods",
        autocompletion=some_of("method", "all"),
    ),
]
Trials = Annotated[
    int | None,
    whole("configurations to try [by task, else 64]"),
]
TimeLimit = Annotated[str | None, typer.Option(metavar="90s|15m|2h", help="of the whole search")]
WarmStart = Annotated[
    list[str] | None,
    typer.Option(metavar="RUN", help="scores of an earlier run as a prior; may be repeated"),
]
Sampler = Annotated[
    str | None,
    typer.Option(help="who proposes: see list samplers [tpe]", autocompletion=one_of("sampler")),
]
Pruner = Annotated[
    str | None,
    typer.Option(help="who climbs on: see list pruners [front]", autocompletion=one_of("pruner")),
]
Objective = Annotated[
    str | None,
    typer.Option(
        metavar="front|score",
        help="a front of score and size, or the score alone [front]",
        autocompletion=words("front", "score"),
    ),
]
Pack = Annotated[str, typer.Option(metavar="auto|N", help="trials side by side on a worker")]
Split = Annotated[
    int | None,
    whole("packs a rung's trials are cut into [by task, else 4; on GPUs one a worker]"),
]
Asynchronous = Annotated[
    bool, typer.Option("--asynchronous", help="decide as trials come back: no worker waits")
]
Executor = Annotated[
    str,
    typer.Option(
        metavar="ray|inline",
        help="who trains: workers of Ray, or this process",
        autocompletion=one_of("executor"),
    ),
]
RayAddress = Annotated[str | None, typer.Option(help="a running Ray cluster")]
GpusPerWorker = Annotated[float | None, number("1, or a share such as 0.25")]
Retest = Annotated[
    int | None,
    whole("fresh seeds that the front is trained again on [2]"),
]
Retain = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|TASK",
        help="text not to be forgotten: the retest measures its loss",
        autocompletion=one_of("task"),
    ),
]
RetestMethods = Annotated[
    bool, typer.Option("--retest-methods", help="each method's best at three sizes too, for tables")
]
Cut = Annotated[
    bool,
    typer.Option("--cut/--no-cut", help="cut the front's largest members down after training, too"),
]
Seed = Annotated[
    int | None,
    whole("of proposals, starts, order and splits of rows [0]"),
]
MaxSteps = Annotated[int | None, whole("of one trial [by task]")]
BatchSize = Annotated[int | None, whole("rows a step [by task]")]
MaxLength = Annotated[int | None, whole("tokens a text at most [by task]")]
Eta = Annotated[int | None, whole("rungs are so many times apart [3]")]
FitRows = Annotated[int | None, whole("train on at most so many rows")]
CountHead = Annotated[
    bool, typer.Option("--count-head", help="the budget covers the task head too")
]
MaxRank = Annotated[
    int | None,
    whole("the largest LoRA rank of any map, as servers limit it [any]"),
]


Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml", help="the options of a search in a file", is_eager=True,
        callback=meanings.of_config,
    ),
]  # fmt: skip
LogLevel = Annotated[
    str | None,
    typer.Option(
        metavar="debug|info|warning|error",
        help="what is told [warning]",
        autocompletion=words(*meanings.LEVELS),
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="mlflow|wandb|tensorboard",
        help="a run a trial, under one parent",
        autocompletion=one_of("tracker"),
    ),
]
Out = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="run folder [runs/TASK-BUDGET]; an old one goes on"),
]
Force = Annotated[
    bool, typer.Option("--force", help="delete the run in the folder first; other files stay")
]
AsJson = Annotated[
    bool, typer.Option("--json", envvar="TENSLORA_JSON", help="the result as one JSON object")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="the space in numbers; trains nothing")]
Version = Annotated[
    bool, typer.Option("--version", allow_from_autoenv=False, help="print the version")
]
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="adds entries of your own (docs/plugins.md); also before a command",
    ),
]
# count
Construction = Annotated[
    str | None,
    typer.Option(help="see: list constructions", autocompletion=one_of("construction")),
]
Decomposition = Annotated[
    str | None,
    typer.Option(help="see: list decompositions", autocompletion=one_of("decomposition")),
]
Method = Annotated[
    str | None,
    typer.Option(help="see: list methods; instead of these two", autocompletion=one_of("method")),
]
Ranks = Annotated[
    str,
    typer.Option(
        metavar="R,R,...",
        help="in the order input, output or head_dim, head, projection, layer",
    ),
]
CountedModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|DIR", help="see: list models; or a folder", autocompletion=one_of("model")
    ),
]
Size = Annotated[int | None, whole("of the model, in place of --model")]
Inner = Annotated[int | None, whole("width of the MLP, for up, gate, down")]
Projections = Annotated[str, typer.Option(help="of query, key, value, out, up, gate, down")]
PartsAsJson = Annotated[bool, typer.Option("--json", help="the parts too")]
# report, compare, export
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
TrackTo = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="mlflow|wandb|tensorboard",
        help="who keeps it",
        autocompletion=one_of("tracker"),
    ),
]
NewRun = Annotated[Path, typer.Argument(metavar="NEW", help="a run folder")]
OldRun = Annotated[Path, typer.Argument(metavar="OLD", help="the run folder to hold up to")]
Slack = Annotated[
    float,
    number("so many times the old parameters still count as small enough"),
]
Within = Annotated[
    float,
    number("a score may lose so much besides the noise"),
]
RunFolders = Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="run folders")]
Form = Annotated[
    str,
    typer.Option(metavar="markdown|csv|latex", help="of the table", autocompletion=one_of("form")),
]
Page = Annotated[Path, typer.Option(metavar="FILE", help="the page")]
Pick = Annotated[
    str,
    typer.Option(
        metavar="best|knee|smallest|NUMBER",
        help="of the front, or any trial",
        autocompletion=one_of("pick"),
    ),
]
To = Annotated[Path, typer.Option(metavar="DIR", help="a new folder, or an earlier export")]
Format = Annotated[
    str,
    typer.Option(
        metavar="peft|native|merged",
        help="a LoRA, the factors, or a whole model",
        autocompletion=one_of("format"),
    ),
]
Rank = Annotated[
    int | None,
    whole("compress every map to this LoRA rank; says what it costs"),
]
UniformRank = Annotated[
    bool, typer.Option("--uniform-rank", help="pad every map to one rank: 8, 16, 32, 64, ...")
]
Head = Annotated[
    bool, typer.Option("--head/--no-head", help="the task head in the checkpoint, or beside it")
]
License = Annotated[
    str | None, typer.Option(metavar="NAME", help="of the adapter, such as apache-2.0")
]
BaseName = Annotated[
    str | None,
    typer.Option(metavar="ORG/MODEL", help="the base's id on the hub, where --model was a folder"),
]
Push = Annotated[
    str | None, typer.Option(metavar="ORG/NAME", help="upload to the hub too, private unless there")
]
What = Annotated[
    str,
    typer.Argument(
        metavar="tasks|models|methods|sites|...",
        help="a kind of choice",
        autocompletion=one_of("list"),
    ),
]
