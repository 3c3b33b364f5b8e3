"""`lading run` without the full command line: the same results, or none at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lading.main import main
from lading.quick_run import run_quickly


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("LADING_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.mark.parametrize(
    "line", ["--help", "--no-such-flag debian", "--pull always debian", "absent-image", ""]
)
def test_is_left_to_the_full_command(line):
    assert run_quickly(line.split()) is None


def test_errors_are_rendered_alike(capsys):
    line = ["--memory", "1k", "debian"]
    assert run_quickly(["--detach", *line]) == 125
    assert capsys.readouterr().err.startswith("lading: --detach: detached containers are not")


def test_a_missing_image_that_may_not_be_pulled(capsys):
    assert main(["run", "--pull", "never", "absent-image"]) == 125
    assert "No such image: absent-image:latest" in capsys.readouterr().err


def test_no_argument_parser_is_imported():
    program = (
        "import sys; from lading.main import main; main(['run', '--pull', 'never', 'absent']);"
        "heavy = {'click', 'asyncio', 'aiohttp', 'rich', 'lark', 'cryptography', 'subprocess'};"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
