"""The text task made of installed libraries: the same each time, balanced, without duplicates, the
names masked.
"""

import pandas as pd
import pytest

from tenslora_search.data import docstrings
from tenslora_search.data.docstrings import LIBRARIES, docstrings_frame
from tenslora_search.spec.table import QuestionError


@pytest.fixture(scope="module")
def frame(cache_home) -> pd.DataFrame:
    return docstrings_frame()


def test_balanced_and_large_enough(frame):
    counts = frame["label"].value_counts()
    assert set(counts.index) == set(LIBRARIES)
    assert counts.nunique() == 1
    assert counts.iloc[0] >= 1000


def test_no_sentence_twice_not_even_with_other_numbers(frame):
    keys = frame["text"].map(docstrings._key)
    assert not keys.duplicated().any()


def test_no_name_of_a_library_is_left(frame):
    names = r"(?i)torch|transformers|hugging\s?face|pandas|numpy|\bray\b|\bnp\b|\bpd\b"
    assert not frame["text"].str.contains(names).any()
    assert frame["text"].str.contains("library").any()


def test_plain_sentences(frame):
    words = frame["text"].str.split().map(len)
    assert words.between(6, 40).all()
    assert frame["text"].str.fullmatch(r"[A-Zl].*[.!?]").all()
    assert not frame["text"].str.contains(r"[`\n]|>>>|:\w+:").any()


def test_the_same_from_scratch_where_the_cache_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(docstrings, "SENTENCES", 50)  # of fewer files
    monkeypatch.setattr(docstrings, "cache_folder", lambda: tmp_path)
    frame = docstrings_frame()
    (made,) = tmp_path.glob("docstrings-*.parquet")
    whole = made.read_bytes()
    made.write_bytes(whole[:100])
    pd.testing.assert_frame_equal(docstrings_frame(), frame)
    assert made.read_bytes() == whole


def test_a_library_that_is_missing(monkeypatch):
    with pytest.raises(QuestionError, match="no_such_library is not installed"):
        docstrings._files("no_such_library")


def test_sentences_of_a_file(tmp_path):
    (tmp_path / "one.py").write_text(
        '"""Builds a :class:`torch.Tensor` from numpy arrays. See the notes. It keeps the type '
        'that it was given."""\n'
        'def f(x):\n    """Return the value that ray was asked for, in 3 parts.\n\n    Args:\n    '
        "    x: The number wanted.\n\n"
        '    >>> f(3) is not a sentence of the kind wanted here.\n    """\n'
    )
    assert list(docstrings._sentences(tmp_path / "one.py")) == [
        "It keeps the type that it was given.",
        "Return the value that library was asked for, in 3 parts.",
    ]
