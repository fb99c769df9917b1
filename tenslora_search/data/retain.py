"""load_retained(): text that must not be forgotten, a task or a file, as tensors."""

from tenslora_search.data.columns import NoColumnsError
from tenslora_search.data.task import TaskData, load_task
from tenslora_search.hub.places import model_writes
from tenslora_search.spec.paths import exists, shown, typed
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

LOSS = "minus_loss"


def load_retained(retain: str, model: str, max_length: int) -> TaskData:
    """A task by name, else a file, whose `report` rows are measured; `QuestionError` for one of
    which a language model has no loss, or a model that writes no text.
    """
    check_retained(retain, model)
    goal = "next_token" if model_writes(model) == "decoder" else "sequence"
    try:
        if retain in TASKS:
            return load_task(retain, model=model, max_length=max_length)
        return load_task(data=retain, model=model, goal=goal, max_length=max_length)
    except QuestionError as error:
        hint = " Its columns are found by their names." if isinstance(error, NoColumnsError) else ""
        raise type(error)(f"--retain {shown(retain)}: {error}{hint}") from error


def check_retained(retain: str, model: str) -> None:
    """`QuestionError` for what shows before a row is read."""
    if not model_writes(model):
        raise QuestionError(
            f"--retain measures the loss of a language model on text; model {model!r} writes none."
        )
    if retain in TASKS and TASKS[retain].metric != LOSS:
        raise QuestionError(
            f"--retain {retain!r} is scored by {TASKS[retain].metric}; what is retained is text, "
            "whose loss is measured, such as wikitext2."
        )
    if retain not in TASKS and not exists(typed(retain)):
        raise QuestionError(
            f"--retain {retain!r}: neither a task nor a file. Tasks of text: "
            f"{', '.join(name for name, task in TASKS.items() if task.metric == LOSS)}."
        )
