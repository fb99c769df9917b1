"""FORMATS: the forms an adapter is exported in; how each is written, and the code that loads it
again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenslora_search.export.merged import merge
from tenslora_search.export.native import save_native
from tenslora_search.export.peft import save_peft
from tenslora_search.nn.attach import Adapter
from tenslora_search.spec.table import Table


@dataclass(frozen=True, slots=True)
class Format:
    """One form. `imports` and `load` are the card's code; {auto} and {base} stand for the model's
    class and its base.
    """

    save: Callable[[Adapter, Path], object]
    library: str
    """as hubs name it"""
    load: str
    imports: str = ""
    needs_base: bool = True
    """whether the folder is of use only beside the base model"""


def _save_merged(adapter: Adapter, folder: Path) -> None:
    """In place, unlike `save_merged`: nobody goes on with the adapter, and a large model need not
    fit twice.
    """
    merge(adapter).save_pretrained(folder)  # type: ignore[operator]


_BASE = """{auto}.from_pretrained(
    {base}, config=AutoConfig.from_pretrained(folder), ignore_mismatched_sizes=True
)  # with a new task head, which the next line fills in
"""

FORMATS: Table[Format] = Table(
    "format",
    {
        "peft": Format(
            save_peft,
            "peft",
            imports="from peft import PeftModel\n",
            load=f"base = {_BASE}model = PeftModel.from_pretrained(base, folder).eval()\n",
        ),
        "native": Format(
            save_native,
            "tenslora-search",
            imports="from tenslora_search import load_adapter\n",
            load=f"model = {_BASE}load_adapter(model.eval(), folder)\n",
        ),
        "merged": Format(
            _save_merged,
            "transformers",
            load="model = {auto}.from_pretrained(folder).eval()\n",
            needs_base=False,
        ),
    },
)
