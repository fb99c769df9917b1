"""Imports point one way, and the specs stand on the standard library alone."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = sorted(
    f"tenslora_search.spec.{path.stem}"
    for path in (ROOT / "tenslora_search" / "spec").glob("[a-z]*.py")
)
HEAVY = (
    "torch",
    "numpy",
    "pandas",
    "optuna",
    "ray",
    "transformers",
    "datasets",
    "scipy",
    "sklearn",
    "typer",
    "rich",
)


def loaded_after(code: str, *names: str) -> list[str]:
    """Which of the named packages a fresh interpreter has loaded after `code`."""
    program = f"import sys\n{code}\nprint(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout.split()


def test_import_contracts(monkeypatch):
    lint = pytest.importorskip("importlinter.cli")
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)  # it silences loggers
    assert lint.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_spec_needs_the_standard_library_alone():
    assert loaded_after("\n".join(f"import {name}" for name in SPEC), *HEAVY) == []


def test_the_public_names_that_count_need_no_torch():
    code = (
        "from tenslora_search import AdapterSpec, Geometry\n"
        "geometry = Geometry.attention(hidden=768, heads=12, layers=12)\n"
        "assert AdapterSpec.of('qkv_depth', 'tucker', (59, 59, 3, 12), geometry).n_params == 216093"
    )
    assert loaded_after(code, *HEAVY) == []


def test_an_adapter_is_loaded_by_torch_safetensors_and_opt_einsum_alone():
    others = (
        "ray", "optuna", "datasets", "pandas", "sklearn", "scipy", "matplotlib", "typer", "rich",
        "transformers", "huggingface_hub", "PIL",
    )  # fmt: skip
    assert loaded_after("from tenslora_search import attach, load_adapter", *others) == []


def test_the_report_needs_neither_torch_nor_ray():
    pytest.importorskip("tenslora_search.report.build")
    assert (
        loaded_after(
            "import tenslora_search.report.build", "torch", "ray", "optuna", "transformers"
        )
        == []
    )
