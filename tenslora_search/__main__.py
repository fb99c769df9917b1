"""`python -m tenslora_search` is the command `tenslora-search`."""

from tenslora_search.cli import main

if __name__ == "__main__":
    main()
