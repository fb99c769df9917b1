"""Where an option comes from that was not typed: the environment, or the file of --config."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tenslora_search.spec.table import QuestionError, shortened


@contextmanager
def origins_told(context: Any) -> Iterator[None]:
    """A `QuestionError` raised inside says where the option that it is about was said."""
    try:
        yield
    except QuestionError as error:
        error.args = (with_origins(str(error), context),)
        raise


def with_origins(message: str, context: Any) -> str:
    """The message, and where each option comes from that it names, or whose value it quotes."""
    told = [message if message.endswith((".", "?")) else f"{message}."]
    if context is None:
        return message
    for parameter in context.command.params:
        origin = _origin(parameter, context)
        value = context.params.get(parameter.name)
        flags = "|".join(map(re.escape, parameter.opts))
        is_named = re.search(rf"(?<![\w-])({flags})(?![\w-])", message)
        if origin and (is_named or (isinstance(value, str) and repr(value) in message)):
            told.append(f"{parameter.opts[0]} is from {origin}.")
    return " ".join(told)


def _origin(parameter: Any, context: Any) -> str:
    """ "" for an option that was typed, or left out."""
    source = getattr(context.get_parameter_source(parameter.name), "name", "")
    if source == "ENVIRONMENT":
        name = parameter.envvar or f"{context.auto_envvar_prefix}_{parameter.name.upper()}"
        return f"the environment, {name}={shortened(os.environ.get(name, ''))}"
    if source == "DEFAULT_MAP":
        return f"--config {context.params.get('config')}"
    return ""


def is_nothing_said(context: Any) -> bool:
    """Whether no option was typed, nor is in the environment or a file."""
    names = [one.name for one in context.command.params]
    said = (getattr(context.get_parameter_source(name), "name", "DEFAULT") for name in names)
    return all(one == "DEFAULT" for one in said)
