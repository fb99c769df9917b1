"""Files are read in one sitting, functions on one screen; no import goes in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "tenslora_search").rglob("*.py"))
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_COLUMNS = 350, 40, 100


def functions(path: Path) -> list[tuple[str, int]]:
    """Each function of a file, and its lines from `def` to its end."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [(one.name, (one.end_lineno or one.lineno) - one.lineno + 1) for one in found]


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES_OF_A_FILE
    assert [line for line in lines if len(line) > MOST_COLUMNS] == []
    assert [one for one in functions(path) if one[1] > MOST_LINES_OF_A_FUNCTION] == []


def test_no_import_goes_in_a_circle():
    """Those within functions and for type checking alone included."""
    graph = grimp.build_graph("tenslora_search", cache_dir=None)
    imported = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    assert len(list(TopologicalSorter(imported).static_order())) >= len(PACKAGE)
