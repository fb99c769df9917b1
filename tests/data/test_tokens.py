"""How rows of text become lines of tokens: what counts, what is cut, what is refused."""

import json

import pandas as pd
import pytest

from tenslora_search.data.goals import GOALS
from tenslora_search.data.processors import load_processor
from tenslora_search.data.task import load_task
from tenslora_search.nn.token_loss import IGNORED
from tenslora_search.spec.table import QuestionError


def task_of(tmp_path, rows, model, **options):
    """A file of rows, one JSON object a line, as a task."""
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return load_task(data=path, model=model, cache=tmp_path / "cache", **options)


def lines(split, tokenizer):
    """Each row's text, and the part of it that is learnt."""
    found = []
    for tokens, targets, length in zip(
        split.inputs["input_ids"], split.inputs["targets"], split.lengths, strict=True
    ):
        learnt = tokenizer.decode(targets[targets != IGNORED])
        found.append((tokenizer.decode(tokens[:length]), learnt))
    return sorted(found)


PAIRS = [
    {"prompt": f"{'very ' * k}film", "completion": f" the plot {k % 2 * 'is '}good"}
    for k in range(30)
]


def test_prompts_carry_no_loss(tmp_path, tiny_llama):
    found = task_of(tmp_path, [{**one, "n": k} for k, one in enumerate(PAIRS)], tiny_llama)
    assert (found.goal.name, found.columns) == (
        "next_token",
        {"prompt": "prompt", "completion": "completion"},
    )
    for text, learnt in lines(found.fit, load_processor(tiny_llama)):
        assert learnt in ("the plot good [EOS]", "the plot is good [EOS]")
        assert text.endswith(f"film {learnt}")


def test_of_a_chat_the_assistants_turns_count(tmp_path, tiny_llama):
    rest = [
        {"role": "assistant", "content": "very good"},
        {"from": "human", "value": "bad plot"},
        {"from": "gpt", "value": "so dull"},
    ]
    first = [{"role": "user", "content": f"{'very ' * k}good film"} for k in range(20)]
    rows = [{"conversations": [one, *rest[: 1 + 2 * (k % 2)]]} for k, one in enumerate(first)]
    found = task_of(tmp_path, rows, tiny_llama, fit_rows=2)
    assert found.columns == {"messages": "conversations"}
    learnt = {one for _, one in lines(found.report, load_processor(tiny_llama))}
    assert learnt <= {"very good [EOS]", "very good [EOS] so dull [EOS]"}
    assert len(learnt) == 2


def test_a_lone_column_of_text_is_cut_into_blocks(tmp_path, tiny_llama):
    rows = [{"text": f"the film is {'very ' * k}good"} for k in range(40)]
    found = task_of(tmp_path, rows, tiny_llama, max_length=16)
    assert found.goal.name == "next_token"
    assert set(found.fit.lengths[:-1].tolist()) == {16}
    tokenizer = load_processor(tiny_llama)
    stream = " ".join(text for text, _ in zip_lines(found.fit, tokenizer))
    assert stream.count("[EOS]") == stream.count("good")
    assert (found.fit.inputs["targets"] != IGNORED).sum(1)[0] == 15


def zip_lines(split, tokenizer):
    for tokens, length in zip(split.inputs["input_ids"], split.lengths, strict=True):
        yield tokenizer.decode(tokens[:length]), int(length)


def test_instructions_are_written_with_their_input_where_there_is_one(tmp_path, tiny_llama):
    rows = [
        {"instruction": "very " * k, "input": "plot" * (k % 2), "output": "so dull"}
        for k in range(20)
    ]
    found = task_of(tmp_path, rows, tiny_llama)
    texts = {text for text, _ in lines(found.report, load_processor(tiny_llama))}
    assert {"plot" in text for text in texts} == {True, False}


def test_choices_by_place_letter_or_words(tmp_path, tiny_llama):
    answers = (1, "B", "bad", "1")
    rows = [
        {"question": f"film {'very ' * k}", "choices": ["good", "bad", "dull"][: 2 + k % 2],
         "answer": answers[k % 4]}
        for k in range(40)
    ]  # fmt: skip
    found = task_of(tmp_path, rows, tiny_llama)
    assert (found.goal.name, found.goal.metric) == ("choice", "accuracy")
    assert found.fit.labels.tolist() == [1] * len(found.fit)
    assert found.fit.inputs["input_ids"].shape[2] == 3
    tokenizer = load_processor(tiny_llama)
    wanted = found.fit.inputs["targets"][:, :, 1]
    assert {tokenizer.decode(row[row != IGNORED]) for row in wanted} == {"bad"}


