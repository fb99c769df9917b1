"""Breaks searches on purpose, and says what that leaves: kills, malformed inputs, odd environments.

Each case runs the command line in a process of its own, forked from one that has imported
everything. A case fails on a traceback, an exit code other than 0, 2, 3, 4, 129, 130 and 143, more
than `--patience` seconds, or a file outside the run folder that was touched; a kill also where the
search that goes on is not the undisturbed one, or leaves something over.

A share is KIND=N or KIND:WHERE=N: `inputs`, `kills` or `worlds`; `inline`, `ray` (two workers of
its own a search) or `cluster3` (of three nodes, one a job). Case number k of a seed is the same
however many run at once.

    python scripts/campaign.py inputs=15 kills=2
    python scripts/campaign.py inputs=3000 kills=200 kills:ray=40 kills:cluster1=30 \\
        kills:cluster3=30 worlds=60 worlds:ray=20 --jobs 16 --minutes 9 --patience 240
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

PATIENCE = 60.0
WARM = """
    tenslora_search.cli tenslora_search.display tenslora_search.api.search
    tenslora_search.api.finish tenslora_search.engine.inline tenslora_search.training.trainers
    tenslora_search.training.segment tenslora_search.export.trained tenslora_search.report.build
    tenslora_search.report.pages tenslora_search.data.digits sklearn.datasets pydantic
    matplotlib.figure matplotlib.backends.backend_agg matplotlib.backends.backend_svg
    matplotlib.backends.backend_pdf fontTools.subset transformers.models.auto.modeling_auto
    transformers.models.auto.processing_auto transformers.models.auto.tokenization_auto
    transformers.models.vit.modeling_vit
