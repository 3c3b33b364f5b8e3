"""The gates as tests: what `make lint type` checks also fails the test run."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
FILE_LIMIT, FUNCTION_LIMIT = 600, 80


def run_tool(*argv: str) -> None:
    process = subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True)
    if process.returncode != 0:
        pytest.fail(process.stdout + process.stderr, pytrace=False)


@pytest.mark.timeout(900)  # without its cache, and beside other tests, mypy takes minutes
@pytest.mark.parametrize(
    "argv",
    [
        ("-m", "ruff", "check", "."),
        ("-m", "ruff", "format", "--check", "."),
        ("-m", "mypy"),
        ("-c", "from importlinter.cli import lint_imports_command as c; c()"),
    ],
    ids=["ruff", "format", "mypy", "imports"],
)
def test_tool_is_content(argv: tuple[str, ...]) -> None:
    run_tool(*argv)


def source_files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes_stay_within_the_limits(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= FILE_LIMIT, f"{path} is too long: split it"
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path} needs a module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LIMIT, f"{path}:{node.lineno} {node.name} has {length} lines"


def module_names() -> list[str]:
    names = []
    for package in PACKAGES:
        names.append(package)
        found = pkgutil.walk_packages([str(ROOT / package)], prefix=f"{package}.")
        names.extend(info.name for info in found if not info.name.endswith("__main__"))
    return names


IMPORT_ALONE = """
import importlib, sys
ours, names = sys.argv[1].split(","), sys.argv[2:]
for name in names:
    for known in [module for module in sys.modules if module.partition(".")[0] in ours]:
        del sys.modules[known]
    importlib.import_module(name)
"""


@pytest.mark.timeout(900)
def test_every_module_imports_alone_without_a_warning() -> None:
    run_tool("-W", "error", "-c", IMPORT_ALONE, ",".join(PACKAGES), *module_names())


def test_the_wheel_lists_every_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert sorted(wheel["targets"]["wheel"]["packages"]) == sorted(PACKAGES)
    assert importlib.import_module("lading").__version__
