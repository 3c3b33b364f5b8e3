"""``lading history builds`` beyond this machine's terminal: bundles, traces, the browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def built(lading: Run, tmp_path: Path) -> Run:
    """Two builds."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /a\n")
    for tag in ("shop:1", "shop:2"):
        assert lading("build", "-t", tag, folder)[0] == 0
    return lading


def test_a_bundle_goes_to_another_store(
    built: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "builds.json"
    assert built("history", "builds", "export", "--all", "-o", bundle)[0] == 0
    listed = built("history", "builds", "ls", "-q")[1].split()
    log = built("history", "builds", "logs", listed[1])[1]
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "elsewhere"))
    status, out, _ = built("history", "builds", "import", "-f", bundle)
    assert (status, sorted(out.split())) == (0, sorted(listed))
    assert built("history", "builds", "ls", "-q")[1].split() == listed
    assert built("history", "builds", "logs", listed[1])[1] == log
    status, out, err = built("history", "builds", "import", "-f", bundle)
    assert (status, out, err) == (0, "", "2 were on record already\n")


def test_several_builds_are_chosen(built: Run) -> None:
    told = json.loads(built("history", "builds", "export", "^0", "^1")[1])
    assert [one["name"] for one in told["builds"]] == ["shop:2", "shop:1"]


@pytest.mark.parametrize(
    "argv",
    [
        ("export", "--all", "^0"),
        ("export", "--html", "^0", "^1"),
        ("import", "bundle.json"),
        ("import", "-f", "x", "-"),
        ("trace", "-o", "x"),
        ("trace", "--addr", "here"),
        ("trace", "--addr", "127.0.0.1:99999"),
        ("trace", "--addr", "198.51.100.1:80"),
        ("ls", "--filter", "duration=1"),
    ],
)
def test_mistakes(built: Run, argv: tuple[str, ...]) -> None:
    status, out, err = built("history", "builds", *argv)
    assert status in (1, 125)
    assert out == ""
    assert err.startswith("lading: ")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b'{"format": 1, "builds": [{}]}'])
def test_files_that_are_no_bundles(built: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    status, out, err = built("history", "builds", "import", "-f", tmp_path / "x")
    assert (status, out) == (1, "")
    assert str(tmp_path / "x") in err
    assert built("history", "builds", "import", "-f", tmp_path / "none")[0] == 1


def test_a_trace_for_programs(built: Run, tmp_path: Path) -> None:
    told = json.loads(built("history", "builds", "trace", "--format", "otlp")[1])
    (resource,) = told["resourceSpans"]
    assert resource["scopeSpans"][0]["spans"][0]["name"] == "build shop:2"
    path = tmp_path / "trace.json"
    words = ("trace", "^1", "--compare", "^0", "--format", "otlp", "-o", path)
    assert built("history", "builds", *words)[0] == 0
    assert len(json.loads(path.read_text())["resourceSpans"]) == 2


def test_pages_are_served_until_the_end(built: Run, tmp_path: Path) -> None:
    environment = {**os.environ, "BROWSER": "true"}
    command = [sys.executable, "-m", "lading", "history", "builds", "trace", "--compare", "^1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout is not None
            places = [process.stdout.readline().strip() for _ in range(3)]
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", places[0])
            pages = [_fetched(place) for place in places]
            assert "shop:2" in pages[0]
            assert "shop:1" in pages[1]
            assert len(json.loads(pages[2])["resourceSpans"]) == 2
            with pytest.raises(urllib.error.HTTPError) as missing:
                _fetched(places[0] + "../../etc/passwd")
            missing.value.close()
            assert missing.value.code == 404
        finally:
            process.terminate()


def _fetched(place: str) -> str:
    with urllib.request.urlopen(place, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def test_a_report_opens_in_the_browser(built: Run, tmp_path: Path) -> None:
    told = tmp_path / "told"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {told}\n')
    browser.chmod(0o755)
    environment = {**os.environ, "BROWSER": str(browser), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "lading", "history", "builds", "open", "^1"]
    done = subprocess.run(command, capture_output=True, env=environment, text=True, check=True)
    page = Path(done.stdout.strip())
    assert "shop:1" in page.read_text()
    assert told.read_text().strip() == page.as_uri()


def test_attachments(built: Run, tmp_path: Path) -> None:
    assert built("build", "--provenance", "--attest-as=index", tmp_path / "shop")[0] == 0
    manifest = json.loads(built("history", "builds", "attachment", "^0", "--type", "manifest")[1])
    assert manifest["schemaVersion"] == 2
    digest = manifest["config"]["digest"]
    config = json.loads(built("history", "builds", "attachment", "^0", digest)[1])
    assert config["rootfs"]["type"] == "layers"
    stated = json.loads(built("history", "builds", "attachment", "--type", "provenance")[1])
    assert stated["predicateType"] == "https://slsa.dev/provenance/v1"
    assert built("history", "builds", "attachment", "--type", "index")[0] == 0
    for words in (("--type", "sbom"), ("^0", "sha256:00"), ("--platform", "linux/s390x")):
        status, out, err = built("history", "builds", "attachment", *words)
        assert (status, out) == (1, "")
        assert "no such attachment" in err


def test_attachments_of_builds_that_made_nothing_or_whose_image_went(
    built: Run, tmp_path: Path
) -> None:
    assert built("build", "--target", "nowhere", tmp_path / "shop")[0] == 1
    assert "made no image" in built("history", "builds", "attachment")[2]
    assert built("rmi", "shop:1", "shop:2")[0] == 0
    assert built("system", "prune", "--all", "--force")[0] == 0
    status, _, err = built("history", "builds", "attachment", "^1")
    assert (status, "not in the store any more" in err) == (1, True)
