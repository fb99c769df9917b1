"""Each token from those before it."""

from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from tenslora_search.data.batches import Split
from tenslora_search.data.goals.written import Written
from tenslora_search.data.rows import Rows
from tenslora_search.data.tokens import blocks, chats, pairs, split_of


class NextToken(Written):
    """The next token of a text, of the completion of a prompt, of a chat's assistant: its
    cross-entropy; the score is minus the mean loss a token.
    """

    name: ClassVar[str] = "next_token"
    metrics: ClassVar[tuple[str, ...]] = ("minus_loss",)
    kinds: ClassVar[tuple[str, ...]] = ("messages", "pairs", "text")

    def encode(
        self, rows: Rows, targets: NDArray, processor: Any, *,
        max_length: int, cache: Path | str | None,
    ) -> Split:  # fmt: skip
        make = {"text": blocks, "pairs": pairs, "messages": chats}[rows.kind]
        return split_of(rows, processor, make, max_length=max_length, cache=cache)
