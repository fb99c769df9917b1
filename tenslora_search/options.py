"""The options of the commands: what each is called, takes and means in `--help`."""

from pathlib import Path
from typing import Annotated

import typer

# search
Budget = Annotated[
    str | None, typer.Option(metavar="N|300k|1.2M", help="trainable parameters at most")
]
Task = Annotated[str | None, typer.Option(help="see: list tasks")]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME|DIR", help="see: list models; or a folder, or a hub id"),
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
    typer.Option(metavar="ROLE=NAME", help="text, text_pair, image or label column"),
]
Group = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="rows of one value stay together [near rows do]"),
]
Goal = Annotated[
    str | None,
    typer.Option(
        "--goal", "--labels", metavar="classes|numbers|labels", help="of own data [found out]"
    ),
]
Metric = Annotated[
    str | None, typer.Option(help="accuracy, f1_macro, f1_micro, matthews, ... [by goal]")
]
DropUnlabelled = Annotated[
    bool, typer.Option("--drop-unlabelled", help="leave out rows without a label")
]
MinBudget = Annotated[
    str | None, typer.Option(metavar="N|5k", help="trainable parameters at least [1]")
]
MaxRank = Annotated[
    int | None,
    typer.Option(metavar="N", help="of an update as LoRA, which servers limit [any]"),
]
Space = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="see: list spaces; or a TOML file")
]
Trials = Annotated[int | None, typer.Option(help="configurations to try [64]")]
TimeLimit = Annotated[str | None, typer.Option(metavar="90s|15m|2h", help="of the whole search")]
Sampler = Annotated[str | None, typer.Option(help="who proposes: see list samplers [tpe]")]
Pruner = Annotated[str | None, typer.Option(help="who climbs on: see list pruners [front]")]
Objective = Annotated[str | None, typer.Option(metavar="front|score", help="[front]")]
Pack = Annotated[str, typer.Option(metavar="auto|N", help="trials side by side on a worker")]
Executor = Annotated[str, typer.Option(metavar="ray|inline")]
RayAddress = Annotated[str | None, typer.Option(help="a running Ray cluster")]
GpusPerWorker = Annotated[float | None, typer.Option(help="1, or a share such as 0.25")]
Retest = Annotated[int | None, typer.Option(metavar="N", help="fresh seeds for the front [2]")]
Seed = Annotated[int | None, typer.Option(help="[0]")]
MaxSteps = Annotated[int | None, typer.Option(help="of one trial [by task]")]
BatchSize = Annotated[int | None, typer.Option(help="[by task]")]
MaxLength = Annotated[int | None, typer.Option(help="tokens a text at most [128]")]
FitRows = Annotated[int | None, typer.Option(help="train on at most so many rows")]
CountHead = Annotated[
    bool, typer.Option("--count-head", help="the budget covers the task head too")
]
Out = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="run folder [runs/TASK-BUDGET]; an old one goes on"),
]
Force = Annotated[
    bool, typer.Option("--force", help="delete the run in the folder first; other files stay")
]
AsJson = Annotated[bool, typer.Option("--json", help="the result as one JSON object")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="the space in numbers; trains nothing")]
Version = Annotated[bool, typer.Option("--version", help="print the version")]
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="adds entries of your own (docs/plugins.md); also before a command",
    ),
]
# count
Entry = Annotated[str, typer.Option()]
Ranks = Annotated[
    str,
    typer.Option(
        metavar="R,R,...",
        help="in the order input, output or head_dim, head, projection, layer",
    ),
]
CountedModel = Annotated[str | None, typer.Option(metavar="NAME|DIR")]
Size = Annotated[int | None, typer.Option()]
Inner = Annotated[int | None, typer.Option(help="width of the MLP, for up, gate, down")]
Projections = Annotated[str, typer.Option(help="of query, key, value, out, up, gate, down")]
PartsAsJson = Annotated[bool, typer.Option("--json", help="the parts too")]
# report, compare, export
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
RunFolders = Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="run folders")]
Page = Annotated[Path, typer.Option(metavar="FILE", help="the page")]
Pick = Annotated[str, typer.Option(metavar="best|knee|smallest|NUMBER")]
To = Annotated[Path, typer.Option(metavar="DIR", help="a new folder, or an earlier export")]
Format = Annotated[str, typer.Option(metavar="peft|native|merged")]
What = Annotated[str, typer.Argument(metavar="tasks|models|methods|sites|...")]
