"""What goals and metrics say of themselves, read from their files without running them.

They import torch and numpy; the question, the report and `--dry-run` need a few words of them and
neither library. So a goal says `metrics = (...)` and a metric `@metric(noise="share")`, as
literals, in the one file that is the entry, and both are read from the source here.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOM = Path(__file__).parents[1] / "data"


def declared_goals() -> dict[str, tuple[str, ...]]:
    """The metrics of each goal of the package, the usual one first: `metrics` of the class in
    `data/goals/NAME.py` whose `name` is NAME.
    """
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted((ROOM / "goals").glob("*.py")):
        for node in _tree(file).body:
            if isinstance(node, ast.ClassDef):
                said = dict(_literals(node))
                if said.get("name") == file.stem:
                    found[file.stem] = tuple(said["metrics"])
    return found


def declared_metrics() -> dict[str, Mapping[str, Any]]:
    """What each function of `data/metrics.py` under `@metric(...)` says in it, by its name."""
    found: dict[str, Mapping[str, Any]] = {}
    for node in _tree(ROOM / "metrics.py").body:
        if isinstance(node, ast.FunctionDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "metric":
                    found[node.name] = {
                        str(one.arg): ast.literal_eval(one.value) for one in call.keywords
                    }
    return found


def declared_formats() -> tuple[str, ...]:
    """The names in FORMATS, whose functions need torch."""
    for node in _tree(ROOM.parent / "export" / "formats.py").body:
        if not isinstance(node, ast.AnnAssign) or ast.unparse(node.target) != "FORMATS":
            continue
        if isinstance(node.value, ast.Call):
            rows = next(one for one in node.value.args if isinstance(one, ast.Dict))
            return tuple(ast.literal_eval(key) for key in rows.keys if key)
    return ()


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _literals(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """The names that a class sets to literals, `name: ClassVar[str] = "classes"`, and to what."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
            try:
                yield line.target.id, ast.literal_eval(line.value)
            except ValueError:
                continue
