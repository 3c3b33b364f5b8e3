"""What `docker buildx history export` wrote (buildx 0.36, BuildKit 0.32), taken in here."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.builds.history.archive import BuildUnknownError, Entry, entries, prune
from engine.builds.history.attachments import chosen, imported
from engine.builds.history.bundle import BundleError, bundled, read_bundle, take_in
from engine.builds.history.status_stream import Output, Vertex, Warned, messages
from images.platform import Platform

FILE = Path(__file__).parents[4] / "fixtures/history/buildx.dockerbuild"
"""A build for two platforms, and one that failed."""


@pytest.fixture
def imports(tmp_path: Path) -> dict[str, Entry]:
    take_in(str(tmp_path), read_bundle(FILE.read_bytes(), "x"))
    found = {}
    for entry in entries(str(tmp_path)):
        document = entry.document()
        assert document is not None
        found[document["name"]] = entry
    return found


def _document(entry: Entry) -> dict[str, Any]:
    document = entry.document()
    assert document is not None
    return document


def test_a_build_that_failed(imports: dict[str, Entry]) -> None:
    document = _document(imports["shop (broken)"])
    assert document["status"] == "failed"
    assert document["error"]["message"].endswith("did not complete successfully: exit code: 3")
    assert document["request"] == {"context": "/shop", "target": "broken"} | document["request"]
    steps = {step["name"]: step for step in document["steps"].values()}
    failed = steps["[broken 1/1] RUN echo out; echo err >&2; exit 3"]
    assert failed["outcome"] == "failed"
    assert [steps[name]["outcome"] for name in steps if "base" in name] == ["cached", "cached"]
    log = imports["shop (broken)"].log()
    assert {(line.step, line.stream, line.text) for line in log} == {
        (failed["number"], 1, "out\n"),
        (failed["number"], 2, "err\n"),
    }


def test_a_build_for_two_platforms(imports: dict[str, Entry]) -> None:
    document = _document(imports["shop:1"])
    assert document["status"] == "completed"
    assert document["request"]["platforms"] == ["linux/amd64", "linux/386"]
    assert document["request"]["args"] == {"TOKEN": "*****", "WHO": "me"}
    assert document["request"]["labels"] == {"l": "1"}
    assert document["definition"]["text"].startswith("FROM scratch AS base\n")
    assert [place for _, place in document["warnings"]] == ["Dockerfile:5", "Dockerfile:8"]
    for step in document["steps"].values():
        assert all(below < step["number"] for below in step["inputs"])


def test_what_it_made_comes_along(imports: dict[str, Entry]) -> None:
    entry = imports["shop:1"]
    found = imported(entry.attached())
    for name in ("linux/386", "linux/amd64"):
        stated = chosen(found, kind="provenance", digest=None, platform=Platform.parse(name))
        assert "buildDefinition" in json.loads(stated.raw)
    index = chosen(found, kind="index", digest=None, platform=None)
    assert str(index.digest) == _document(entry)["result"]["digest"]
    assert imported(imports["shop (broken)"].attached()) == ()
    with pytest.raises(BuildUnknownError):
        chosen(found, kind="sbom", digest=None, platform=None)


def test_it_goes_on_to_others_and_goes_away_whole(
    imports: dict[str, Entry], tmp_path: Path
) -> None:
    there = tmp_path / "there"
    take_in(str(there), read_bundle(json.dumps(bundled(imports.values())).encode(), "x"))
    moved = {entry.ref: entry for entry in entries(str(there))}
    for entry in imports.values():
        assert moved[entry.ref].document() == entry.document()
        assert moved[entry.ref].attached() == entry.attached()
    folder = Path(imports["shop:1"].stem).parent
    assert prune(str(folder), builds=0)[0] == 2
    assert list(folder.iterdir()) == []


def _again(change: Callable[[str, bytes], bytes | None]) -> bytes:
    """The archive with other files."""
    made = io.BytesIO()
    with (
        tarfile.open(FILE) as old,
        tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for member in old:
            file = old.extractfile(member)
            content = change(member.name, file.read()) if file is not None else b""
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return gzip.compress(made.getvalue())


def _in(name: str, content: bytes) -> Callable[[str, bytes], bytes | None]:
    return lambda found, old: content if found == name else old


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, old: old[:-1] if "blobs" in name else old, "has another content"),
        (lambda name, old: None if "blobs" in name else old, "the archive lacks"),
        (lambda name, old: None if name == "index.json" else old, "no index.json"),
        (_in("index.json", b"{"), "the archive is damaged"),
        (_in("index.json", b"[]"), "the archive is damaged"),
        (_in("index.json", b'{"manifests": [{"digest": "x", "mediaType": "y"}]}'), "damaged"),
        (_in("index.json", b"[" * 100_000), "not what it should be"),
    ],
)
def test_archives_that_do_not_hold_together(
    change: Callable[[str, bytes], bytes | None], message: str
) -> None:
    with pytest.raises(BundleError, match=message) as found:
        read_bundle(_again(change), "x.dockerbuild")
    assert found.value.where == "x.dockerbuild"


def test_archives_of_something_else(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        link = tarfile.TarInfo("index.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(BundleError, match=r"no index\.json"):
        read_bundle(made.getvalue(), "x")
    with pytest.raises(BundleError, match=r"no index\.json|damaged"):
        read_bundle(gzip.decompress(FILE.read_bytes())[:3000], "x")


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def _message(*fields: bytes) -> bytes:
    whole = b"".join(fields)
    return len(whole).to_bytes(4, "little") + whole


def test_the_progress_as_buildkit_stores_it() -> None:
    moment = b"\x08\xe8\x07\x10\x80\xca\xb5\xee\x01"
    vertex = _field(1, b"d") + _field(2, b"below") + _field(3, b"name") + _field(5, moment)
    stream = _message(_field(1, vertex + b"\x20\x01"), _field(2, b"ignored"))
    line = _field(1, b"d") + _field(2, moment) + b"\x18\x02" + _field(4, b"\xff")
    place = _field(7, _field(1, b"\x08\x03"))
    info = _field(6, _field(1, b"Dockerfile") + _field(2, b"FROM x"))
    stream += _message(_field(3, line)) + _message(_field(4, _field(3, b"bad") + info + place))
    assert list(messages(stream)) == [
        Vertex("d", "name", ("below",), cached=True, started=1000.5),
        Output("d", 1000.5, 2, b"\xff"),
        Warned("bad", "Dockerfile", b"FROM x", 3),
    ]
