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
    """A usage error, with a hint where a second value of an option was taken for a command.

    >>> with_commas("No such command 'LoTR'.", ["--methods", "LoRA", "LoTR"])
    "No such command 'LoTR'. Several values of an option have commas between: LoRA,LoTR."
    """
    place = next((k for k, word in enumerate(words) if repr(word) in message), 0)
    if not message.startswith("No such command") or place < 2 or words[place - 2][:2] != "--":
        return message
    values = ",".join(words[place - 1 : place + 1])
    return f"{message} Several values of an option have commas between: {values}."
