"""Searches digits with the oldest and the newest allowed version of each library it stands on.

Each row is this environment with other versions laid over it (`pip install --target`), a search of
its own, an export, and what the export answers, loaded as its card says. torch is what is
installed here: run it where another is.

    python scripts/check_versions.py --out reports/versions.md
    python scripts/check_versions.py transformers==4.50.0 "ray==2.52.0 datasets==3.0.0"
"""

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LIBRARIES = ("transformers", "optuna", "ray", "datasets")
KEPT = ("torch", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn")
"""As they are here, where nothing asks for others."""
SEARCH = (
    "--task digits --budget 4k --trials 4 --max-steps 12 --batch-size 8 --retest 1 --quiet"
).split()
LOADED = """
import sys, torch
from peft import PeftModel
from tenslora_search import load_run
run = load_run(sys.argv[1])
adapter = run.export("best", sys.argv[2])
from transformers import AutoModelForImageClassification
base = AutoModelForImageClassification.from_pretrained(adapter / "base")
model = PeftModel.from_pretrained(base, adapter).eval()
print(tuple(model(torch.zeros(2, 3, 8, 8)).logits.shape))
"""


class Row(NamedTuple):
    """What was laid over this environment, and what came of it."""

    asked: str
    inline: str
    ray: str
    export: str


def bounds(library: str) -> str:
    """What pyproject.toml allows, without the name."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (found,) = [one for one in declared if re.match(rf"{library}\b", one)]
    return found[re.match(r"[\w\[\]-]+", found).end() :]  # type: ignore[union-attr]


def least(library: str) -> str:
    return bounds(library).partition(">=")[2].partition(",")[0]


def wanted() -> list[str]:
    """The oldest and the newest of each, and all oldest ones together."""
    oldest = [f"{library}=={least(library)}" for library in LIBRARIES]
    newest = [f"{library}{bounds(library)}" for library in LIBRARIES]
    return ["", *oldest, " ".join(oldest), *newest]


def laid_over(asked: str, folder: Path) -> str | None:
    """Installs what is asked for in a folder; the last line of what went wrong, or None."""
    pins = folder.with_suffix(".txt")
    pins.write_text("".join(f"{one}=={importlib.metadata.version(one)}\n" for one in KEPT))
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", folder]
    done = subprocess.run(
        [*map(str, command), "-c", str(pins), *asked.split()], capture_output=True, text=True
    )
    return None if done.returncode == 0 else last_line(done.stderr)


def last_line(text: str) -> str:
    return ([one for one in text.splitlines() if one.strip()] or ["nothing was said"])[-1][:200]


def tried(asked: str) -> Row:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        why = laid_over(asked, folder / "over") if asked else None
        if why:
            return Row(asked, f"not installed: {why}", "", "")

        def run(*words: str) -> str | None:
            path = os.pathsep.join([str(folder / "over"), str(ROOT)])
            own = {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(
                [sys.executable, *words], env={**os.environ, **own}, capture_output=True,
                text=True, timeout=600,
            )  # fmt: skip
            return None if done.returncode == 0 else last_line(done.stderr)

        found = []
        for executor in ("inline", "ray"):
            out = str(folder / executor)
            why = run("-m", "tenslora_search", *SEARCH, "--executor", executor, "--out", out)
            found.append(why or "holds")
        why = run("-c", LOADED, str(folder / "inline"), str(folder / "adapter"))
        said = folder / "inline" / "run.json"
        versions = json.loads(said.read_text())["versions"] if said.exists() else {}
        about = " ".join(f"{one} {versions.get(one, '?')}" for one in ("torch", *LIBRARIES))
        return Row(f"{asked or 'as installed'} ({about})", *found, why or "holds")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", help="versions to lay over, a row a word")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "| laid over this environment | search inline | search with Ray | export loads |",
        "|---|---|---|---|",
    ]
    for asked in options.rows or wanted():
        lines.append("| " + " | ".join(tried(asked)) + " |")
        print(lines[-1], flush=True)
    python = ".".join(map(str, sys.version_info[:3]))
    text = (
        "# Versions: the oldest and the newest that pyproject.toml allows\n\n"
        f"Made by `python scripts/check_versions.py --out {options.out}` with Python {python}.\n\n"
        + "\n".join(lines)
        + "\n"
    )
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
