"""What a run allows to say, in sentences: LoRA beside the rest, what is below the noise. No
sentence goes beyond the noise.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from tenslora_search.report.noise import Noise, noise
from tenslora_search.report.pareto import front
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row
from tenslora_search.spec.metrics import OWN_SCORE


def tolerance(record: RunRecord) -> float:
    """A score counts as matched when it is at most this far below, noise included: 0.01, or less
    where the report split has so many rows that its metric's noise is finer.
    """
    return min(OWN_SCORE, record.typical_noise("report"))


def run_noise(record: RunRecord) -> Noise | None:
    """The noise of a run's report scores."""
    return noise(record.rows, record.least_noise)


@dataclass(frozen=True, slots=True)
class Beside:
    """A trial's report score beside a reference's."""

    one: Row
    reference: Row
    difference: float
    margin: float
    """differences up to this are noise"""
    tolerance: float = OWN_SCORE

    @property
    def beats(self) -> bool:
        return self.difference > self.margin

    @property
    def matches(self) -> bool:
        """At most `tolerance` below with the noise on either side, and not known to be above."""
        return not self.beats and self.difference >= self.margin - self.tolerance

    @property
    def loses(self) -> bool:
        return self.difference < -self.margin


def beside_lora(record: RunRecord) -> str:
    """LoRA beside the front of all others, in one to three sentences.

    The reference is the LoRA with the highest report score. The front is gone through from its
    best downwards, up to the first member that is below the reference by more than the noise: a
    lucky small one after a failure is no claim. Of those that beat the reference, and of those that
    match it, the smallest is named.
    """
    lora = [one for one in record.complete if one.method == "LoRA"]
    others = front([one for one in record.rows if one.method != "LoRA"])
    if not lora or not others:
        missing = "other" if lora else "LoRA"
        return f"No {missing} trial is complete, so there is nothing to compare LoRA with."
    known = run_noise(record)
    tested = [one for one in lora if one.n_retests]
    again = [one for one in others if one.n_retests]
    if known is None or not tested or not again:
        return _by_select(max(lora, key=lambda one: one.score), others)
    reference = max(tested, key=lambda one: (one.report_score, -one.n_params))
    near = tolerance(record)
    pairs = [replace(beside(one, reference, known), tolerance=near) for one in again]
    compared = list(takewhile(lambda pair: not pair.loses, pairs)) or pairs[:1]
    about = (
        f"{_name(reference)} ({reference.n_params:,} parameters) scores "
        f"{reference.report_score:.4f} on fresh seeds"
    )
    if len(tested) > 1:
        about += f", the best of {len(tested)} LoRA trials there"
    return " ".join([f"{about}.", *_claims(compared), *_caution(compared)])


def beside(one: Row, reference: Row, known: Noise) -> Beside:
    difference = one.report_score - reference.report_score
    return Beside(one, reference, difference, known.margin(one.n_retests, reference.n_retests))


def _claims(pairs: Sequence[Beside]) -> list[str]:
    """What holds of the smallest that beats the reference and of the smallest that matches it; else
    of the best by select.
    """
    beating = min((pair for pair in pairs if pair.beats), key=_size, default=None)
    matching = min((pair for pair in pairs if pair.matches), key=_size, default=None)
    claims: list[str] = []
    if beating is not None:
        claims.append(
            f"{_told(beating.one)} beats it by {beating.difference:.4f}, with {_share(beating)}."
        )
    if matching is not None and (beating is None or _size(matching) < _size(beating)):
        claims.append(
            f"{_told(matching.one)} matches it (to within {matching.tolerance:.2g}), with "
            f"{_share(matching)}."
        )
    return claims or [_no_claim(pairs[0])]


def _no_claim(top: Beside) -> str:
    if top.loses:
        return f"{_told(top.one)}, the best of the rest, is below it by more than the noise."
    return (
        f"{_told(top.one)}, the best of the rest, cannot be told apart from it, with "
        f"{_share(top)}: the difference of {top.difference:+.4f} is below the noise of "
        f"±{top.margin:.4f}, which is too wide to call it a match. More retest seeds narrow it."
    )


def _caution(pairs: Sequence[Beside]) -> list[str]:
    """Several comparisons, of which the best are told, find something by chance more often."""
    if len(pairs) < 2 or not any(pair.beats or pair.matches for pair in pairs):
        return []
    margin = max(pair.margin for pair in pairs)
    return [
        f"{len(pairs)} trials were compared with it, each at 95 % by itself (differences up to "
        f"±{margin:.4f} are noise)."
    ]


def against_best(record: RunRecord) -> Mapping[int, str]:
    """For each retested member of the front: its report score less that of the best by select, and
    whether it is noise.
    """
    again = [one for one in front(record.rows) if one.n_retests]
    known = run_noise(record)
    if known is None or not again:
        return {}
    top, *others = again
    words = {top.number: "the best by select"}
    for one in others:
        pair = beside(one, top, known)
        is_noise = abs(pair.difference) <= pair.margin
        verdict = "below the noise" if is_noise else "beyond the noise"
        words[one.number] = f"{pair.difference:+.4f}, {verdict}"
    return words


