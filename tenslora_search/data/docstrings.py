"""The text task that needs no network: from which library's docstrings does this sentence come?

Read from the source files of five installed dependencies; their names are masked, so the answer is
in the writing.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import re
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.hub.cache import cache_folder, write_file
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from pandas import DataFrame

LIBRARIES = ("numpy", "pandas", "ray", "torch", "transformers")
SENTENCES = 1500  # a library
FEW = 80  # of these for a language model
# part of the file's name in the cache; raise it whenever what is below gives other sentences
RECIPE = "docstrings-1"

_NAMES = re.compile(
    r"\w*(?:torch|transformers|hugging\s?face|pandas|numpy)\w*|\b(?:ray|rllib|np|pd|hf|aten)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r":[\w:]+:(?=`)|[`*]|(?<=\s)~(?=\w)|\[(?=`)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_PROSE = re.compile(r"[A-Z][\w ,;:'\"()/\-]*[.!?]")

_SECTION = re.compile(
    r"--|\s:\s|^\w+:\s"
)  # "Returns -------", "axis : int", "Args: ...": layout, not writing


def docstrings_frame() -> "DataFrame":
    """SENTENCES rows a library, in `text` and `label`: a pure function of the installed versions,
    kept in the cache.
    """
    import pandas as pd

    versions = " ".join(f"{library}={importlib.metadata.version(library)}" for library in LIBRARIES)
    name = f"{RECIPE}-{hashlib.sha256(versions.encode()).hexdigest()[:16]}.parquet"
    try:
        return pd.read_parquet(cache_folder() / name)
    except (OSError, ValueError):
        pass
    found = {library: list(_first_new(library, set())) for library in LIBRARIES}
    counts: dict[str, int] = {}
    for sentences in found.values():
        for sentence in sentences:
            counts[_key(sentence)] = counts.get(_key(sentence), 0) + 1
    own = {
        library: [text for text in texts if counts[_key(text)] == 1][:SENTENCES]
        for library, texts in found.items()
    }
    n_rows = min(map(len, own.values()))  # balanced
    frame = pd.DataFrame(
        [
            {"text": text, "label": library}
            for library in LIBRARIES
            for text in own[library][:n_rows]
        ]
    )
    write_file(cache_folder() / name, lambda file: frame.to_parquet(file, index=False))
    return frame


def docstrings_lm_frame() -> "DataFrame":
    """The first FEW sentences a library of `docstrings_frame` in `text` alone: little enough for a
    language model on a CPU.
    """
    some: Any = docstrings_frame().groupby("label").head(FEW)
    return some[["text"]].reset_index(drop=True)


def _first_new(library: str, seen: set[str]) -> Iterator[str]:
    """The library's first masked sentences that are not seen yet, files in the order of their
    hashed names.
    """
    n_found = 0
    for file in _files(library):
        for sentence in _sentences(file):
            if _key(sentence) not in seen:
                seen.add(_key(sentence))
                n_found += 1
                yield sentence
        if n_found > SENTENCES * 1.1:  # some are dropped again: other libraries have them too
            return


def _key(sentence: str) -> str:
    """Sentences with the same key count as duplicates: case and numbers make no difference."""
    return re.sub(r"[\W\d_]+", " ", sentence.lower()).strip()


def _files(library: str) -> list[Path]:
    spec = importlib.util.find_spec(library)  # finds the folder, imports nothing
    if spec is None or spec.origin is None:
        raise QuestionError(
            f"task docstrings reads the sources of {', '.join(LIBRARIES)}; {library} is not "
            "installed."
        )
    root = Path(spec.origin).parent
    names = [file.relative_to(root).as_posix() for file in root.rglob("*.py")]
    kept = [
        name
        for name in names
        if not re.search(
            r"(^|/)(tests?|_vendor|vendored|thirdparty_files|testing)(/|$)|test_", name
        )
    ]
    return [
        root / name
        for name in sorted(kept, key=lambda name: hashlib.sha256(name.encode()).digest())
    ]


def _sentences(file: Path) -> Iterator[str]:
    """The plain prose of the file's docstrings, sentence by sentence, 6 to 40 words each."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in _statements(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            for paragraph in re.split(
                r"\n\s*\n", inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
            ):
                for sentence in _SENTENCE_END.split(" ".join(_MARKUP.sub("", paragraph).split())):
                    if (
                        _PROSE.fullmatch(sentence)
                        and not _SECTION.search(sentence)
                        and 6 <= len(sentence.split()) <= 40
                    ):
                        yield _NAMES.sub("library", sentence)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """What can hold a definition, in the order of `ast.walk`, which looks into expressions too."""
    waiting: deque[ast.AST] = deque([tree])
    while waiting:
        node = waiting.popleft()
        for block in ("body", "handlers", "orelse", "finalbody", "cases"):
            below = getattr(node, block, ())
            waiting.extend(below if isinstance(below, list) else ())
        yield node
