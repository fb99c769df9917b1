"""Task: what a row of TASKS says."""

from dataclasses import dataclass
from typing import Literal

from tenslora_search.spec.backbones import OWN_MODEL
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.wordings import Wording

Kind = Literal["text", "text_pair", "image"]

DEFAULT_MODELS: dict[Kind, str] = {
    "text": "roberta-base",
    "text_pair": "roberta-base",
    "image": "google/vit-base-patch16-224",
}
DEFAULT_WRITER = "SmolLM2-135M"
"""Of tasks whose answers are text."""


def check_reads(
    what: str,
    has: Literal["text", "image"],
    model: str,
    reads: Literal["text", "image"],
    more: str = "",
) -> None:
    """`QuestionError` where a model does not read what the rows hold."""
    if reads != has:
        usual = (
            f"google/vit-base-patch16-224 or {OWN_MODEL}"
            if has == "image"
            else "roberta-base or minilm"
        )
        raise QuestionError(
            f"{what} is {has}, model {model!r} reads {reads}; for {has} try {usual}{more}."
        )


SPLIT = 4
"""Packs that the trials of a rung are cut into, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task by name: its rows are on the hub (`hub`, `config`, `revision`) or made on this machine
    (`hub` is None).

    `columns` are the input columns in order; `report_split` is the labelled split that a search
    never sees. `max_steps` and `batch_size` of a trial, `trials` and `split` of a search are
    sensible defaults, not limits.
    """

    name: str
    about: str
    kind: Kind
    columns: tuple[str, ...]
    metric: str = "accuracy"
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    label: str = "label"
    train_split: str = "train"
    report_split: str = "validation"
    own_model: str | None = None
    max_steps: int = 1000
    batch_size: int = 32
    trials: int = 64
    """of a search"""
    split: int = SPLIT
    """packs that the trials of a rung are cut into on CPUs: many keep many cores busy; of a model
    whose steps take milliseconds few are faster, as a step costs nearly the same in a wide pack.
    It is about the task's usual model; `split_of` says what another has
    """
    goal: str = "classes"
    """what is learnt: a name in `data.goals.GOALS`"""
    n_outputs: int = 2
    """outputs of the task head: the classes, 1 for numbers, 0 for text"""
    max_length: int = 128
    """tokens a text is cut to"""
    answers: tuple[str, ...] = ()
    """of `data.answers.ANSWERS`: how what a trial writes is compared at the retest"""
    wording: Wording | None = None
    """how text that is to be written is made of the columns"""

    @property
    def model(self) -> str:
        """The model that is searched when none is named."""
        usual = DEFAULT_WRITER if self.wording else DEFAULT_MODELS[self.kind]
        return self.own_model or usual

    def split_of(self, model: str) -> int:
        """Packs that the trials of a rung are cut into for a model."""
        return self.split if model == self.model else SPLIT

    @property
    def needs_network(self) -> bool:
        """Whether the rows come from the hub when no local files are given."""
        return self.hub is not None
