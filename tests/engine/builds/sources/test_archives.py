"""Contexts on standard input and from the web, in every compression; hostile ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builder import api
from builder.errors import BuildInputError, DownloadError
from builder.request import Material
from images.digest import Digest
from images.errors import ImagesError
from tests.engine.builds.sources.conftest import Builds, tar

FILES = {"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "a\n", "a": "1", "d/b": "2"}
SEEN = {".dockerignore", "Dockerfile", "a", "d/b"}

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


class Web:
    """Files by path; counts what is sent whole."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent = 0
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = web.files.get(self.path)
                tag = f'"{Digest.of(content or b"").hex}"'
                same = self.headers.get("If-None-Match") == tag
                web.sent += not same
                self.send_response(404 if content is None else 304 if same else 200)
                self.send_header("ETag", tag)
                body = b"" if content is None or same else content
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_an_archive_on_standard_input_is_the_context(builds: Builds, kind: str) -> None:
    result = builds.build("-", stdin=COMPRESSIONS[kind](tar(FILES)))
    assert set(builds.files(result)) == SEEN, "no ignore file counts here"
    assert builds.shown[0] == "[internal] load build context from standard input"


def test_the_same_archive_again_is_answered_from_its_record(builds: Builds) -> None:
    first = builds.build("-", stdin=tar(FILES))
    second = builds.build("-", stdin=gzip.compress(tar(FILES)))
    assert second.cached
    again = builds.build("-", stdin=tar(FILES))
    assert (again.descriptor, again.steps[0].reason) == (first.descriptor, api.WHOLE_BUILD)
    changed = builds.build("-", stdin=tar({**FILES, "a": "changed"}))
    assert builds.files(changed)["a"] == "changed"


def test_a_lone_dockerfile_on_standard_input(builds: Builds) -> None:
    assert builds.files(builds.build("-", stdin=b"FROM scratch\nCOPY <<x /f\nhi\nx\n")) == {
        "f": "hi\n"
    }
    with pytest.raises(BuildInputError, match="there is no build context"):
        builds.build("-", stdin=b"FROM scratch\nCOPY a /a\n")


def test_a_dockerfile_inside_an_archive_by_its_name(builds: Builds) -> None:
    files = {"docker/app.Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"}
    result = builds.build("-", "docker/app.Dockerfile", stdin=tar(files))
    assert set(builds.files(result)) == {"a"}
    assert "[internal] load build definition from app.Dockerfile" in builds.shown
    with pytest.raises(BuildInputError, match="there is no Dockerfile in standard input"):
        builds.build("-", stdin=tar(files))


def test_a_dockerfile_of_the_archive_is_no_way_out(builds: Builds, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("FROM scratch\nLABEL secret=1\n")
    link = tarfile.TarInfo("Dockerfile")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
    with pytest.raises(BuildInputError, match="there is no Dockerfile"):
        builds.build("-", stdin=tar({"a": "1"}, link))


@pytest.mark.parametrize(
    ("stdin", "file", "message"),
    [
        (b"", None, "standard input is empty"),
        (b"FROM scratch\n", "other", "ambiguous Dockerfile"),
        (b"FROM scratch\n", "-", "cannot be both"),
        (b"\0" * (9 << 20), None, "neither an archive nor a Dockerfile"),
    ],
    ids=["empty", "ambiguous", "both", "huge"],
)
def test_what_makes_no_sense_is_said(
    builds: Builds, stdin: bytes, file: str | None, message: str
) -> None:
    with pytest.raises(BuildInputError, match=message):
        builds.build("-", file, stdin=stdin)


def _member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    return member


@pytest.mark.parametrize(
    "hostile",
    [
        _member("../out"),
        _member("a/../../out"),
        _member("device", tarfile.CHRTYPE),
        _member("disk", tarfile.BLKTYPE),
        _member(".wh.a"),
        _member("d/.wh..wh..opq"),
        _member("hard", tarfile.LNKTYPE, "../../etc/passwd"),
    ],
    ids=["up", "deep-up", "character", "block", "whiteout", "opaque", "hardlink"],
)
def test_hostile_archives_are_refused(
    builds: Builds, tmp_path: Path, hostile: tarfile.TarInfo
) -> None:
    with pytest.raises(ImagesError):
        builds.build("-", stdin=tar(FILES, hostile))
    assert not list(tmp_path.rglob("out"))
    assert not list(tmp_path.glob("store/builder/sources/*/fs")), "nothing half done is kept"


def test_an_archive_cannot_write_through_its_own_links(builds: Builds, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    link = _member("l", tarfile.SYMTYPE, str(target))
    archive = tar({}, link)[:512] + tar({"l/out": "1", "Dockerfile": "FROM scratch\nCOPY . /\n"})
    with pytest.raises(ImagesError):
        builds.build("-", stdin=archive)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("kind", [kind for kind in COMPRESSIONS if kind != "plain"])
def test_a_damaged_archive_is_refused(builds: Builds, kind: str) -> None:
    whole = COMPRESSIONS[kind](tar(FILES))
    with pytest.raises(ImagesError):
        builds.build("-", stdin=whole[:-12])
    assert builds.build("-", stdin=whole).materials == ()


def test_an_archive_from_the_web_is_sent_once(builds: Builds, web: Web) -> None:
    web.files["/ctx.tar.gz"] = content = gzip.compress(tar(FILES))
    url = f"{web.url}/ctx.tar.gz"
    result = builds.build(url)
    assert set(builds.files(result)) == SEEN
    assert result.materials == (Material("http", url, str(Digest.of(content))),)
    again = builds.build(url)
    assert (again.steps[0].reason, again.materials) == (api.WHOLE_BUILD, result.materials)
    assert web.sent == 1


def test_a_dockerfile_from_the_web(builds: Builds, web: Web, tmp_path: Path) -> None:
    web.files["/Dockerfile"] = b"FROM scratch\nENV A=b\n"
    assert builds.files(builds.build(f"{web.url}/Dockerfile")) == {}
    web.files["/copying"] = b"FROM scratch\nCOPY a /a\n"
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx/a").write_text("1")
    result = builds.build(str(tmp_path / "ctx"), f"{web.url}/copying")
    assert builds.files(result) == {"a": "1"}
    assert "[internal] load build definition from copying" in builds.shown


def test_a_dockerfile_on_standard_input_for_a_context_elsewhere(builds: Builds, web: Web) -> None:
    web.files["/ctx.tar"] = tar({"a": "1"})
    result = builds.build(f"{web.url}/ctx.tar", "-", stdin=b"FROM scratch\nCOPY a /b\n")
    assert builds.files(result) == {"b": "1"}


def test_what_the_server_does_not_have(builds: Builds, web: Web) -> None:
    with pytest.raises(DownloadError, match="answered 404"):
        builds.build(f"{web.url}/absent.tar")
    with pytest.raises(BuildInputError, match="is no context"):
        builds.build("ftp://example.com/a")


def test_named_archives(builds: Builds, web: Web) -> None:
    web.files["/lib.tar"] = tar({"lib/x": "1", ".dockerignore": "*"})
    stdin = b"FROM scratch\nCOPY --from=lib /lib /\n"
    result = builds.build("-", None, f"lib={web.url}/lib.tar", stdin=stdin)
    assert builds.files(result) == {"x": "1"}
    assert [(it.kind, it.name) for it in result.materials] == [("http", "lib")]
    web.files["/text"] = b"no archive"
    with pytest.raises(BuildInputError, match="the named context lib is no archive"):
        builds.build("-", None, f"lib={web.url}/text", stdin=stdin)
