"""ADD of repositories, and of files behind a token: in whole builds, from real servers."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from builder import api
from builder.errors import BuildInputError, DownloadError
from builder.request import BuildResult, Material
from builder.secrets import Secret
from tests.builder.sources.git_site import GitSite, Repository
from tests.builder.test_api import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def add(site: Site, source: str, *flags: str, **options: Any) -> BuildResult:
    words = " ".join(("ADD", *flags, source, "/src"))
    return site.build(dockerfile=f"FROM scratch\n{words}\n".encode(), **options)


def test_a_repository_becomes_a_directory(
    site: Site, git_site: GitSite, repository: Repository
) -> None:
    commit = repository.commit({"a/b": "1", "run.sh": "#!/bin/sh\n"})
    (repository.path / "run.sh").chmod(0o755)
    commit = repository.commit({"c": "2"})
    result = add(site, f"{git_site.url}/repo.git#main")
    tree = site.tree(result)
    assert tree.listdir("/src") == ["a", "c", "run.sh"]
    script = tree.lookup("/src/run.sh")
    assert script is not None
    assert (script.status.st_mode & 0o7777, script.status.st_uid) == (0o755, 0)
    uri = f"{git_site.url}/repo.git#main"
    assert result.materials == (Material("git", uri, f"sha1:{commit}"),)


def test_a_directory_of_it_and_its_git_directory(
    site: Site, git_site: GitSite, repository: Repository
) -> None:
    repository.commit({"a/b": "1", "c": "2"})
    url = f"{git_site.url}/repo.git"
    assert site.tree(add(site, f"{url}#main:a")).listdir("/src") == ["b"]
    kept = site.tree(add(site, f"{url}#main", "--keep-git-dir=true"))
    assert kept.listdir("/src") == [".git", "a", "c"]
    by_query = site.tree(add(site, f"{url}?keep-git-dir=true"))
    assert ".git" in by_query.listdir("/src")


def test_excluded_files_and_owners(site: Site, git_site: GitSite, repository: Repository) -> None:
    repository.commit({"a.md": "1", "b": "2"})
    flags = ("--exclude=*.md", "--chown=7:8")
    tree = site.tree(add(site, f"{git_site.url}/repo.git", *flags))
    assert tree.listdir("/src") == ["b"]
    node = tree.lookup("/src/b")
    assert node is not None
    if os.geteuid() == 0:
        assert (node.status.st_uid, node.status.st_gid) == (7, 8)


def test_a_moved_branch_is_seen_and_a_commit_is_not_asked_for(
    site: Site, git_site: GitSite, repository: Repository
) -> None:
    commit = repository.commit({"a": "1"})
    branch, fixed = f"{git_site.url}/repo.git#main", f"{git_site.url}/repo.git#{commit}"
    add(site, branch)
    assert add(site, branch).cached
    add(site, fixed)
    git_site.asked.clear()
    assert add(site, fixed).steps[0].reason == api.WHOLE_BUILD
    assert git_site.asked == []
    repository.commit({"a": "2"})
    assert site.tree(add(site, branch)).read_text("/src/a") == "2"


def test_a_checksum_is_how_the_commit_begins(
    site: Site, git_site: GitSite, repository: Repository
) -> None:
    commit = repository.commit({"a": "1"})
    url = f"{git_site.url}/repo.git#main"
    assert site.tree(add(site, url, f"--checksum={commit[:9]}")).read_text("/src/a") == "1"
    with pytest.raises(DownloadError, match="expected a commit that begins with 000") as caught:
        add(site, url, "--checksum=000")
    assert caught.value.where == "Dockerfile:2"
    with pytest.raises(BuildInputError, match="invalid checksum"):
        add(site, url, "--checksum=sha256:" + "0" * 64)


def test_a_secret_opens_it(site: Site, git_site: GitSite, repository: Repository) -> None:
    repository.commit({"a": "1"})
    git_site.wanted = "Bearer t0ken"
    url = f"{git_site.url}/repo.git"
    with pytest.raises(DownloadError, match="git failed"):
        add(site, url)
    secrets = (Secret("GIT_AUTH_HEADER", b"Bearer t0ken"),)
    result = add(site, url, secrets=secrets)
    assert site.tree(result).read_text("/src/a") == "1"
    shown = repr(site.progress.events)
    assert "t0ken" not in shown


def test_malformed_urls_are_blamed_on_their_line(site: Site) -> None:
    with pytest.raises(BuildInputError, match='unexpected query "x"') as caught:
        add(site, "https://example.com/a.git?x=1")
    assert caught.value.where == "Dockerfile:2"


class Doors:
    """Two hosts of one machine; ``/moved`` of the first leads to ``/file`` of the second."""

    def __init__(self) -> None:
        self.seen: dict[str, str | None] = {}
        doors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host = self.headers["Host"]
                doors.seen[host + self.path] = self.headers.get("Authorization")
                moved = self.path == "/moved"
                closed = self.path == "/closed" and "Authorization" not in self.headers
                self.send_response(302 if moved else 401 if closed else 200)
                if moved:
                    self.send_header("Location", f"{doors.url('localhost')}/file")
                self.send_header("Content-Length", "0" if moved or closed else "2")
                self.end_headers()
                self.wfile.write(b"" if moved or closed else b"hi")

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def host(self, name: str = "127.0.0.1") -> str:
        return f"{name}:{self.server.server_port}"

    def url(self, name: str = "127.0.0.1") -> str:
        return f"http://{self.host(name)}"


@pytest.fixture
def doors() -> Iterator[Doors]:
    made = Doors()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def test_a_token_is_for_its_host_alone(site: Site, doors: Doors) -> None:
    secrets = (Secret(f"HTTP_AUTH_TOKEN_{doors.host()}", b"t0ken"),)
    add(site, f"{doors.url()}/closed", secrets=secrets)
    assert doors.seen == {f"{doors.host()}/closed": "Bearer t0ken"}
    add(site, f"{doors.url()}/moved", secrets=secrets)
    assert doors.seen[f"{doors.host()}/moved"] == "Bearer t0ken"
    assert doors.seen[f"{doors.host('localhost')}/file"] is None


def test_each_host_of_a_redirect_gets_its_own(site: Site, doors: Doors) -> None:
    secrets = (
        Secret(f"HTTP_AUTH_TOKEN_{doors.host()}", b"one"),
        Secret(f"HTTP_AUTH_HEADER_{doors.host('localhost')}", b"Custom two"),
    )
    result = add(site, f"{doors.url()}/moved", secrets=secrets)
    assert doors.seen[f"{doors.host('localhost')}/file"] == "Custom two"
    digest = f"sha256:{hashlib.sha256(b'hi').hexdigest()}"
    assert result.materials == (Material("http", f"{doors.url()}/moved", digest),)


def test_a_closed_door_says_which_secret_opens_it(site: Site, doors: Doors) -> None:
    with pytest.raises(DownloadError, match="the server answered 401") as caught:
        add(site, f"{doors.url()}/closed")
    assert f"HTTP_AUTH_TOKEN_{doors.host()}" in (caught.value.fix or "")


def test_a_password_of_a_url_is_neither_shown_nor_in_the_history(site: Site, doors: Doors) -> None:
    url = doors.url().replace("://", "://me:hunter2@")
    result = add(site, f"{url}/closed")
    assert (doors.seen[f"{doors.host()}/closed"] or "").startswith("Basic ")
    assert "hunter2" not in repr((site.progress.names, result.steps, result.materials))
    image = site.store.image(result.descriptor)
    assert b"hunter2" not in image.config.raw
    assert image.config.history[0].created_by == f"ADD {doors.url()}/closed /src # buildkit"
