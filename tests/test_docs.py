"""The pages of docs/ are what they say: their commands run, small, as they stand there; their TOML
is read; their links lead somewhere.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from tenslora_search import cli
from tenslora_search.runs.config import load_config
from tenslora_search.runs.question import Question
from tenslora_search.study.space_file import declared

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
QUICK = "--trials 3 --max-steps 6 --batch-size 8 --retest 2 --executor inline --quiet".split()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """What is typed after `tenslora-search`, without redirections."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    typed = [re.split(r"\s#|\s>", line)[0] for line in lines]
    return [shlex.split(line)[1:] for line in typed if line.startswith("tenslora-search ")]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """run(page, **instead) -> what the page's commands print, in an empty folder; searches are
    small, and words may be others here. Each must end well.
    """
    monkeypatch.chdir(tmp_path)

    def typed(page: str, **instead: str) -> str:
        said = ""
        for words in commands(DOCS / page):
            words = [instead.get(word, word) for word in words]
            words += QUICK if words[0].startswith("--") else []
            monkeypatch.setattr(sys, "argv", ["tenslora-search", *words])
            with pytest.raises(SystemExit) as end:
                cli.main()
            printed = capsys.readouterr()
            assert not end.value.code, f"{words}: {printed.err}"
            said += printed.out
        return said

    return typed


def test_from_a_csv_to_a_served_adapter(run, reviews, tiny_bert, tmp_path):
    reviews.to_csv(tmp_path / "reviews.csv", index=False)
    run("csv-to-server.md", minilm=tiny_bert)
    for code in blocks(DOCS / "csv-to-server.md", "python"):
        exec(code, {})
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter", "served", "whole"}
    assert (tmp_path / "served" / "head.safetensors").is_file()


def test_a_papers_comparison(run, tmp_path):
    said = run("paper.md")
    assert r"\begin{tabular}" in said
    table = said[said.index("method,at most,mean parameters") :].splitlines()
    assert table[0].endswith(",of")
    assert {line.rpartition(",")[2] for line in table[1:] if line.count(",") > 5} == {"report"}
    assert (tmp_path / "compare.html").is_file()


def test_the_toml_of_the_pages(tmp_path):
    (space,) = blocks(DOCS / "spaces.md", "toml")
    (tmp_path / "mine.toml").write_text(space)
    assert "depth x tucker" in declared(tmp_path / "mine.toml").structures
    (config,) = blocks(DOCS / "pipelines.md", "toml")
    (tmp_path / "search.toml").write_text(config)
    said = load_config(tmp_path / "search.toml")
    means = {name: said.pop(name) for name in ("executor", "time_limit", "track")}
    assert means == {"executor": "inline", "time_limit": 7200.0, "track": ["tensorboard"]}
    assert "qkv_depth x tucker" in declared(Question.of(**said).space).structures


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_every_page_is_in_the_sites_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w-]+\.md", text))
    assert named == {page.name for page in DOCS.glob("*.md")}
    assert yaml.safe_load(text)["strict"] is True


def test_the_readme_fits_a_screen_or_two():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
