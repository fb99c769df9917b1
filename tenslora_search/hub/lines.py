"""one_line(): another library's error in one line."""


def one_line(error: BaseException) -> str:
    """The error's first line that says something, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 240 else text[:237] + "..."
