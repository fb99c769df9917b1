"""The examples of docs/plugins.md are what they say: plugins that pass our checks and can be
searched.
"""

import re
from pathlib import Path

import pytest

from tenslora_search import search, testing
from tenslora_search.spec.plugins import added, load_plugin, table_of

DOC = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = [
    (match[1], block)
    for block in re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    if (match := re.match(r'"""(\w+\.py): ', block))
]
CHECKED = ("construction", "decomposition", "rule", "allocator", "sampler", "metric", "goal",
           "task")  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """The plugins of the page, loaded; their entries are taken out again."""
    before = set(map(str, added()))
    for name, block in FILES:
        (tmp_path / name).write_text(block, encoding="utf-8")
        load_plugin(tmp_path / name)
    yield [one for one in added() if str(one) not in before]
    for one in added():
        if str(one) not in before:
            table_of(one.kind).remove(one.name)


def test_every_example_passes_our_checks(files):
    assert [name for name, _ in FILES] == ["my_methods.py", "my_entries.py"]
    assert {one.kind for one in files} == {*CHECKED, "local task", "method"}
    for one in files:
        if one.kind in CHECKED:
            getattr(testing, f"check_{one.kind}")(one.name)


@pytest.mark.usefixtures("files")
def test_all_of_them_take_part_in_one_search(tmp_path):
    space = tmp_path / "mine.toml"
    space.write_text(
        'construction = ["none", "heads_of_layers"]\ndecomposition = ["cp", "shared_core"]\n'
        'rule = ["slow_start"]\nallocator = ["thrifty"]\n'
    )
    run = search(
        "three_digits", budget="4k", trials=3, max_steps=12, retest=0, sampler="around_the_best",
        space=space, executor="inline", out=tmp_path / "run",
    )  # fmt: skip
    assert run.file.goal == "soft_classes"
    assert run.proof == (3, 0)
    assert set(run.trials()["rule"]) == {"slow_start"}
    assert {one.file for one in run.file.plugins} == {"my_methods.py", "my_entries.py"}
    assert all(len(one.sha256) == 64 for one in run.file.plugins)
