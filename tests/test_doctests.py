"""Every public name has an example in its docstring that runs as it stands.

In them `model` and `other_model` are small BERTs of one `geometry`, `folder` is an empty one,
`quick` are the options of a search of seconds, `run_folder` holds one that is done.
"""

import doctest
import importlib.util
import sys
from pathlib import Path

import pytest

import tenslora_search
from tenslora_search import search

ROOT = Path(__file__).parents[1]
QUICK = {"trials": 2, "max_steps": 8, "batch_size": 8, "retest": 0, "executor": "inline"}


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=32, max_position_embeddings=16, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32,
    )  # fmt: skip
    return BertForSequenceClassification(config)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    return search("digits", budget="4k", **QUICK, out=tmp_path_factory.mktemp("run")).folder


@pytest.mark.parametrize("name", tenslora_search.__all__)
def test_the_example_runs(name, request, tmp_path):
    public = {one: getattr(tenslora_search, one) for one in tenslora_search.__all__}
    (tmp_path / "folder").mkdir()
    given = {
        "model": bert(),
        "other_model": bert(),
        "geometry": tenslora_search.Geometry.attention(hidden=16, heads=2, layers=2),
        "folder": tmp_path / "folder",
        "quick": {**QUICK, "out": tmp_path / "run"},
    }
    if "run_folder" in (public[name].__doc__ or ""):
        given["run_folder"] = request.getfixturevalue("run_folder")
    examples = doctest.DocTestParser().get_doctest(
        public[name].__doc__ or "", {**public, **given}, name, None, None
    )
    assert examples.examples, f"{name} has no example"
    assert not any(doctest.SKIP in one.options for one in examples.examples)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(examples, out=said.append).failed == 0, "".join(said)


def test_the_reading_copy_runs():
    """examples/mini_search.py: a front within the budget, LoRA in the race."""
    path = ROOT / "examples" / "mini_search.py"
    spec = importlib.util.spec_from_file_location("mini_search", path)
    assert spec is not None
    assert spec.loader is not None
    mini = importlib.util.module_from_spec(spec)
    sys.modules["mini_search"] = mini  # dataclasses look themselves up
    try:
        spec.loader.exec_module(mini)
        mini.RUNGS = (3, 6, 9)
        front = mini.search(4000, 4)
    finally:
        del sys.modules["mini_search"]
    sizes = [one.spec.n_params for one in front]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] <= sizes[0] <= 4000
