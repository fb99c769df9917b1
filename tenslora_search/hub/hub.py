"""Calls to the hub that answer soon: one line when it cannot be reached, what is already downloaded
still serves.
"""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from tenslora_search.hub.lines import one_line
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

PATIENCE_SECONDS = 5.0


@cache
def hub_reachable(endpoint: str) -> bool:
    """Whether anything useful answers at the address within PATIENCE_SECONDS; asked once a process.

    The libraries themselves try again for minutes. A name look-up takes no time limit, so a thread
    of its own is waited for.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(
                urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE_SECONDS
            ).close()
            answers.append(True)
        except urllib.error.HTTPError as error:
            answers.append(error.code not in (502, 503, 504))
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return bool(answers) and answers[0]


@contextmanager
def hub_calls(what: str) -> Iterator[None]:
    """Inside, the hub is asked for `what` ("model 'x'"); whatever goes wrong there is raised as one
    `QuestionError`.

    An unreachable hub is switched off at once (the libraries' offline mode), so only what is cached
    is found.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    endpoint = constants.ENDPOINT
    offline = constants.HF_HUB_OFFLINE
    reachable = not offline and hub_reachable(endpoint)
    try:
        _switch_offline(offline or not reachable)
        yield
    except QuestionError:
        raise
    except Exception as error:
        kinds = _causes(error)
        if not reachable:
            raise QuestionError(unreachable(what, endpoint, offline=offline)) from error
        if any(isinstance(cause, GatedRepoError) for cause in kinds):
            raise QuestionError(
                f"{what} on {endpoint} needs an accepted licence and a token (HF_TOKEN)."
            ) from error
        if any(isinstance(cause, RepositoryNotFoundError) for cause in kinds) or _not_found(error):
            instead = (
                "give local files with --data"
                if what.startswith("data")
                else "no local folder has that name"
            )
            raise QuestionError(f"no {what} on {endpoint}; {instead}.") from error
        raise QuestionError(f"cannot load {what} from {endpoint}: {one_line(error)}") from error
    finally:
        _switch_offline(offline)


def unreachable(what: str, endpoint: str, *, offline: bool = False) -> str:
    """The line for a hub that cannot be reached; it names what works without one."""
    local = ", ".join(name for name, task in TASKS.items() if not task.needs_network)
    why = "HF_HUB_OFFLINE is set" if offline else f"no answer from {endpoint}"
    return (
        f"{what} is not on this machine and the hub cannot be reached ({why}). "
        "Give local files with --data and a local model folder, or minilm, with --model; tasks "
        f"that need no network: {local}."
    )


def _switch_offline(offline: bool) -> None:
    """Set the offline mode of huggingface_hub, and of datasets where that is loaded."""
    import sys

    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = offline
    config = getattr(sys.modules.get("datasets"), "config", None)
    if config is not None:
        config.HF_HUB_OFFLINE = config.HF_DATASETS_OFFLINE = offline


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what it was raised from, outermost first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _not_found(error: BaseException) -> bool:
    return type(
        error
    ).__name__ == "DatasetNotFoundError" or "is not a valid model identifier" in str(error)
