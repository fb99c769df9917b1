"""Entries from outside take part as those of the package do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tenslora_search.spec.plugins import HOMES, add_again, load_plugin
from tenslora_search.spec.table import QuestionError, Table

ROOT = Path(__file__).parents[2]
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)


@pytest.fixture
def plugin(tmp_path) -> Path:
    """The example of docs/plugins.md, as a file."""
    assert EXAMPLE is not None
    path = tmp_path / "my_methods.py"
    path.write_text(EXAMPLE[1], encoding="utf-8")
    return path


def in_a_fresh_interpreter(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def test_the_example_is_counted(plugin):
    program = (
        "import sys\n"
        "from tenslora_search import AdapterSpec, Geometry\n"
        "from tenslora_search.spec.plugins import added, load_plugin\n"
        "load_plugin(sys.argv[1]), load_plugin(sys.argv[1])\n"
        "geometry = Geometry.attention(hidden=768, heads=12, layers=12)\n"
        "print(AdapterSpec.of('depth', 'shared_core', (4, 4, 2), geometry).n_params)\n"
        "print(*[one.name for one in added()])"
    )
    assert in_a_fresh_interpreter(program, str(plugin)).splitlines() == [
        str(3 * (768 * 4 + 768 * 4 + 12 * 2 + 4 * 4 * 2)),
        "heads_of_layers shared_core slow_start",
    ]


def test_every_home_is_a_table():
    for kind, home in HOMES.items():
        module, _, name = home.rpartition(".")
        table = getattr(__import__(module, fromlist=[name]), name)
        assert isinstance(table, Table)
        assert table.kind == kind


def test_entries_of_another_process_are_added_once():
    program = (
        "from tenslora_search.spec.plugins import Added, add_again, added\n"
        "add_again([Added('sites', 'q', 'query')]), add_again([Added('sites', 'q', 'query')])\n"
        "print(added())"
    )
    assert "name='q'" in in_a_fresh_interpreter(program)
    with pytest.raises(KeyError):
        add_again([("nonsense", "q", "query")])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("def", "invalid syntax"),
        ("raise ValueError('no such thing')", "no such thing"),
        (
            "from tenslora_search.spec.sites import SITES\nSITES.add('qkv', 'query')",
            "there is a sites named 'qkv' already",
        ),
    ],
)
def test_what_is_no_plugin(content, message, tmp_path):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(QuestionError, match=message) as raised:
        load_plugin(path)
    assert "\n" not in str(raised.value)
