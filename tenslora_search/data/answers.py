"""ANSWERS: how a text that a model wrote is compared with the one that was asked for; higher is
better, 0 to 1, one function each.
"""

import re
import string
from collections import Counter
from collections.abc import Callable

from tenslora_search.spec.table import QuestionError, Table

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MARKED = re.compile(r"#### *(-?[\d,.]+)")


def exact_match(written: str, wanted: str) -> float:
    """1 where both texts are the same but for blanks around them."""
    return float(written.strip() == wanted.strip())


def gsm8k_match(written: str, wanted: str) -> float:
    """1 where the number after `####`, or the last number where there is no such mark, is the
    wanted one (GSM8K's extraction, Cobbe et al., 2021).

    >>> gsm8k_match("so 4 * 9 = 36 #### 1,036.", "... #### 1036")
    1.0
    """
    found, right = _number(written), _number(wanted)
    return float(found is not None and found == right)


def rouge_l(written: str, wanted: str) -> float:
    """ROUGE-L, the F-measure over the longest common subsequence of stemmed words, by the package
    rouge-score (extra `lm`).
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise QuestionError(
            "ROUGE-L needs rouge-score; pip install 'tenslora-search[lm]'."
        ) from error
    return float(
        RougeScorer(["rougeL"], use_stemmer=True).score(wanted, written)["rougeL"].fmeasure
    )


def squad_em(written: str, wanted: str) -> float:
    """1 where the texts are the same without case, marks and articles (Rajpurkar et al., 2016)."""
    return float(_plain(written) == _plain(wanted))


def squad_f1(written: str, wanted: str) -> float:
    """The harmonic mean of precision and recall of words, as SQuAD counts them.

    >>> squad_f1("The old bridge", "bridge")
    0.6666666666666666
    """
    found, right = _plain(written), _plain(wanted)
    same = sum((Counter(found) & Counter(right)).values())
    return 2 * same / (len(found) + len(right)) if same else float(found == right)


def _number(text: str) -> str | None:
    marked = MARKED.search(text)
    every = NUMBER.findall(marked[1] if marked else text)
    return every[-1].replace(",", "").rstrip(".") if every else None


def _plain(text: str) -> list[str]:
    text = "".join(one for one in text.lower() if one not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


ANSWERS: Table[Callable[[str, str], float]] = Table(
    "measure of answers",
    {one.__name__: one for one in (exact_match, gsm8k_match, rouge_l, squad_em, squad_f1)},
)
