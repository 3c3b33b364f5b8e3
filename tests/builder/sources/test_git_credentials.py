"""Secrets for repositories: they open their own host's, and are seen by nobody else."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import BuildInputError, DownloadError
from builder.sources.credentials import Credentials
from builder.sources.git import GitRepositories
from builder.sources.git_program import Git
from builder.sources.git_url import parse_git_url
from tests.builder.sources.git_site import GitSite, Repository

TOKEN = "s3cret-token"
BASIC = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


def read(tmp_path: Path, text: str, **secrets: str) -> list[str]:
    """The names of the checked out files; ``__`` in a secret's name stands for a dot."""
    named = {name: value.encode() for name, value in secrets.items()}
    repositories = GitRepositories(tmp_path / "state", Credentials(named))
    url = parse_git_url(text)
    assert url is not None
    with repositories.checkout(url, repositories.resolve(url), keep_git_dir=False) as tree:
        return sorted(path.name for path in tree.iterdir())


@pytest.fixture
def other(tmp_path: Path) -> Iterator[GitSite]:
    site = GitSite(tmp_path / "other")
    yield site
    site.close()


@pytest.fixture
def closed(git_site: GitSite, repository: Repository) -> GitSite:
    """A site that opens for the token alone."""
    repository.commit({"a": "1"})
    git_site.wanted = BASIC
    return git_site


def test_a_token_opens_a_repository(closed: GitSite, tmp_path: Path) -> None:
    assert read(tmp_path, f"{closed.url}/repo.git", GIT_AUTH_TOKEN=TOKEN) == ["a"]


def test_the_secret_of_the_host_goes_before_the_common_one(closed: GitSite, tmp_path: Path) -> None:
    secrets = {"GIT_AUTH_TOKEN": "wrong", f"GIT_AUTH_TOKEN.{closed.host}": TOKEN}
    assert read(tmp_path, f"{closed.url}/repo.git", **secrets) == ["a"]
    header = {f"GIT_AUTH_HEADER.{closed.host}": BASIC, f"GIT_AUTH_TOKEN.{closed.host}": "wrong"}
    assert read(tmp_path / "again", f"{closed.url}/repo.git", **header) == ["a"]


def test_a_password_of_the_url_travels_in_a_header(closed: GitSite, tmp_path: Path) -> None:
    address = closed.url.replace("://", f"://x-access-token:{TOKEN}@")
    assert read(tmp_path, f"{address}/repo.git") == ["a"]
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in kept)


def test_without_one_the_error_says_what_to_pass(closed: GitSite, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        read(tmp_path, f"{closed.url}/repo.git")
    assert "GIT_AUTH_TOKEN" in (caught.value.fix or "")


def test_a_wrong_one_is_not_repeated(closed: GitSite, tmp_path: Path) -> None:
    address = closed.url.replace("://", "://me:hunter2@")
    with pytest.raises(DownloadError) as caught:
        read(tmp_path, f"{address}/repo.git", GIT_AUTH_TOKEN="wrong-token")
    assert "hunter2" not in str(caught.value)
    assert "wrong-token" not in str(caught.value)


def test_a_redirect_is_not_followed_with_a_secret(
    closed: GitSite, other: GitSite, tmp_path: Path
) -> None:
    closed.moved = other.url
    with pytest.raises(DownloadError):
        read(tmp_path, f"{closed.url}/repo.git", GIT_AUTH_TOKEN=TOKEN)
    assert other.asked == []


def test_submodules_elsewhere_do_not_get_it(
    closed: GitSite, other: GitSite, repository: Repository, tmp_path: Path
) -> None:
    Repository(other.root / "lib.git").commit({"lib": "1"})
    repository.git("submodule", "add", "--quiet", f"{other.url}/lib.git", "lib")
    repository.commit({"b": "2"})
    other.authorizations.clear()
    assert "lib" in read(tmp_path, f"{closed.url}/repo.git", GIT_AUTH_TOKEN=TOKEN)
    assert set(other.authorizations) == {None}
    assert BASIC in closed.authorizations


def test_none_is_sent_over_a_plain_connection_elsewhere() -> None:
    credentials = Credentials({"GIT_AUTH_TOKEN": b"t", "HTTP_AUTH_TOKEN_example.com": b"t"})
    assert credentials.for_git("http://example.com/a.git") is None
    assert credentials.for_git("https://example.com/a.git") is not None
    assert credentials.for_http("http://example.com/a") is None
    assert credentials.for_http("https://example.com/a") == "Bearer t"
    assert credentials.for_http("https://other.example/a") is None


def test_a_secret_is_one_line() -> None:
    with pytest.raises(BuildInputError, match="secret GIT_AUTH_TOKEN cannot stand in a header"):
        Credentials({"GIT_AUTH_TOKEN": b"a\r\nX-Evil: 1"}).for_git("https://example.com/a.git")
    assert "hunter2" not in repr(Credentials({"GIT_AUTH_TOKEN": b"hunter2"}))


def test_arguments_hold_no_secret(tmp_path: Path) -> None:
    program = tmp_path / "git"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.args"; env > "$0.env"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AWS_SECRET": "x"}
    git = Git("https://example.com/a.git", header=f"Bearer {TOKEN}", environment=environment)
    git("ls-remote", "--", "https://example.com/a.git")
    assert "GIT_CONFIG_VALUE_0" in (tmp_path / "git.env").read_text()
    assert TOKEN in (tmp_path / "git.env").read_text()
    git("status", protocols="file")
    assert TOKEN not in (tmp_path / "git.args").read_text()
    seen = (tmp_path / "git.env").read_text()
    assert TOKEN not in seen, "a command that reaches no server needs no secret"
    assert "AWS_SECRET" not in seen
