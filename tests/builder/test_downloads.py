"""ADD from a web server: a real one on the loopback, which counts what it is asked."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from builder.errors import DownloadError
from builder.plan.sources import file_name, is_git, is_url
from tests.builder.test_api import Site

DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


class Web:
    """Files by path, and the requests that came as (path, status) pairs."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, int]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = web.files.get(self.path)
                tag = f'"{hashlib.sha256(content or b"").hexdigest()}"'
                status = 404 if content is None else 200
                if content is not None and self.headers.get("If-None-Match") == tag:
                    status = 304
                web.asked.append((self.path, status))
                self.send_response(status)
                self.send_header("ETag", tag)
                self.send_header("Last-Modified", DATE)
                body = content if status == 200 and content is not None else b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def test_a_file_is_private_and_dated_by_its_server(site: Site, web: Web) -> None:
    web.files["/dir/tool.bin"] = b"bytes"
    site.put("Dockerfile", f"FROM scratch\nADD {web.url}/dir/tool.bin /opt/\n")
    node = site.tree(site.build()).lookup("/opt/tool.bin")
    assert node is not None
    assert node.status.st_mode & 0o7777 == 0o600
    assert node.status.st_mtime == 1_700_000_000
    assert site.store.check(rehash=True) == []


@pytest.mark.root
def test_mode_owner_and_name_can_be_told(site: Site, web: Web) -> None:
    web.files["/x"] = b"bytes"
    site.put("Dockerfile", f"FROM scratch\nADD --chmod=755 --chown=7:8 {web.url}/x /bin/tool\n")
    node = site.tree(site.build()).lookup("/bin/tool")
    assert node is not None
    assert node.status.st_mode & 0o7777 == 0o755
    assert (node.status.st_uid, node.status.st_gid) == (7, 8)


def test_an_unchanged_file_is_asked_for_but_not_sent_again(site: Site, web: Web) -> None:
    web.files["/x"] = b"bytes"
    site.put("Dockerfile", f"FROM scratch\nADD {web.url}/x /x\n")
    site.build()
    assert site.build().cached
    assert web.asked == [("/x", 200), ("/x", 304)]


def test_a_changed_file_is_added_again(site: Site, web: Web) -> None:
    web.files["/x"] = b"old"
    site.put("Dockerfile", f"FROM scratch\nADD {web.url}/x /x\n")
    site.build()
    web.files["/x"] = b"new"
    result = site.build()
    assert not result.cached
    with site.tree(result).open("/x") as file:
        assert file.read() == b"new"
    assert list(site.progress.reasons.values()) == [f"file {web.url}/x changed"]


def test_a_checksum_needs_the_network_once(site: Site, web: Web) -> None:
    web.files["/x"] = b"bytes"
    checksum = f"sha256:{hashlib.sha256(b'bytes').hexdigest()}"
    site.put("Dockerfile", f"FROM scratch\nADD --checksum={checksum} {web.url}/x /x\n")
    site.build()
    assert site.build().cached
    assert len(web.asked) == 1


def test_a_wrong_checksum_is_refused(site: Site, web: Web) -> None:
    web.files["/x"] = b"tampered"
    checksum = f"sha256:{hashlib.sha256(b'bytes').hexdigest()}"
    site.put("Dockerfile", f"FROM scratch\nADD --checksum={checksum} {web.url}/x /x\n")
    with pytest.raises(DownloadError) as caught:
        site.build()
    assert caught.value.where == "Dockerfile:2"
    assert site.store.images() == []
    assert site.store.check(rehash=True) == []


def test_a_missing_file_and_a_missing_server(site: Site, web: Web) -> None:
    site.put("Dockerfile", f"FROM scratch\nADD {web.url}/nothing /x\n")
    with pytest.raises(DownloadError, match="the server answered 404"):
        site.build()
    site.put("Dockerfile", "FROM scratch\nADD http://127.0.0.1:1/x /x\n")
    with pytest.raises(DownloadError, match="Connection refused"):
        site.build()


def test_an_archive_is_unpacked_only_when_asked(site: Site, web: Web) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as writer:
        info = tarfile.TarInfo("dir/file")
        info.size = 2
        writer.addfile(info, io.BytesIO(b"hi"))
    web.files["/a.tgz"] = archive.getvalue()
    url = f"{web.url}/a.tgz"
    site.put("Dockerfile", f"FROM scratch\nADD {url} /packed/\nADD --unpack=true {url} /open/\n")
    tree = site.tree(site.build())
    assert tree.listdir("/packed") == ["a.tgz"]
    assert tree.read_text("/open/dir/file") == "hi"
    assert len(web.asked) == 1


def test_local_and_remote_sources_together(site: Site, web: Web) -> None:
    web.files["/far%5B1%5D"] = b"far"
    site.put("near", "near")
    site.put("Dockerfile", f"FROM scratch\nADD near {web.url}/far%5B1%5D /d/\n")
    assert site.tree(site.build()).listdir("/d") == ["far[1]", "near"]


@pytest.mark.parametrize(
    ("source", "git", "url"),
    [
        ("https://x/y.git", True, False),
        ("https://x/y.git#v1:dir", True, False),
        ("https://x/y.git?tag=v1", True, False),
        ("git@x:y.git", True, False),
        ("ssh://x/y", True, False),
        ("HTTP://x/y.tgz", False, True),
        ("https://x/y.gitx", False, True),
        ("https://x/y?z=a.git", False, True),
        ("github.com/a/b", False, False),
    ],
)
def test_what_a_source_is(source: str, git: bool, url: bool) -> None:
    assert (is_git(source), is_url(source)) == (git, url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x/a/b.tgz", "b.tgz"),
        ("https://x/a%20b?q=1#f", "a b"),
        ("https://x/", "__unnamed__"),
        ("https://x", "__unnamed__"),
        ("https://x/a/..", "__unnamed__"),
        ("https://x/a%2F..%2Fb", "b"),
    ],
)
def test_file_names(url: str, name: str) -> None:
    assert file_name(url) == name
