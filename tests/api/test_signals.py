"""Signals: what ends a search, and how fast."""

import contextlib
import os
import signal
import threading
import time

import pytest

from tenslora_search.api.search import search
from tenslora_search.api.signals import OutOfTime, Signals, Stopped


@pytest.fixture
def heard() -> list[bool]:
    return []


@pytest.mark.parametrize(
    ("number", "at_once"), [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGHUP, True)]
)
def test_a_search_that_runs_is_stopped(heard, number, at_once):
    with Signals() as signals:
        signals.stop = lambda *, at_once=False: heard.append(at_once)
        os.kill(os.getpid(), number)
    assert heard == [at_once]
    assert signals.received == number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_before_there_is_anything_to_report_it_just_ends(number):
    with pytest.raises(Stopped, match=f"ended by {number.name}") as error, Signals():
        os.kill(os.getpid(), number)
    assert error.value.signal == number


def test_handlers_are_given_back_and_taken_again(heard):
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        signals.stop = lambda *, at_once=False: heard.append(at_once)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a library does
        signals.listen()
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_hears_none():
    errors = []

    def enters():
        try:
            with Signals() as signals:
                signals.listen()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=enters)
    thread.start()
    thread.join()
    assert errors == []


def read_on() -> None:
    """Catches errors on the way, as readers of files do."""
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.01)


def test_what_takes_longer_than_the_limit_ends_there():
    with Signals() as signals:
        with signals.within(60.0):
            pass
        with pytest.raises(OutOfTime, match="over before data and model"), signals.within(0.05):
            read_on()
        time.sleep(0.1)
    assert OutOfTime.exit_code == 4


def test_the_limit_counts_while_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tenslora_search.data.task.load_task", lambda **asked: read_on())
    began = time.monotonic()
    with pytest.raises(OutOfTime):
        search("digits", budget="4k", time_limit=0.3, executor="inline", out=tmp_path / "run")
    assert time.monotonic() - began < 30
    assert not (tmp_path / "run" / "run.json").exists()