""".split()
"""What searches come to import."""
GOOD_CODES = (0, 2, 3, 4, 129, 130, 143)
SEARCH = (
    "--task digits --budget 4k --trials 6 --max-steps 12 --batch-size 8 --retest 1 --quiet"
).split()
INLINE = ["--executor", "inline"]
SAME_ANYWHERE = "--sampler random --pruner none --max-steps 10 --pack 2".split()
"""Of searches under Ray: what runs beside what, and ends first, is another each time."""
CORES = 2
"""Workers of a search that starts a Ray of its own."""


Try = Callable[[int, random.Random], tuple[str, str, str | None]]
"""A case by its number: its kind, what was done, and what was wrong."""


@dataclass(frozen=True)
class Case:
    """One try: what was done to what, and the arguments of the command."""

    about: str
    arguments: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """How a process ended; `code` is None where it was ended after PATIENCE seconds."""

    code: int | None
    output: str

    @property
    def fault(self) -> str | None:
        """What is wrong with this ending, or None."""
        if self.code is None:
            return f"still running after {PATIENCE:g} seconds"
        if "Traceback (most recent call last)" in self.output:
            last = [line for line in self.output.splitlines() if line.strip()][-1]
            return f"traceback: {last[:160]}"
        return None if self.code in GOOD_CODES else f"exit code {self.code}"


@dataclass(frozen=True)
class Share:
    """So many cases of a kind, at a place."""

    kind: str
    where: str
    n: int

    @classmethod
    def of(cls, text: str) -> "Share":
        what, _, n = text.partition("=")
        kind, _, where = what.partition(":")
        if kind not in KINDS or not re.fullmatch("|inline|ray|cluster[1-9]", where):
            raise argparse.ArgumentTypeError(f"{text} is no share: KIND:WHERE=N")
        return cls(kind, where or "inline", int(n or 100))

    @property
    def nodes(self) -> int:
        """Of the cluster; 0 where there is none."""
        return int(self.where.removeprefix("cluster")) if self.where[-1].isdigit() else 0


@dataclass(frozen=True)
class Found:
    """What came of a case."""

    number: int
    kind: str
    about: str
    fault: str | None


def main() -> None:
    global PATIENCE
    options = arguments()
    PATIENCE = options.patience
    ends = time.monotonic() + 60 * options.minutes
    warm_up()
    lines = [f"| campaign (seed {options.seed}) | cases | failed | seconds |", "|---|--:|--:|--:|"]
    faults: list[str] = []
    for share in options.shares:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="campaign-") as name:
            found = in_jobs(share, Path(name), options, ends)
        seconds = time.monotonic() - began
        kinds = Counter(one.kind for one in found)
        about = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        failed = [one for one in found if one.fault]
        what = f"{share.kind}, {share.where}: {about}"
        lines.append(f"| {what} | {len(found)} | {len(failed)} | {seconds:.0f} |")
        faults += [f"- {share.kind}, {share.where}, {line}" for line in told_of(failed)]
        print(*lines[-1:], *faults, sep="\n", file=sys.stderr, flush=True)
    print(*lines, "", *faults, sep="\n")
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write("\n".join([*lines, "", *faults]) + "\n")


def told_of(failed: Sequence[Found]) -> list[str]:
    """A line a fault, the most frequent first, with the case that is told in fewest words."""
    by_fault: dict[str, list[Found]] = {}
    for one in failed:
        by_fault.setdefault(one.fault or "", []).append(one)
    lines = []
    for fault, cases in sorted(by_fault.items(), key=lambda item: -len(item[1])):
        least = min(cases, key=lambda one: len(one.about))
        lines.append(f"**{len(cases)} x {fault}**: {least.kind} {least.about} ({least.number})")
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shares", nargs="+", type=Share.of, metavar="KIND[:WHERE]=N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--minutes", type=float, default=1e6, help="no case begins later")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds a case may take")
    parser.add_argument("--out", type=Path, help="a report that the table is added to")
    return parser.parse_args()


def in_jobs(share: Share, folder: Path, options: argparse.Namespace, ends: float) -> list[Found]:
    """The cases of a share in their order, in so many processes; fewer where time was up."""
    jobs = min(options.jobs, share.n)
    children = []
    for job in range(jobs):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                own = folder / str(job)
                own.mkdir()
                _job(share, own, range(job, share.n, jobs), options.seed, ends)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(failed):
        raise SystemExit(f"{sum(map(bool, failed))} of {jobs} jobs ended early: see above")
    lines = [line for path in folder.glob("*/found.jsonl") for line in path.open()]
    return sorted((Found(*json.loads(line)) for line in lines), key=lambda one: one.number)


def _job(share: Share, folder: Path, numbers: Sequence[int], seed: int, ends: float) -> None:
    """Cases of a share one after the other, each written down as it ends."""
    with (folder / "found.jsonl").open("w") as file, KINDS[share.kind](share, folder) as case:
        for number in numbers:
            if time.monotonic() > ends:
                return
            kind, about, fault = case(number, random.Random(f"{share.kind} {seed} {number}"))
            file.write(json.dumps([number, kind, about, fault]) + "\n")
            file.flush()
            if fault:
                print(f"{number}: {fault} <- {kind}: {about}", file=sys.stderr, flush=True)


def warm_up() -> None:
    """Imports what searches need, so that a forked process begins at once."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in WARM:
        import_module(name)
    import torch

    torch.set_num_threads(1)


