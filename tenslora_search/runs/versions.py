"""check_version(): what a newer version has written is refused rather than misread."""

from pathlib import Path

from tenslora_search.spec.table import QuestionError


def check_version(path: Path, found: int, known: int) -> None:
    if found > known:
        raise QuestionError(
            f"{path} was written by a newer tenslora-search: its form is {found}, this one reads up to {known}. "
            "Upgrade, or choose another folder."
        )
