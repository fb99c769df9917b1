"""Entries from outside take part as those of the package do."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tenslora_search
from tenslora_search.spec.knobs import knobs
from tenslora_search.spec.plugins import (
    CLOSED,
    HOMES,
    add_again,
    added,
    blamed,
    check_plugins,
    load_plugin,
    plugins,
    table_of,
)
from tenslora_search.spec.rules import RULES
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
        "heads_of_layers shared_core slow_start Shared core",
    ]


def test_every_home_is_a_table():
    for kind, home in HOMES.items():
        module, _, name = home.rpartition(".")
        table = getattr(__import__(module, fromlist=[name]), name)
        assert isinstance(table, Table)
        assert table.kind == kind


def test_every_table_of_the_package_is_open_or_says_why_not():
    found = set()
    for one in pkgutil.walk_packages(tenslora_search.__path__, "tenslora_search."):
        if not one.name.endswith("__main__"):
            module = importlib.import_module(one.name)
            found |= {id(value) for value in vars(module).values() if isinstance(value, Table)}
    tables = {home: pkgutil.resolve_name(home) for home in (*HOMES.values(), *CLOSED)}
    assert found == {id(table) for table in tables.values()}
    assert all(CLOSED.values())


RULE = """
from tenslora_search.spec.form import Rule
from tenslora_search.spec.rules import RULES


def of_a_file(*, much: Annotated[float, Range(0.1, 1.0)] = 0.5):
    '''{about}'''
    return Rule()


RULES.add("of_a_file", of_a_file)
"""
FUTURE = """from __future__ import annotations
from typing import Annotated
from tenslora_search.spec.knobs import Range
"""


@pytest.fixture
def nothing_stays():
    before = added()
    yield
    for one in added():
        if one not in before:
            table_of(one.kind).remove(one.name)


@pytest.mark.usefixtures("nothing_stays")
def test_a_file_that_was_changed_is_run_again(tmp_path):
    """And one that raises half-way leaves nothing behind."""
    path = tmp_path / "mine.py"
    path.write_text(FUTURE + RULE.format(about="As it was."))
    module = load_plugin(path)
    assert load_plugin(path) is module
    assert [one.name for one in knobs(RULES["of_a_file"])] == ["much"]
    path.write_text(FUTURE + RULE.format(about="As it is."))
    load_plugin(path)
    assert RULES["of_a_file"].__doc__ == "As it is."
    assert [one.entries for one in plugins() if one.file == "mine.py"] == [("rule of_a_file",)]
    path.write_text(FUTURE + RULE.format(about="Never.") + "raise ValueError('half-way')")
    with pytest.raises(QuestionError, match="half-way"):
        load_plugin(path)
    assert "of_a_file" not in RULES


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


METRIC = """
from tenslora_search.data.metrics import METRICS, Metric, accuracy

METRICS.add("of_a_lambda", Metric(accuracy, lambda n_rows: 0.1, "own"))
METRICS.add("of_a_number", Metric(accuracy, 0.1, "own"))
"""


@pytest.mark.usefixtures("nothing_stays")
def test_a_metric_that_is_refused_takes_the_whole_file_back(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(METRIC)
    before = added()
    with pytest.raises(QuestionError, match="metric of_a_number is a Metric"):
        load_plugin(path)
    assert added() == before


@pytest.mark.usefixtures("nothing_stays")
def test_two_files_of_one_name_have_not_changed(tmp_path):
    files = [tmp_path / folder / "r.py" for folder in "ab"]
    for number, file in enumerate(files):
        file.parent.mkdir()
        text = FUTURE + RULE.format(about="One of two.")
        file.write_text(text.replace("of_a_file", f"of_file_{number}"))
        load_plugin(file)
    begun = [one for one in plugins() if one.file == "r.py"]
    assert len(begun) == 2
    check_plugins(begun, "run")
    check_plugins(begun[:1], "run")
    files[1].write_text(files[1].read_text() + "# changed")
    load_plugin(files[1])
    with pytest.raises(QuestionError, match=r"the plugin 'r\.py' has changed since run was begun"):
        check_plugins(begun, "run")
    check_plugins(begun[:1], "run")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n{}['nope']\n", r"line 2: KeyError: 'nope'"),
        ("def f(:\n", r"line 1: SyntaxError: "),
        ("\n\nraise RuntimeError\n", r"line 3: RuntimeError"),
    ],
)
def test_what_a_file_raises_is_told_with_its_line(tmp_path, text, told):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(QuestionError, match=told):
        load_plugin(path)


def test_an_error_of_the_system_that_an_entry_raised_is_the_plugins(tmp_path, monkeypatch, capsys):
    from tenslora_search import cli

    path = tmp_path / "mine.py"
    path.write_text("def fails(*words, **options):\n    raise BrokenPipeError('no server')\n")
    monkeypatch.setattr(cli, "app", load_plugin(path).fails)
    assert cli._answered(["list", "tasks"]) == 2
    assert "--plugin mine.py: line 2: BrokenPipeError: no server" in capsys.readouterr().err


def test_an_error_of_an_entry_is_one_line_without_plugins_it_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text("def fails(how):\n    raise how\n")
    module = load_plugin(path)
    for how in (RuntimeError("a\nb"), SystemExit(9), BrokenPipeError("b")):
        with pytest.raises(type(how)) as error:
            module.fails(how)
        assert re.search(r"--plugin mine.py: line 2: \w+: ", told := blamed(error.value))
        assert "\n" not in told
    with pytest.raises(TypeError) as error:
        len(3)  # type: ignore[arg-type]
    assert "with --plugin" in blamed(error.value)
    monkeypatch.setattr("tenslora_search.spec.plugins._loaded", {})
    with pytest.raises(TypeError):
        blamed(error.value)
