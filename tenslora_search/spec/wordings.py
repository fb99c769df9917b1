"""WORDINGS: how the columns of a row become the text that a language model learns; one row each.

A template names columns in braces, as `str.format` does: `{question}`, `{answers[text][0]}`; and
`{sentence:before _}` is what stands before the first `_`, less blanks, `{sentence:after _}` what
stands after.
"""

from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from tenslora_search.spec.table import Table

Kind = Literal["text", "pairs", "messages", "choices"]
"""What a row is written as: one text; a prompt and its completion; a chat; a prompt and answers."""


@dataclass(frozen=True, slots=True)
class Wording:
    """The columns that must be there, and what is written of them.

    `more` is the prompt where the column `optional` holds something. `choices` is a column that
    holds a list, or a template for each; `answer` the column that says which is right, by its
    place, by a name among `names`, or in the words of a choice.
    """

    columns: tuple[str, ...]
    prompt: str = ""
    completion: str = ""
    text: str = ""
    messages: str = ""
    choices: str | tuple[str, ...] = ()
    answer: str = ""
    names: tuple[str, ...] = ()
    optional: str = ""
    more: str = ""

    @property
    def kind(self) -> Kind:
        if self.choices:
            return "choices"
        if self.messages:
            return "messages"
        return "text" if self.text else "pairs"

    @property
    def read(self) -> tuple[str, ...]:
        """All columns that are read, where they are there."""
        return (*self.columns, *filter(None, [self.optional]))

    def prompt_of(self, row: Any) -> str:
        """The prompt of a row, a mapping of its cells by column."""
        has_more = self.optional and str(row.get(self.optional) or "").strip()
        return written(self.more if has_more else self.prompt, row)


class _Cuts(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        side, _, mark = format_spec.partition(" ")
        if side == "before":
            return str(value).partition(mark)[0].rstrip()
        return str(value).partition(mark)[2] if side == "after" else format(value, format_spec)


def written(template: str, row: Any) -> str:
    """A template with the cells of a row in it.

    >>> written("Question: {question}\\nAnswer:", {"question": "2 + 2?"})
    'Question: 2 + 2?\\nAnswer:'
    >>> written("{sentence:after _}", {"sentence": "the _ was dull"})
    ' was dull'
    """
    return _Cuts().vformat(template, (), row)


def columns_in(template: str) -> tuple[str, ...]:
    """The columns that a template names.

    >>> columns_in("{answers[text][0]}, said of {title}")
    ('answers', 'title')
    """
    names = (name for _, name, _, _ in Formatter().parse(template) if name)
    return tuple(dict.fromkeys(name.partition("[")[0] for name in names))


ASKED = "Question: {question}\nAnswer:"

WORDINGS: Table[Wording] = Table(
    "wording",
    {
        "choices": Wording(
            ("question", "choices", "answer"), prompt=ASKED, choices="choices", answer="answer"
        ),
        "messages": Wording(("messages",), messages="messages"),
        "completion": Wording(
            ("prompt", "completion"), prompt="{prompt}", completion="{completion}"
        ),
        "instruction": Wording(
            ("instruction", "output"),
            prompt="### Instruction:\n{instruction}\n\n### Response:\n",
            completion="{output}",
            optional="input",
            more="### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        ),
        "question": Wording(("question", "answer"), prompt=ASKED, completion=" {answer}"),
        "text": Wording(("text",), text="{text}"),
    },
)
"""Of data of one's own, in the order in which they are looked for."""
