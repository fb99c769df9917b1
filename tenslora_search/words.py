"""The words of a command, before its options are told apart."""

from itertools import islice

from tenslora_search.spec.table import QuestionError


def check_words(words: list[str]) -> None:
    """`QuestionError` for an empty word, but for ranks of a decomposition without bonds: as a path
    it would be the current folder.
    """
    for before, word in zip(["", *words], words, strict=False):
        name = before if not word else word[:-1] if word[:2] == "--" and word[-1] == "=" else ""
        if name and name != "--ranks":
            raise QuestionError(f"{name} is followed by an empty text; is a variable not set?")


def plugins_first(words: list[str]) -> list[str]:
    """The words of a command, those of --plugin before its verb, wherever they were typed.

    >>> plugins_first(["count", "--plugin", "my.py", "--ranks", "2"])
    ['--plugin', 'my.py', 'count', '--ranks', '2']
    """
    first, rest, left = list[str](), list[str](), iter(words)
    for word in left:
        if word == "--plugin":
            first += [word, *islice(left, 1)]
        else:
            (first if word.startswith("--plugin=") else rest).append(word)
    return first + rest


def with_commas(message: str, words: list[str]) -> str:
    """A usage error, with a hint where a second method was taken for a command, and none is near.

    >>> with_commas("No such command 'LoTR'.", ["--methods", "LoRA", "LoTR"])
    "No such command 'LoTR'. Several methods have commas between: LoRA,LoTR."
    >>> with_commas("No such command 'tabel'.", ["--budget", "20k", "tabel"])
    "No such command 'tabel'."
    """
    place = next((k for k, word in enumerate(words) if repr(word) in message), 0)
    is_second = place >= 2 and words[place - 2] == "--methods"
    if not message.startswith("No such command") or "Did you mean" in message or not is_second:
        return message
    values = ",".join(words[place - 1 : place + 1])
    return f"{message} Several methods have commas between: {values}."
