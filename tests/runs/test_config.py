"""search.toml: options there and back."""

import tomllib

import pytest

from tenslora_search.runs.config import config_text, load_config, write_config
from tenslora_search.runs.question import Question
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.space_file import declared


def test_options_there_and_back(tmp_path):
    options = {
        "budget": 20_000, "task": 'a "b"\\\n\x7f\u0001 \u00e4', "count_head": True, "seed": 3,
        "plugins": ["a.py", "b.py"], "time_limit": 90.5, "columns": {"text": ["a b", "c"]},
    }  # fmt: skip
    (tmp_path / "search.toml").write_text(config_text({**options, "data": None}), encoding="utf-8")
    assert load_config(tmp_path / "search.toml") == options


def test_a_question_is_asked_again(tmp_path):
    asked = Question.of(budget="20k", task="digits", trials=7, seed=5)
    path = write_config(tmp_path, asked, {"executor": "inline", "pack": None})
    said = load_config(path)
    assert said.pop("executor") == "inline"
    assert Question.of(**said) == asked


def test_a_space_may_stand_in_the_same_file(tmp_path):
    path = tmp_path / "search.toml"
    path.write_text('budget = "20k"\ntask = "digits"\n[space]\nconstruction = ["none"]\n'
                    'decomposition = ["cp"]\n')  # fmt: skip
    asked = Question.of(**load_config(path))
    assert list(declared(asked.space).structures) == ["none x cp"]
    (tmp_path / "run").mkdir()
    again = load_config(write_config(tmp_path / "run", asked, {}))
    assert list(declared(again["space"]).structures) == ["none x cp"]
    assert tomllib.loads((tmp_path / "run" / "search.toml").read_text())["space"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bugdet = 3", r"no option named 'bugdet'. Did you mean 'budget'"),
        ("budget = ", r"cannot be read"),
        ('time_limit = "soon"', r"'soon' is no time limit"),
    ],
)
def test_what_is_wrong_is_one_line(text, said, tmp_path):
    (tmp_path / "search.toml").write_text(text)
    with pytest.raises(QuestionError, match=said):
        load_config(tmp_path / "search.toml")
    with pytest.raises(QuestionError, match=r"none.toml cannot be read"):
        load_config(tmp_path / "none.toml")
