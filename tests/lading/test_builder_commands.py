"""``lading builder du`` and ``prune`` on a cache made by real builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lading.main import main


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("LADING_RUNTIME_DIR", str(tmp_path / "run"))
    context = tmp_path / "context"
    context.mkdir()
    (context / "a").write_text("a")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    assert main(["build", "-q", str(context)]) == 0
    assert main(["rmi", "--no-prune", capsys.readouterr().out.strip()]) == 0
    capsys.readouterr()


def output(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert main(["builder", *words]) == status
    return capsys.readouterr().out


def test_du_has_dockers_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "du").splitlines()
    assert lines[0].split() == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]
    rows = [json.loads(line) for line in output(capsys, "du", "--format", "json").splitlines()]
    listed = [row for row in rows if row["Type"] != "internal"]
    assert len(lines) == 3 + len(listed) < 3 + len(rows), "records are not listed"
    assert lines[-2].startswith("Reclaimable:\t")
    assert lines[-1].startswith("Total:\t")


def test_du_filters_and_formats(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "du", "--filter", "type=regular", "--format", "{{.Description}}")
    assert text == "[1/1] COPY a /a\n"
    assert "Type:\tinternal\n" in output(capsys, "du", "--verbose")
    output(capsys, "du", "--verbose", "--format", "json", status=125)
    output(capsys, "du", "--filter", "nonsense=1", status=1)


def test_a_malformed_bound_is_told_before_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LADING_BUILDER_MAX_USED_SPACE", "much")
    assert main(["build", "-t", "late", str(tmp_path / "context")]) != 0
    assert "LADING_BUILDER_MAX_USED_SPACE" in capsys.readouterr().err
    monkeypatch.delenv("LADING_BUILDER_MAX_USED_SPACE")
    assert main(["images", "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_prune_obeys_filters_and_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "prune", "-f", "--filter", "until=24h") == "Total:\t0B\n"
    assert output(capsys, "prune", "-f", "--keep-storage", "1g") == "Total:\t0B\n"
    assert "true" in output(capsys, "prune", "-f")
    assert output(capsys, "du", "--filter", "type=regular").endswith("Total:\t0B\n")
    output(capsys, "prune", "-af")
    assert output(capsys, "du", "--format", "json") == ""
