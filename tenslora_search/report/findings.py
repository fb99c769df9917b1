"""What a run allows to say, in sentences: LoRA beside the rest, what is below the noise. No
sentence goes beyond the noise.
"""

import math
from collections.abc import Mapping, Sequence

from tenslora_search.report.noise import Noise, noise
from tenslora_search.report.pareto import front, rows_of
from tenslora_search.report.reading import RunRecord, Trial

TOLERANCE = 0.01
"""A score counts as matched when it is at most this far below, noise included."""


def run_noise(record: RunRecord) -> Noise | None:
    """The noise of a run's report scores."""
    return noise(record.trials, record.file.get("rows", {}).get("report"))


def beside_lora(record: RunRecord) -> str:
    """LoRA's best beside the front in one or two sentences.

    The front is gone through from its best downwards for as long as members match LoRA (a fixed
    sequence, so that testing several adds no false match); the last that does is the claim.
    """
    lora = [
        one for one in rows_of(record.trials) if one.method == "LoRA" and one.state == "complete"
    ]
    others = rows_of(front(record.trials[record.trials["method"] != "LoRA"]))
    if not lora or not others:
        return (
            f"No {'other' if lora else 'LoRA'} trial is complete, so there is nothing to "
            "compare LoRA with."
        )
    reference, known = max(lora, key=lambda one: (one.n_retests, one.score)), run_noise(record)
    again = [one for one in others if one.n_retests]
    if known is None or not reference.n_retests or not again:
        return _by_select(reference, others)
    about = (
        f"{_name(reference)} ({reference.n_params:,} parameters) scores "
        f"{reference.report_score:.4f} on fresh seeds"
    )
    matching = None
    for one in again:
        if (
            _difference(one, reference)
            < known.margin(one.n_retests, reference.n_retests) - TOLERANCE
        ):
            break
        matching = one
    top = again[0]
    difference, margin = (
        _difference(top, reference),
        known.margin(top.n_retests, reference.n_retests),
    )
    beats = (
        f"{_told(top)} beats it by {difference:.4f}, with {_share(top, reference)}. "
        if difference > margin
        else ""
    )
    if matching is not None and not (beats and matching is top):
        small = (
            f"{_told(matching)} matches it (to within {TOLERANCE:g}), with "
            f"{_share(matching, reference)}."
        )
        return f"{about}. {beats}{small}"
    if beats:
        return f"{about}. {beats.rstrip()}"
    if difference < -margin:
        return f"{about}. {_told(top)}, the best of the rest, is below it by more than the noise."
    return (
        f"{about}. {_told(top)} cannot be told apart from it, with {_share(top, reference)}: the "
        "difference of "
        f"{difference:+.4f} is below the noise of ±{margin:.4f}, which is too wide to call it a "
        "match. "
        "More retest seeds narrow it."
    )


def against_best(record: RunRecord) -> Mapping[int, str]:
    """For each retested member of the front: its report score less that of the best by select, and
    whether it is noise.
    """
    again, known = (
        [one for one in rows_of(front(record.trials)) if one.n_retests],
        run_noise(record),
    )
    if known is None or not again:
        return {}
    top, *others = again
    words = {top.number: "the best by select"}
    for one in others:
        difference, margin = _difference(one, top), known.margin(one.n_retests, top.n_retests)
        words[one.number] = f"{difference:+.4f}, " + (
            "below the noise" if abs(difference) <= margin else "beyond the noise"
        )
    return words


def noise_sentence(record: RunRecord) -> str:
    """How far apart scores must be."""
    known = run_noise(record)
    if known is None:
        return (
            "No trial was retested on two fresh seeds (--retest), so the noise is unknown: "
            "trust no small difference."
        )
    n_retests = int(record.trials["n_retests"].max())
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
    n_rows, scores = (
        record.file.get("rows", {}).get("report"),
        record.trials["report_score"].dropna(),
    )
    if record.file.get("metric") != "accuracy" or not n_rows or scores.empty:
        return None
    score = float(scores.max())
    error = math.sqrt(max(score * (1 - score), 0.0) / n_rows)
    return (
        f"The report split has {n_rows:,} rows: on other rows of the same kind an accuracy of "
        f"{score:.4f} would vary by "
        f"{error:.4f} (one standard error), for all trials much alike."
    )


def gap_sentence(record: RunRecord) -> str | None:
    """How much better select scores look than report scores: the search chose by select."""
    gaps = [one.score - one.report_score for one in rows_of(record.trials) if one.n_retests]
    if not gaps:
        return None
    spread = f" (from {min(gaps):+.4f} to {max(gaps):+.4f})" if len(gaps) > 1 else ""
    trials = f"the {len(gaps)} retested trials lie" if len(gaps) > 1 else "the retested trial lies"
    return (
        f"Select scores of {trials} {sum(gaps) / len(gaps):+.4f} above their report scores on "
        f"average{spread}."
    )


def _by_select(reference: Trial, others: Sequence[Trial]) -> str:
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
    return (
        f"{about}; {_name(small)} scores {small.score:.4f} with {_share(small, reference)}. {tail}"
    )


def _difference(one: Trial, other: Trial) -> float:
    return float(one.report_score - other.report_score)


def _told(row: Trial) -> str:
    return f"{_name(row)} (trial {row.number}, {row.n_params:,} parameters, {row.report_score:.4f})"


def _name(row: Trial) -> str:
    return f"LoRA r={row.ranks}" if row.method == "LoRA" else f"{row.method} {row.ranks}"


def _share(one: Trial, other: Trial) -> str:
    share = one.n_params / other.n_params
    if 0.99 <= share < 1.05:
        return "as many parameters"
    return (
        f"{share:.2g} times the parameters"
        if share >= 1
        else f"{100 * share:.2g} % of the parameters"
    )