def run(
    arguments: Sequence[str],
    before: Callable[[], None] = lambda: None,
    during: Callable[[int], None] = lambda child: None,
) -> Outcome:
    """The command in a process of its own; `before` is called in it first, `during` outside."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os._exit(_command(arguments, before))
        during(child)
        code = _waited_for(child)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        said.seek(0)
        return Outcome(code, said.read())


def _command(arguments: Sequence[str], before: Callable[[], None]) -> int:
    from tenslora_search import cli

    sys.argv = ["tenslora-search", *arguments]
    try:
        if "ray" in arguments:
            from tenslora_search.engine import ray_start

            ray_start._cores_needed = lambda place: CORES
        before()
        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _waited_for(child: int) -> int | None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


# Malformed inputs


@contextlib.contextmanager
def inputs(share: Share, folder: Path) -> Iterator[Try]:
    """Files and flags by grammar: a value of another kind, a missing key, a cut or garbled file."""
    made = Material(folder)

    def case(number: int, generator: random.Random) -> tuple[str, str, str | None]:
        kind = [*TARGETS][number % len(TARGETS)]
        asked = TARGETS[kind](made, generator)
        return kind, asked.about, run(asked.arguments).fault or made.touched()

    yield case


class Material:
    """What is spoilt: each case gets a copy; `canary` is a file that nobody may touch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run, self.adapter = folder / "whole", folder / "adapter"
        self.model, self.rows = folder / "model", folder / "rows.csv"
        self.canary = folder / "outside" / "canary.txt"
        self.canary.parent.mkdir()
        self.canary.write_text("untouched")
        asked = [*SEARCH, *INLINE, "--out", str(self.run)]
        self.search = asked
        _must(run(asked))
        to = ["--pick", "best", "--format", "native", "--to", str(self.adapter)]
        _must(run(["export", str(self.run), *to]))
        from tenslora_search.hub.digits_vit import digits_backbone

        shutil.copytree(digits_backbone(), self.model)
        self.rows.write_text("text,label\n" + "".join(f"row {k},{k % 2}\n" for k in range(60)))

    def copy(self, source: Path) -> Path:
        target = self.folder / f"case{source.suffix}"
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        return target

    def touched(self) -> str | None:
        """Says that a file outside the case was changed, and puts it back."""
        if self.canary.is_file() and self.canary.read_text() == "untouched":
            return None
        self.canary.write_text("untouched")
        return "a file outside the folder was touched"


def _of_run(made: Material, generator: random.Random, file: str) -> Case:
    folder = made.copy(made.run)
    about = spoil(folder / file, generator, made.canary)
    command = generator.choice(["report", "export", "resume", "compare"])
    search = [str(folder) if one == str(made.run) else one for one in made.search]
    arguments = {
        "report": ["report", str(folder)],
        "compare": ["compare", str(folder), "--out", str(folder / "compare.html")],
        "export": ["export", str(folder), "--to", str(folder / "to")],
        "resume": [*search, "--trials", "7"],
    }[command]
    return Case(f"{command}, {about}", arguments)


def of_run_file(made: Material, generator: random.Random) -> Case:
    return _of_run(made, generator, "run.json")


def of_events(made: Material, generator: random.Random) -> Case:
    return _of_run(made, generator, "trials.jsonl")


def of_config(made: Material, generator: random.Random) -> Case:
    folder = made.copy(made.model)
    about = spoil(folder / "config.json", generator, made.canary)
    arguments = generator.choice(
        [
            ["count", "--construction", "none", "--decomposition", "cp", "--ranks", "2"],
            ["--task", "digits", "--budget", "4k", "--dry-run"],
        ]
    )
    return Case(f"{arguments[0]}, {about}", [*arguments, "--model", str(folder)])


def of_space(made: Material, generator: random.Random) -> Case:
    key = generator.choice(
        "construction decomposition structure scale rule size learning_rate weight_decay clip "
        "about "
        "head_learning_rate allocator map sites nonsense".split()
    )
    value = generator.choice(TOML_VALUES)
    path = made.folder / "space.toml"
    path.write_text(f"{key} = {value}\n", encoding="utf-8", errors="surrogatepass")
    asked = ["--task", "digits", "--budget", "4k", "--space", str(path), "--dry-run"]
    return Case(f"{key} = {value[:60]}", asked)


def of_flags(made: Material, generator: random.Random) -> Case:
    flag = generator.choice(
        "--budget --task --model --data --column --labels --space --trials --time-limit --sampler "
        "--pruner --objective --pack --executor --gpus-per-worker --retest --seed --max-steps "
        "--batch-size --max-length --fit-rows --methods --column --group --goal --metric --split "
        "--min-budget --max-rank --eta --warm-start --retain --config --plugin --ray-address "
        "--log-level".split()
    )
    value = generator.choice(FLAG_VALUES)
    return Case(f"{flag} {value[:60]!r}", [*SEARCH, *INLINE, flag, value, "--dry-run"])


