"""FORMATS: the forms an adapter is exported in; how each is written, and the code that loads it
again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tenslora_search.export.merged import merge
from tenslora_search.export.native import save_native
from tenslora_search.export.pairs import Pair
from tenslora_search.export.peft import write_peft
from tenslora_search.nn.attach import Adapter
from tenslora_search.spec.arguments import argument
from tenslora_search.spec.table import QuestionError, Table, unknown


@dataclass(frozen=True, slots=True)
class Format:
    """One form. `imports` and `load` are the card's code; {auto} and {base} stand for the model's
    class and its base, {loaded} for the lines that load it so, {head} for those of a head beside.
    """

    save: Callable[..., Mapping[str, Pair] | None]
    """(adapter, folder, **options): writes; of a LoRA checkpoint, the pairs in it"""
    library: str
    """as hubs name it"""
    load: str
    imports: str = ""
    needs_base: bool = True
    """whether the folder is of use only beside the base model"""
    options: tuple[str, ...] = ()
    """of `save`, which an export may set"""
    about: str = ""
    """what the folder is, for `list`"""

    def check(self, name: str, asked: Mapping[str, object]) -> None:
        """`QuestionError` for an option that this format, of this name, does not have, or a
        value of another type.
        """
        having = {one: form for form, row in FORMATS.items() for one in row.options}
        for option, value in asked.items():
            if option not in having:
                raise QuestionError(unknown("option of an export", option, tuple(having)))
            if option not in self.options:
                said = {"head": "--no-head"}.get(option, f"--{option.replace('_', '-')}")
                raise QuestionError(
                    f"{said} is for --format {having[option]}; the format is {name}."
                )
            argument(self.save, option, value)


def _save_merged(adapter: Adapter, folder: Path) -> None:
    """In place, unlike `save_merged`: nobody goes on with the adapter, and a large model need not
    fit twice.
    """
    merge(adapter).save_pretrained(folder)  # type: ignore[operator]


def _save_native(adapter: Adapter, folder: Path) -> None:
    save_native(adapter, folder)


NEW_HEAD = """{auto}.from_pretrained(
    {base}, config=AutoConfig.from_pretrained(folder), ignore_mismatched_sizes=True
)  # with a new task head, which the next line fills in
"""
AS_IT_IS = """{auto}.from_pretrained({base})
"""
"""How a base is loaded whose own output is read."""

HEAD_IMPORTS = "from safetensors.torch import load_file\n"
HEAD_CODE = """base.load_state_dict(load_file(f"{folder}/head.safetensors"), strict=False)
"""
"""Of a checkpoint without its head, which lies beside it."""

FORMATS: Table[Format] = Table(
    "format",
    {
        "peft": Format(
            write_peft,
            "peft",
            imports="from peft import PeftModel\n",
            load="base = {loaded}{head}model = PeftModel.from_pretrained(base, folder).eval()\n",
            options=("rank", "uniform_rank", "head"),
            about="a LoRA checkpoint, the same update exactly (--rank, --uniform-rank, --no-head)",
        ),
        "native": Format(
            _save_native,
            "tenslora-search",
            imports="from tenslora_search import load_adapter\n",
            load="model = {loaded}load_adapter(model.eval(), folder)\n",
            about="the factors alone, the smallest",
        ),
        "merged": Format(
            _save_merged,
            "transformers",
            load="model = {auto}.from_pretrained(folder).eval()\n",
            needs_base=False,
            about="a whole model, no adapter left",
        ),
    },
)