def test_a_text_that_is_too_long_keeps_its_completion(tmp_path, tiny_llama, caplog):
    rows = [{"prompt": "very " * 30 + f"film {k}", "completion": "good " * 4} for k in range(20)]
    found = task_of(tmp_path, rows, tiny_llama, max_length=12)
    assert {learnt for _, learnt in lines(found.fit, load_processor(tiny_llama))} == {
        "good good good good [EOS]"
    }
    assert "to 12 tokens (--max-length)" in caplog.text


def test_a_text_for_an_encoder_and_a_decoder(tmp_path, tiny_t5):
    found = task_of(tmp_path, PAIRS, tiny_t5)
    assert found.goal.name == "sequence"
    assert set(found.fit.inputs) == {"input_ids", "attention_mask", "targets"}
    row = found.fit.inputs["targets"][0]
    assert load_processor(tiny_t5).decode(row[row != IGNORED]).startswith("the plot")


GOOD = {"prompt": "a film", "completion": "good"}
CHAT = [{"role": "user", "content": "film"}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"completion": " "}, r"row 8 of train of .*: column 'completion' has an empty completion"),
        ({"completion": None}, r"1 of 10 rows of train of .* 'completion' \(row 8\); "),
        ({"completion": ["a"]}, r"row 8 of train of .*: column 'completion' holds no text"),
        (
            {"prompt": "very " * 70},
            r"row 8 of train of .*: column 'prompt' makes a prompt of 70 tokens; the model has 64",
        ),
    ],
)
def test_a_row_that_cannot_be_learnt_is_told(row, message, tmp_path, tiny_llama):
    rows = [{**GOOD, "prompt": f"film {k}"} for k in range(8)] + [GOOD] * 2
    rows[7] |= row
    report = [{**GOOD, "prompt": f"plot {k}"} for k in range(4)]
    folder = tmp_path / "data"
    folder.mkdir()
    for name, frame in {"train": rows, "test": report}.items():
        pd.DataFrame(frame).to_json(folder / f"{name}.jsonl", orient="records", lines=True)
    with pytest.raises(QuestionError, match=message) as raised:
        load_task(data=folder, model=tiny_llama, cache=tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"messages": CHAT}, "row 3 of train of .*: column 'messages' has no assistant turn"),
        (
            {"messages": "hello"},
            "row 3 of .*: column 'messages' holds no list of messages",
        ),
        (
            {"question": "a", "choices": ["b"], "answer": 0},
            "row 3 of train of .*: column 'choices' holds a single choice: 'b'",
        ),
        (
            {"question": "a", "choices": ["b", "c"], "answer": "d"},
            r"row 3 of train of .*: column 'answer' has 'd', which is none of the choices \(b, c\)",
        ),
    ],
)
def test_a_cell_that_is_wrong_is_told(cells, message, tmp_path, tiny_llama):
    good = {
        "messages": [*CHAT, {"role": "assistant", "content": "good"}],
        "question": "a", "choices": ["b", "c"], "answer": "b",
    }  # fmt: skip
    rows = [{name: good[name] for name in cells} for _ in range(10)]
    rows[2] = cells
    with pytest.raises(QuestionError, match=message):
        task_of(tmp_path, rows, tiny_llama)


@pytest.mark.parametrize(
    ("rows", "model", "options", "message"),
    [
        (
            PAIRS,
            "tiny_bert",
            {},
            "columns prompt, completion. is learnt by decoder models",
        ),
        (PAIRS, "tiny_t5", {"goal": "next_token"}, "goal next_token is learnt by decoder models"),
        (
            PAIRS,
            "tiny_llama",
            {"goal": "choice"},
            "Wanted one of: question, choices, answer \\(--column",
        ),
        (
            [
                {"messages": [*CHAT, {"role": "assistant", "content": f"good {k}"}]}
                for k in range(10)
            ],
            "tiny_gpt",
            {},
            r"row \d+ of .*: column 'messages' holds a chat, and the model's tokenizer has no",
        ),
    ],
)
def test_a_model_that_does_not_suit_is_told(rows, model, options, message, tmp_path, request):
    with pytest.raises(QuestionError, match=message):
        task_of(tmp_path, rows, request.getfixturevalue(model), **options)


def test_goals_of_text_are_found_by_what_they_read():
    assert {kind for goal in GOALS.values() for kind in goal.kinds} == {
        "text", "pairs", "messages", "choices"
    }  # fmt: skip