def of_options(made: Material, generator: random.Random) -> Case:
    """A file for --config: a key of it with a value of any kind."""
    from tenslora_search.runs.config import OPTIONS

    key, value = generator.choice([*OPTIONS, "nonsense"]), generator.choice(TOML_VALUES)
    path = made.folder / "options.toml"
    said = {"task": '"digits"', "budget": '"4k"', key: value}
    text = "".join(f"{name} = {one}\n" for name, one in said.items())
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return Case(f"{key} = {value[:60]}", ["--config", str(path), "--dry-run"])


def of_rows(made: Material, generator: random.Random) -> Case:
    path = made.copy(made.rows)
    content = bytearray(path.read_bytes())
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(content))
        content[place : place + generator.randint(0, 40)] = generator.choice(BYTES)
    path.write_bytes(content)
    asked = ["--data", str(path), "--model", str(made.model), "--budget", "4k", "--out"]
    small = ["--trials", "1", "--max-steps", "1", "--retest", "0", *INLINE, "--quiet"]
    return Case("bytes of a csv", [*asked, str(made.folder / "own"), "--force", *small])


TARGETS: dict[str, Callable[[Material, random.Random], Case]] = {
    "run.json": of_run_file,
    "trials.jsonl": of_events,
    "config.json": of_config,
    "space": of_space,
    "flag": of_flags,
    "options": of_options,
    "rows": of_rows,
}
DEEP = "[" * 3000 + "]" * 3000
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**70, 1e308, -0.5, "", "x", "x" * 5000, "nan",
    "../../outside/canary.txt", [], [[]], [1, 2], ["a"], {}, {"a": 1}, "\x00",
    "\ud800", [None], [[1], 2], [-1], [0], [1e9], "<script>", "1); import os; os.system('true') #",
    float("nan"), float("inf"),
)  # fmt: skip
TOML_VALUES = (
    "1", "1.0", "[1.0]", "0.25", "[0.25, 1.0]", "[0.1, 0.5, 0.1]", "{low = 0.1, high = 0.5}",
    "{low = 1e-308, high = 1}", "{low = 0.5, high = 0.1}", "{low = 1}", "nan", "inf", "-1", "true",
    '"plain"', '["plain"]', "[]", "[[1]]", '"x"', '["cp"]', '["none"]', '["none x cp"]',
    '"none x cp"', "{}", '[1, "a"]', "1e400", "[" * 1200 + "]" * 1200, '{a = {b = {c = 1}}}',
    "[true]", "[0]", "0", '"\\u0000"', "1979-05-27", "[1e-5, 1e-3]",
)  # fmt: skip
FLAG_VALUES = (
    "", "0", "-1", "1", "x", "x" * 5000, "1e400", "9" * 400, "nan", "inf", "\udcff", "300k", "1.5",
    "../..", "/", "/dev/null", "a=b", "=", "text=nope", "0.5", "auto", "[]", "None", "true", "1h",
    "-1s", "0s", "99999999999h",
)  # fmt: skip
BYTES = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"\n",
    b",",
    b"\r",
    b"a" * 3000,
    b"\xed\xa0\x80",
    b"nan",
    b"1e999",
    b";",
)


def spoil(path: Path, generator: random.Random, canary: Path) -> str:
    """Damages a file of JSON, or of one JSON value a line; says how."""
    text = path.read_text(encoding="utf-8")
    how = generator.random()
    if how < 0.08:
        place = generator.randrange(len(text))
        path.write_text(text[:place], encoding="utf-8")
        return f"cut at {place}"
    if how < 0.12:
        path.write_bytes(generator.choice([b"", b"\x00\xff", b"[]", b"null", DEEP.encode()]))
        return "other content"
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    row = generator.randrange(len(lines))
    value = json.loads(lines[row])
    place, about = generator.choice([*_places(value)]), "deleted"
    new = str(canary) if generator.random() < 0.05 else generator.choice(VALUES)
    *way, last = place
    holder = value
    for step in way:
        holder = holder[step]
    if generator.random() < 0.2:
        del holder[last]
    else:
        holder[last], about = new, f"is {str(new)[:40]!r}"
    lines[row] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"line {row + 1}, {'.'.join(map(str, place))} {about}"


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*way, key)
        if isinstance(inner, dict | list):
            yield from _places(inner, (*way, key))