def picks_sentence(record: RunRecord) -> str | None:
    """By which score the picks are made, and how far another order on report means something."""
    again = [one for one in front(record.rows) if one.n_retests]
    if not again:
        return None
    how = "by select, the score that guided the search, of one seed"
    if any(not math.isnan(one.estimate) for one in again):
        how = (
            "by the estimate: a select score over seeds, by a model of all scores of all trials; "
            "the luckiest seed counts no more than its neighbours let it"
        )
    known = run_noise(record)
    n_retests = min(one.n_retests for one in again)
    wide = f" of up to {known.margin(n_retests, n_retests):.4f}" if known else ""
    return (
        f"All picks go {how}. Report, on rows "
        "and seeds that no choice has seen, may order them otherwise: differences"
        f"{wide} there are noise."
    )


def zero_sentence(record: RunRecord) -> str | None:
    """What 0 parameters of the budget score: the task head alone, or the model as it is."""
    on_select, again = record.zero
    if math.isnan(on_select) and not again:
        return None
    scores = [] if math.isnan(on_select) else [f"{on_select:.4f} on select"]
    if again:
        spread = f" ± {statistics.stdev(again):.4f}" if len(again) > 1 else ""
        scores.append(f"{statistics.fmean(again):.4f}{spread} on report")
    what = (
        "The task head alone, on the frozen model"
        if record.file.head_params
        else ("The model as it is")
    )
    text = f"{what} (0 parameters of the budget), scores {' and '.join(scores)}."
    below = [one for one in front(record.rows) if one.score < on_select]
    if below:
        numbers = ", ".join(str(one.number) for one in below)
        text += f" Members of the front below that: {numbers}."
    return text + _without_gain(record, again)


def _without_gain(record: RunRecord, zero: Sequence[float]) -> str:
    """Said where no adapter is known to be worth its parameters."""
    tested = [one for one in front(record.rows) if one.n_retests]
    if not zero or not tested:
        return ""
    top, known = max(tested, key=lambda one: one.report_score), run_noise(record)
    margin = known.margin(top.n_retests, len(zero)) if known else 0.0
    if top.report_score - statistics.fmean(zero) > margin:
        return ""
    noise_of_both = f" (differences up to ±{margin:.4f} are noise)" if known else ""
    return (
        f" No member of the front is known to be better on report{noise_of_both}: so far no "
        "adapter is worth its parameters. Longer trials or more of them may help."
    )


def noise_sentence(record: RunRecord) -> str:
    """How far apart scores must be."""
    known = run_noise(record)
    if known is None:
        return (
            "No trial was retested on two fresh seeds (--retest), so the noise is unknown: "
            "trust no small difference."
        )
    n_retests = max(one.n_retests for one in record.rows)
    text = (
        f"One score varies by {known.std:.4f} (standard deviation) over seeds. Two report scores, "
        "each the mean of "
        f"{n_retests}, differ beyond the noise (95 %) when they are more than "
        f"{known.margin(n_retests, n_retests):.4f} apart."
    )
    members = against_best(record)
    alike = [str(number) for number, words in members.items() if words.endswith("below the noise")]
    if len(members) < 2:
        return text
    return (
        f"{text} Members of the front not told apart from its best: {', '.join(alike) or 'none'}."
    )


def rows_sentence(record: RunRecord) -> str | None:
    """For accuracy: how much the report split's size alone leaves open."""
    n_rows = record.report_rows
    scores = [one.report_score for one in record.rows if one.n_retests]
    if record.file.metric != "accuracy" or not n_rows or not scores:
        return None
    score = max(scores)
    error = math.sqrt(max(score * (1 - score), 0.0) / n_rows)
    return (
        f"The report split has {n_rows:,} rows: on other rows of the same kind an accuracy of "
        f"{score:.4f} would vary by "
        f"{error:.4f} (one standard error), for all trials much alike."
    )


def gap_sentence(record: RunRecord) -> str | None:
    """How much better select scores look than report scores: the search chose by select."""
    gaps = [one.score - one.report_score for one in record.rows if one.n_retests]
    if not gaps:
        return None
    spread = f" (from {min(gaps):+.4f} to {max(gaps):+.4f})" if len(gaps) > 1 else ""
    trials = f"the {len(gaps)} retested trials lie" if len(gaps) > 1 else "the retested trial lies"
    return (
        f"Select scores of {trials} {sum(gaps) / len(gaps):+.4f} above their report scores on "
        f"average{spread}."
    )


def _by_select(reference: Row, others: Sequence[Row]) -> str:
    about = (
        f"{_name(reference)} ({reference.n_params:,} parameters) scores {reference.score:.4f} "
        "on select"
    )
    matching = [one for one in others if one.score >= reference.score]
    tail = (
        "One seed each and no retest to measure the noise: this shows a direction and proves "
        "nothing."
    )
    if not matching:
        return f"{about}; nothing else on the front reaches that. {tail}"
    small = min(matching, key=lambda one: one.n_params)
    share = _share(Beside(small, reference, 0.0, 0.0))
    return f"{about}; {_name(small)} scores {small.score:.4f} with {share}. {tail}"


def _size(pair: Beside) -> int:
    return pair.one.n_params


def _told(row: Row) -> str:
    return f"{_name(row)} (trial {row.number}, {row.n_params:,} parameters, {row.report_score:.4f})"


def _name(row: Row) -> str:
    return f"LoRA r={row.ranks}" if row.method == "LoRA" else f"{row.method} {row.ranks}"


def _share(pair: Beside) -> str:
    share = pair.one.n_params / pair.reference.n_params
    if 0.99 <= share < 1.05:
        return "as many parameters"
    if share >= 10:
        return f"{share:,.0f} times the parameters"
    if share >= 1:
        return f"{share:.2g} times the parameters"
    return f"{100 * share:.2g} % of the parameters"
