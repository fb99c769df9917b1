"""The terminal: sparks on one scale, plain lines, a live panel, the front at the end."""

import math
from dataclasses import replace

import pytest

from tenslora_search import display
from tenslora_search.engine.progress import Progress
from tenslora_search.report.rows import Row

PROGRESS = Progress(
    phase="search",
    counts={"complete": 2, "paused": 3, "running": 0, "waiting": 1, "failed": 0},
    n_trials=8,
    best=0.91,
    front=[(4, 0.91, 12_000, "LoRA"), (2, 0.87, 3_000, "[red]none x cp[/red]")],
    curves=[[0.5, 0.7, 0.91], [0.5, 0.6, 0.87]],
    worker_seconds=12.3,
    seconds=9.0,
    seconds_left=51.0,
    n_retests=(0, 0),
)


@pytest.mark.parametrize(
    ("curves", "drawn"),
    [
        ([], []),
        ([[]], [""]),
        ([[0.5]], ["█"]),
        ([[0.0, 0.5, 1.0], [1.0, 0.0]], ["▁▅█", "█▁"]),
        ([[-1.0, math.nan, 0.0]], ["▁ █"]),
    ],
)
def test_sparks_share_a_scale(curves, drawn):
    assert display._sparks(curves) == drawn


def test_plain_lines_say_where_the_search_stands(capsys):
    with display.plain() as show:
        show(PROGRESS)
        show(PROGRESS)  # too soon for another
    out = capsys.readouterr().out
    assert out == (
        "[    9 s] 6 of 8 trials: 2 complete, 3 paused | best 0.9100 | front of 2 | 12 seconds of "
        "work, 51 s left\n"
    )


def test_within_a_long_segment_a_line_says_how_far_it_is(capsys):
    with display.plain() as show:
        show(replace(PROGRESS, steps=(120, 1_200), seconds_to_scores=90.4))
    line = "51 s left | step 120 of 1,200, scored in 90 s or so"
    assert capsys.readouterr().out.endswith(f"{line}\n")
    with display.plain() as show:
        show(replace(PROGRESS, counts={"complete": 0, "waiting": 6}))
    assert "6 of 8 trials: 6 wait to be judged |" in capsys.readouterr().out
    with display.plain() as show:
        show(replace(PROGRESS, steps=(120, 1_200), seconds_to_scores=90.4, best=None))
    assert f"{line}, after the time limit: take fewer --max-steps" in capsys.readouterr().out


def test_silent_is_silent(capsys):
    with display.silent() as show:
        show(PROGRESS)
    assert capsys.readouterr().out == ""


def test_the_live_panel_shows_the_front_with_sparks_and_names_as_they_are(monkeypatch):
    import rich.live
    from rich.console import Console

    console = Console(record=True, width=100, force_terminal=True)
    original = rich.live.Live

    def recorded(**options):
        return original(console=console, **options)

    monkeypatch.setattr(rich.live, "Live", recorded)
    with display.live() as show:
        show(replace(PROGRESS, best=None, front=[], curves=[]))
        show(replace(PROGRESS, best=0.8))
        show(PROGRESS)
    text = console.export_text()
    assert "12,000" in text
    assert "▁▄█" in text
    assert "[red]none x cp[/red]" in text
    assert "best so far  ▁█" in text


def _row(number, method, ranks, n_params, score, again) -> Row:
    report_score, report_std, n_retests = again
    return Row(
        number=number, state="complete", method=method, construction="none", decomposition="cp",
        ranks=ranks, n_params=n_params, head_params=0, score=score, report_score=report_score,
        report_std=report_std, step=1, seconds=1.0, reason="", n_retests=n_retests, bytes=0,
        extra_macs=0.0, peak_memory_mb=0.0, completed_at=0.0, settings={},
    )  # fmt: skip


def test_the_front_at_the_end(capsys):
    rows = [
        _row(4, "LoRA", "2", 12_000, 0.91, (0.9, 0.01, 2)),
        _row(2, "[b]odd", "1,1", 300, 0.8, (0.7, math.nan, 1)),
        _row(7, "LoTR", "1,1", 200, 0.5, (math.nan, math.nan, 0)),
    ]
    curves = {4: [(10, 0.5), (20, 0.91)], 2: [(20, 0.8)]}
    display.print_front(rows, curves, "accuracy")
    out = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert out[0] == "front (accuracy)"
    assert out[1].split() == "trial method ranks parameters select report rungs".split()
    assert out[2].split() == ["4", "LoRA", "2", "12,000", "0.9100", "0.9000", "±", "0.0100", "▁█"]
    assert out[3].split() == ["2", "[b]odd", "1,1", "300", "0.8000", "0.7000", "▆"]
    assert out[4].split() == ["7", "LoTR", "1,1", "200", "0.5000", "-"]


def test_no_front_says_what_helps(capsys):
    display.print_front([], {}, "accuracy")
    assert "--time-limit" in capsys.readouterr().out