# Kills


@contextlib.contextmanager
def kills(share: Share, folder: Path) -> Iterator[Try]:
    """Kills at random moments and at single file operations, then the same command again."""
    from tenslora_search.hub.digits_vit import digits_backbone

    with whereabouts(share, folder) as (where, strike):
        whole, counter = folder / "whole", folder / "operations.txt"
        digits_backbone()  # it may have to be made, which is not to be timed
        began = time.monotonic()
        asked = [*SEARCH, *where, "--out", str(whole)]
        _must(run(asked, before=lambda: _killed_at(0, whole, counter)))
        lasts, expected = time.monotonic() - began, told(whole)
        n_operations = max(1, counter.stat().st_size)
        victims = ["moment", "operation"] + (["worker"] if strike else [])
        victims += ["node"] if share.nodes > 1 else []

        def case(number: int, generator: random.Random) -> tuple[str, str, str | None]:
            victim = victims[number % len(victims)]
            after, place = generator.uniform(0, lasts), generator.randrange(1, n_operations + 1)
            out = folder / f"run-{number}"
            asked = [*SEARCH, *where, "--out", str(out)]
            if victim == "moment":
                run(asked, during=lambda child: _killed(child, after))
            elif victim == "operation":
                run(asked, before=lambda: _killed_at(place, out))
            outcome = run(asked, during=_struck(victim, after, strike))
            fault = outcome.fault or (f"exit code {outcome.code}" if outcome.code else None)
            fault = fault or difference(out, whole, expected)
            shutil.rmtree(out, ignore_errors=True)
            about = f"at {place}" if victim == "operation" else f"after {after:.2f} s"
            said = f": {outcome.output[-300:]}" if fault else ""
            return VICTIMS[victim], f"{about}{said}", fault

        yield case


VICTIMS = {
    "moment": "of the driver at a moment",
    "operation": "of the driver at a file operation",
    "worker": "of a worker at a moment",
    "node": "of a node at a moment, another added",
}


@contextlib.contextmanager
def whereabouts(
    share: Share, folder: Path
) -> Iterator[tuple[list[str], Callable[[str], None] | None]]:
    """The arguments that say who does the work; what kills a part of a cluster."""
    if share.where == "inline":
        yield INLINE, None
        return
    with tempfile.TemporaryDirectory(prefix="c-", dir="/tmp") as short:  # a socket's path is short
        os.environ["RAY_TMPDIR"] = short
        if share.where == "ray":
            yield ["--executor", "ray", *SAME_ANYWHERE], None
            return
        os.environ["RAY_AUTH_MODE"] = "disabled"
        command = [sys.executable, "-c", CLUSTER, str(share.nodes)]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            answers, asked = process.stdout, process.stdin

            def strike(what: str) -> None:
                print(what, file=asked, flush=True)
                assert answers.readline() == f"{what}\n"

            address = answers.readline().strip()
            try:
                yield ["--executor", "ray", *SAME_ANYWHERE, "--ray-address", address], strike
            finally:
                print("end", file=asked, flush=True)


CLUSTER = """
import logging, os, random, signal, sys
from pathlib import Path
from ray.cluster_utils import Cluster
logging.disable(logging.ERROR)
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(int(sys.argv[1]) - 1)]
print(cluster.address, flush=True)
for line in sys.stdin:
    what = line.strip()
    if what == "node":
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1))
    elif what == "worker":
        titles = {p.parent.name: p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")
                  if p.stat().st_uid == os.getuid()}
        raylets = {pid for pid, title in titles.items() if cluster.address.encode() in title}
        found = [int(pid) for pid, title in titles.items()
                 if title.startswith(b"ray::") and b"train" in title
                 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] in raylets]
        if found:
            os.kill(random.choice(found), signal.SIGKILL)
    elif what == "end":
        cluster.shutdown()
        break
    print(what, flush=True)
"""
"""A cluster in a process of its own: says its address, then does what each line asks."""


