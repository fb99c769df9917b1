"""How what was written is compared with what was wanted."""

import pytest

from tenslora_search.data.answers import ANSWERS


@pytest.mark.parametrize(
    ("name", "written", "wanted", "expected"),
    [
        ("exact_match", " a b ", "a b", 1),
        ("exact_match", "a  b", "a b", 0),
        ("gsm8k_match", "5 + 5 = 10\n#### 1,010", "1 #### 1010", 1),
        ("gsm8k_match", "#### 7 and then 8", "#### 7", 1),
        ("gsm8k_match", "so it is 12.", "... #### 12", 1),
        ("gsm8k_match", "no number", "#### 12", 0),
        ("gsm8k_match", "#### 0.5", "#### 5", 0),
        ("squad_em", "The Bridge.", "a bridge", 1),
        ("squad_f1", "the old bridge", "bridge", 2 / 3),
        ("squad_f1", "a road", "bridge", 0),
    ],
)
def test_what_counts(name, written, wanted, expected):
    assert ANSWERS[name](written, wanted) == pytest.approx(expected)


def test_rouge_l_is_the_packages():
    pytest.importorskip("rouge_score")
    assert ANSWERS["rouge_l"]("the cat sat", "the cat") == pytest.approx(0.8)
