"""Tasks whose answers are text, which a language model writes or finds likely."""

from tenslora_search.spec.backbones import OFFLINE_WRITER
from tenslora_search.spec.tasks.task import Task
from tenslora_search.spec.wordings import ASKED, WORDINGS, Wording


def _written(
    name: str,
    about: str,
    hub: str | None,
    wording: Wording,
    goal: str = "next_token",
    **fields: object,
) -> Task:
    """A task whose answers are text, by a language model."""
    usual: dict[str, object] = {"report_split": "test", "batch_size": 8, "max_length": 256}
    usual["metric"] = "accuracy" if goal == "choice" else "minus_loss"
    return Task(
        name, about, "text", wording.columns, hub=hub, label="", goal=goal, n_outputs=0,
        wording=wording, **(usual | fields),  # type: ignore[arg-type]
    )  # fmt: skip


def _exam(name: str, about: str, hub: str, wording: Wording, **fields: object) -> Task:
    """Questions with several answers."""
    usual: dict[str, object] = {"report_split": "validation", "batch_size": 16, "max_length": 128}
    return _written(name, about, hub, wording, "choice", **(usual | fields))


PARQUET = "refs/convert/parquet"
"""The hub's own copy, of data sets that come with code, which is never run."""
ARC = Wording(
    ("question", "choices", "answerKey"), prompt=ASKED, choices="choices", answer="answerKey"
)

WRITTEN = (
    _written(
        "wikitext2",
        "WikiText-2: go on with articles of Wikipedia",
        "Salesforce/wikitext",
        WORDINGS["text"],
        config="wikitext-2-raw-v1",
        max_steps=500,
    ),
    _written(
        "gsm8k",
        "GSM8K: solve sums for school, step by step",
        "openai/gsm8k",
        WORDINGS["question"],
        config="main",
        max_steps=600,
        answers=("gsm8k_match",),
    ),
    _written(
        "alpaca",
        "Alpaca: follow instructions",
        "tatsu-lab/alpaca",
        WORDINGS["instruction"],
        report_split="",
        answers=("rouge_l",),
    ),
    _written(
        "samsum",
        "SAMSum: sum up a chat",
        "knkarthick/samsum",
        Wording(("dialogue", "summary"), prompt="{dialogue}\n\nSummary:", completion=" {summary}"),
        max_length=512,
        answers=("rouge_l",),
    ),
    _written(
        "squad",
        "SQuAD: answer from a passage, in its words",
        "rajpurkar/squad",
        Wording(
            ("context", "question", "answers"),
            prompt="{context}\nQuestion: {question}\nAnswer:",
            completion=" {answers[text][0]}",
        ),
        report_split="validation",
        max_length=384,
        max_steps=2000,
        answers=("squad_em", "squad_f1"),
    ),
    _exam(
        "boolq",
        "BoolQ: yes or no, by a passage",
        "google/boolq",
        Wording(
            ("question", "passage", "answer"),
            prompt="{passage}\nQuestion: {question}?\nAnswer:",
            choices=(" no", " yes"),
            answer="answer",
            names=("False", "True"),
        ),
        max_length=384,
        batch_size=8,
    ),
    _exam(
        "piqa",
        "PIQA: which of two ways works?",
        "ybisk/piqa",
        Wording(
            ("goal", "sol1", "sol2", "label"),
            prompt="Question: {goal}\nAnswer:",
            choices=(" {sol1}", " {sol2}"),
            answer="label",
            names=("0", "1"),
        ),
        revision=PARQUET,
    ),
    _exam(
        "arc_easy",
        "ARC, the easy questions of science, 3 to 5 answers",
        "allenai/ai2_arc",
        ARC,
        config="ARC-Easy",
        report_split="test",
        max_steps=500,
    ),
    _exam(
        "arc_challenge",
        "ARC, the hard questions of science, 3 to 5 answers",
        "allenai/ai2_arc",
        ARC,
        config="ARC-Challenge",
        report_split="test",
        max_steps=300,
    ),
    _exam(
        "openbookqa",
        "OpenBookQA: elementary science, 4 answers",
        "allenai/openbookqa",
        Wording(
            ("question_stem", "choices", "answerKey"),
            prompt="{question_stem}",
            choices="choices",
            answer="answerKey",
        ),
        config="main",
        report_split="test",
    ),
    _exam(
        "winogrande",
        "WinoGrande: which of two fills the blank?",
        "allenai/winogrande",
        Wording(
            ("sentence", "option1", "option2", "answer"),
            prompt="{sentence:before _}",
            choices=(" {option1}{sentence:after _}", " {option2}{sentence:after _}"),
            answer="answer",
            names=("1", "2"),
        ),
        config="winogrande_xl",
        revision=PARQUET,
        max_steps=2000,
    ),
    _exam(
        "hellaswag",
        "HellaSwag: how does the scene go on? 4 endings",
        "Rowan/hellaswag",
        Wording(("ctx", "endings", "label"), prompt="{ctx}", choices="endings", answer="label"),
        revision=PARQUET,
        max_steps=2000,
        max_length=192,
    ),
    _written(
        "docstrings_lm",
        "go on with the docstrings of installed libraries; no network",
        None,
        WORDINGS["text"],
        own_model=OFFLINE_WRITER,
        report_split="",
        batch_size=4,
        max_steps=60,
        max_length=64,
    ),
)
