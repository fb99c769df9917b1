"""A search as one TOML file: what `--config` reads, and what every run folder holds as search.toml.

Its keys are the options of a search; `columns` is a table by role, `plugins` a list, and `space`
a name, a file or a table with what a space file would say.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tenslora_search.runs.question import Question
from tenslora_search.spec.arguments import checked, kinds_of, settled
from tenslora_search.spec.budget import parse_seconds
from tenslora_search.spec.paths import typed
from tenslora_search.spec.table import QuestionError, unknown

CONFIG = "search.toml"
MEANS: Mapping[str, Any] = {
    "executor": str, "pack": str | int, "time_limit": str | float, "gpus_per_worker": float,
    "ray_address": str, "plugins": Sequence[str], "out": str, "track": Sequence[str],
}  # fmt: skip
"""What a search may be told besides its question, and of which type."""
OPTIONS: Mapping[str, Any] = {**kinds_of(Question), **MEANS}


@checked()
def load_config(path: str | Path) -> dict[str, Any]:
    """The options in a TOML file, for `search(**load_config("search.toml"))`.

    `time_limit` may be a text such as 2h. `QuestionError` for a file that cannot be read, a key
    that is no option, or a value of another type than the option's.

    >>> _ = (folder / "search.toml").write_text('task = "digits"\\nbudget = "4k"\\ntrials = 2')
    >>> load_config(folder / "search.toml")
    {'task': 'digits', 'budget': '4k', 'trials': 2}
    """
    place = typed(path)
    try:
        said = tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise QuestionError(f"--config {path} cannot be read: {why}.") from error
    found = {name.replace("-", "_"): value for name, value in said.items()}
    if isinstance(found.get("space"), dict):
        found["space"] = str(place.resolve())  # a space file too: its table [space]
    try:
        return {name: _option(name, value) for name, value in found.items()}
    except QuestionError as error:
        raise QuestionError(f"--config {path}: {error}") from error


def _option(name: str, value: object) -> Any:
    if name not in OPTIONS:
        raise QuestionError(unknown("option", name, tuple(OPTIONS)))
    said = settled(name, OPTIONS[name], value)
    return parse_seconds(said) if name == "time_limit" else said


def config_text(options: Mapping[str, Any]) -> str:
    """Options as TOML; those that are None are left out, tables come last."""
    lines: list[str] = []
    tables: list[str] = []
    for name, one in options.items():
        if isinstance(one, Mapping):
            entries = cast("Mapping[str, Any]", one)
            tables += ["", f"[{_key(name)}]"]
            tables += [f"{_key(key)} = {_value(value)}" for key, value in entries.items()]
        elif one is not None:
            lines.append(f"{_key(name)} = {_value(one)}")
    return "\n".join([*lines, *tables]) + "\n"


def write_config(folder: Path, question: Question, means: Mapping[str, Any]) -> Path:
    """Writes search.toml: the question, every option set, and by which means it was asked."""
    about = "# This search: tenslora-search --config search.toml --out ANOTHER-FOLDER\n"
    path = folder / CONFIG
    text = about + config_text({**question.to_json(), **means, **_own_space(question)})
    path.write_text(text, encoding="utf-8", errors="replace")
    return path


def _own_space(question: Question) -> dict[str, Any]:
    """What a space file of the user's own says, so that search.toml is whole without it."""
    path = Path(question.space)
    if path.suffix != ".toml" or not path.is_file():
        return {}
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {"space": said["space"] if isinstance(said.get("space"), dict) else said}


def _key(name: str) -> str:
    is_bare = name.replace("_", "").replace("-", "").isalnum() and name.isascii()
    return name if is_bare else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        return f"{{ {', '.join(f'{_key(key)} = {_value(one)}' for key, one in entries.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one) for one in cast('list[Any]', value))}]"
    return _text(str(value))


def _text(value: str) -> str:
    """JSON's strings are TOML's basic strings."""
    plain = value.encode("utf-8", "replace").decode()
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