def _struck(
    victim: str, after: float, strike: Callable[[str], None] | None
) -> Callable[[int], None]:
    """Kills a part of the cluster while the command runs, if that is what is to die."""

    def during(child: int) -> None:
        if strike is not None and victim in ("worker", "node"):
            time.sleep(after)
            strike(victim)

    return during


def told(folder: Path) -> list[Any]:
    """What a run says but for times and order: proposals, rungs, ends, retests."""
    found = []
    for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if "number" in event:
            kept = "event number point seed step score report_score n_params reason".split()
            found.append(json.dumps({name: event.get(name) for name in kept}))
    return sorted(found)


def difference(out: Path, whole: Path, expected: list[Any]) -> str | None:
    """How a resumed run differs from the undisturbed one, or what it leaves over."""
    left = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    known = sorted(path.name for path in whole.iterdir())
    more = [name for name in left if name not in known]
    lacking = [name for name in known if name not in left]
    if more or lacking:
        return f"left over: {more[:3]}; missing: {lacking[:3]}"
    states = sorted(path.name for path in (out / "states").iterdir())
    if states != sorted(path.name for path in (whole / "states").iterdir()):
        return "other states"
    found = told(out)
    if len(found) != len(set(found)):
        return "a trial was doubled"
    return None if found == expected else "another run than the undisturbed one"


def _killed(child: int, after: float) -> None:
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")


def _killed_at(place: int, out: Path, counter: Path | None = None) -> None:
    """This process kills itself at the place-th operation in the folder (0: counts them)."""
    seen = 0
    count = counter.open("ab", buffering=0) if counter is not None else None
    inside = str(out.resolve())

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in WRITES or not str(arguments[0]).startswith(inside):
            return
        seen += 1
        if count is not None:
            count.write(b".")
        if seen == place:
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(look)


# Odd environments


@contextlib.contextmanager
def worlds(share: Share, folder: Path) -> Iterator[Try]:
    """Environment variables set to anything."""
    if share.nodes:
        raise SystemExit("worlds run inline or with a Ray of their own")

    def case(number: int, generator: random.Random) -> tuple[str, str, str | None]:
        name = [*VARIABLES][number % len(VARIABLES)]
        value = generator.choice(VARIABLES[name])

        def change() -> None:
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

        out = folder / f"world-{number}"
        asked = [*SEARCH, "--executor", share.where, "--out", str(out)]
        outcome = run(asked, before=change)
        shutil.rmtree(out, ignore_errors=True)
        said = f": {outcome.output[-300:]}" if outcome.fault else ""
        return name, f"{value}{said}", outcome.fault

    yield case


VARIABLES: dict[str, Sequence[str | None]] = {
    "OMP_NUM_THREADS": ("", "4,2", "0", "-1", "x", "1000"),
    "TMPDIR": ("/nowhere", "/tmp/" + "long" * 40, ""),
    "HOME": ("/nowhere", "", None),
    "LANG": ("C", "x", ""),
    "RAY_ADDRESS": ("127.0.0.1:1", "auto", "x", ""),
    "COLUMNS": ("0", "1", "x"),
    "TENSLORA_CACHE": ("/nowhere/cache", ""),
    "CUDA_VISIBLE_DEVICES": ("", "x", "-1"),
}


def _must(outcome: Outcome) -> None:
    if outcome.code != 0:
        raise SystemExit(
            f"the undisturbed command failed ({outcome.code}): {outcome.output[-2000:]}"
        )


KINDS: dict[str, Callable[[Share, Path], contextlib.AbstractContextManager[Try]]] = {
    "inputs": inputs,
    "kills": kills,
    "worlds": worlds,
}

if __name__ == "__main__":
    main()
