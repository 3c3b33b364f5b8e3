"""Repositories of a real git server: which commit a URL means, what is fetched and checked out."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from builder.errors import BuildCancelledError, BuildInputError, DownloadError
from builder.sources.credentials import Credentials
from builder.sources.git import GitRepositories
from builder.sources.git_url import GitUrl, parse_git_url
from tests.builder.sources.git_site import DATE, GitSite, Repository


def parsed(text: str) -> GitUrl:
    url = parse_git_url(text, local=True)
    assert url is not None
    return url


@pytest.fixture
def repositories(tmp_path: Path) -> GitRepositories:
    return GitRepositories(tmp_path / "state", Credentials())


def read(repositories: GitRepositories, text: str, *, keep_git_dir: bool = False) -> dict[str, str]:
    """The checked out files by path, without those of a ``.git``."""
    url = parsed(text)
    commit = repositories.resolve(url)
    with repositories.checkout(url, commit, keep_git_dir=keep_git_dir) as tree:
        files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
        names = {str(path.relative_to(tree)): path for path in files}
        return {name: path.read_text() for name, path in names.items() if ".git/" not in name}


def test_head_a_branch_a_tag_and_a_commit(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    first = repository.commit({"a": "1"})
    repository.git("tag", "-a", "v1", "-m", "one")
    repository.git("checkout", "--quiet", "-b", "feature/x")
    repository.commit({"a": "2"})
    repository.git("checkout", "--quiet", "main")
    repository.commit({"a": "3"})
    url = f"{git_site.url}/repo.git"
    assert read(repositories, url) == {"a": "3"}
    assert read(repositories, f"{url}#feature/x") == {"a": "2"}
    assert read(repositories, f"{url}?branch=feature/x") == {"a": "2"}
    assert read(repositories, f"{url}#v1") == {"a": "1"}
    assert read(repositories, f"{url}#refs/tags/v1") == {"a": "1"}
    assert read(repositories, f"{url}#{first}") == {"a": "1"}


def test_a_branch_goes_before_a_tag_of_its_name(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    repository.commit({"a": "tag"})
    repository.git("tag", "both")
    repository.git("branch", "both")
    repository.git("checkout", "--quiet", "both")
    repository.commit({"a": "branch"})
    assert read(repositories, f"{git_site.url}/repo.git#both") == {"a": "branch"}
    assert read(repositories, f"{git_site.url}/repo.git?tag=both") == {"a": "tag"}


def test_a_directory_of_it(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    repository.commit({"docker/app/f": "1", "other": "2"})
    url = f"{git_site.url}/repo.git"
    assert read(repositories, f"{url}#main:docker") == {"app/f": "1"}
    with pytest.raises(BuildInputError, match="nowhere is not a directory of the repository"):
        read(repositories, f"{url}#main:nowhere")
    with pytest.raises(BuildInputError, match="other is not a directory"):
        read(repositories, f"{url}#main:other")


def test_a_link_is_no_way_out(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    (repository.path / "out").symlink_to("/etc")
    repository.commit({"a": "1"})
    with pytest.raises(BuildInputError, match="out is not a directory of the repository"):
        read(repositories, f"{git_site.url}/repo.git#main:out")


def test_a_second_build_fetches_nothing(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    commit = repository.commit({"a": "1"})
    url = f"{git_site.url}/repo.git"
    read(repositories, f"{url}#main")
    git_site.asked.clear()
    assert read(repositories, f"{url}#{commit}") == {"a": "1"}
    assert git_site.asked == []
    read(repositories, f"{url}#main")
    assert not any("git-upload-pack" in path and "service" in path for path in git_site.asked[1:])
    repository.commit({"a": "2"})
    assert read(repositories, f"{url}#main") == {"a": "2"}


def test_a_checksum_holds_the_ref(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    commit = repository.commit({"a": "1"})
    url = f"{git_site.url}/repo.git"
    assert read(repositories, f"{url}?checksum={commit[:7]}#main") == {"a": "1"}
    repository.commit({"a": "2"})
    with pytest.raises(DownloadError, match=f"expected a commit that begins with {commit[:7]}"):
        read(repositories, f"{url}?checksum={commit[:7]}#main")
    by_commit = f"{url}?checksum={commit}&fetch-by-commit=true#main"
    assert read(repositories, by_commit) == {"a": "1"}


@pytest.mark.parametrize("url", ["repo.git#nothing", "absent.git", f"repo.git#{'0' * 40}"])
def test_what_is_not_there_is_said(
    git_site: GitSite, repository: Repository, repositories: GitRepositories, url: str
) -> None:
    repository.commit({"a": "1"})
    with pytest.raises(DownloadError) as caught:
        read(repositories, f"{git_site.url}/{url}")
    assert caught.value.what.startswith(git_site.url)
    assert caught.value.fix


def test_the_git_directory_is_kept_on_request(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    commit = repository.commit({"a": "1"})
    url = parsed(f"{git_site.url}/repo.git#main")
    with repositories.checkout(url, repositories.resolve(url), keep_git_dir=False) as tree:
        assert sorted(path.name for path in tree.iterdir()) == ["a"]
    with repositories.checkout(url, repositories.resolve(url), keep_git_dir=True) as tree:
        assert (tree / ".git/refs/heads/main").read_text().strip() == commit
        assert f"url = {url.remote}" in (tree / ".git/config").read_text()
        assert (tree / ".git/HEAD").read_text() == "ref: refs/heads/main\n"


def test_submodules_come_with_it_unless_they_are_declined(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    Repository(git_site.root / "lib.git").commit({"lib.c": "int x;"})
    repository.git("submodule", "add", "--quiet", f"{git_site.url}/lib.git", "vendor/lib")
    repository.commit({"a": "1"})
    url = f"{git_site.url}/repo.git"
    files = read(repositories, f"{url}#main")
    assert files["vendor/lib/lib.c"] == "int x;"
    assert "vendor/lib/.git" not in files
    assert "vendor/lib/lib.c" not in read(repositories, f"{url}?submodules=false#main")


def test_a_submodule_cannot_be_a_path_of_this_machine(
    git_site: GitSite, repository: Repository, repositories: GitRepositories, tmp_path: Path
) -> None:
    Repository(tmp_path / "private").commit({"secret": "s"})
    options = ("-c", "protocol.file.allow=always")
    repository.git(*options, "submodule", "add", "--quiet", str(tmp_path / "private"), "s")
    repository.commit({"a": "1"})
    with pytest.raises(DownloadError, match="transport 'file' not allowed"):
        read(repositories, f"{git_site.url}/repo.git#main")


def test_nothing_of_a_repository_or_the_host_is_run(
    git_site: GitSite,
    repository: Repository,
    repositories: GitRepositories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trap = tmp_path / "trap"
    script = tmp_path / "run"
    script.write_text(f"#!/bin/sh\ntouch {trap}\ncat\n")
    script.chmod(0o755)
    hooks = tmp_path / "home/hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).symlink_to(script)
    config = f"""
    [core]
        hooksPath = {hooks}
        fsmonitor = {script}
        sshCommand = {script}
    [filter "x"]
        smudge = {script}
    [credential]
        helper = {script}
    [init]
        templateDir = {hooks}
    """
    (tmp_path / "home/.gitconfig").write_text(config)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_ASKPASS", str(script))
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    repository.commit({"a": "1", ".gitattributes": "* filter=x\n", ".githooks/post-checkout": "x"})
    url = f"{git_site.url}/repo.git#main"
    assert read(repositories, url)["a"] == "1"
    read(repositories, url, keep_git_dir=True)
    git_site.wanted = "nobody has it"
    with pytest.raises(DownloadError):
        read(repositories, url)
    assert not trap.exists()


def test_files_are_dated_by_the_commit_on_request(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    repository.commit({"a/b": "1"})
    url = parsed(f"{git_site.url}/repo.git?mtime=commit")
    with repositories.checkout(url, repositories.resolve(url), keep_git_dir=False) as tree:
        assert {path.stat().st_mtime for path in tree.rglob("*")} == {DATE}
    plain = parsed(f"{git_site.url}/repo.git")
    with repositories.checkout(plain, repositories.resolve(plain), keep_git_dir=False) as tree:
        assert (tree / "a/b").stat().st_mtime > DATE


def test_a_local_repository_by_its_file_url(repositories: GitRepositories, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "here.git")
    repository.commit({"a": "1"})
    assert read(repositories, f"file://{repository.path}#main") == {"a": "1"}


def test_modes_do_not_depend_on_who_builds(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    (repository.path / "run").write_text("x")
    (repository.path / "run").chmod(0o755)
    repository.commit({"d/a": "1"})
    url = parsed(f"{git_site.url}/repo.git")
    before = os.umask(0o077)
    try:
        with repositories.checkout(url, repositories.resolve(url), keep_git_dir=False) as tree:
            modes = {path.name: path.stat().st_mode & 0o777 for path in tree.rglob("*")}
    finally:
        os.umask(before)
    assert modes == {"run": 0o755, "d": 0o755, "a": 0o644}


def test_an_empty_commit_is_an_empty_directory(
    git_site: GitSite, repository: Repository, repositories: GitRepositories
) -> None:
    repository.git("commit", "--quiet", "--allow-empty", "-m", "nothing")
    assert read(repositories, f"{git_site.url}/repo.git") == {}


def test_a_failed_checkout_leaves_nothing(
    git_site: GitSite, repository: Repository, repositories: GitRepositories, tmp_path: Path
) -> None:
    repository.commit({"a": "1"})
    url = parsed(f"{git_site.url}/repo.git#main")
    commit = repositories.resolve(url)
    git_site.wanted = "nobody has it"
    with pytest.raises(DownloadError, match="git failed"):
        repositories.checkout(url, commit, keep_git_dir=False).__enter__()
    left = {path.name for path in (tmp_path / "state/sources").glob("*/*")}
    assert left == {"lock"}
    git_site.wanted = None
    assert read(repositories, str(url)) == {"a": "1"}


def test_a_cancelled_build_does_not_wait(git_site: GitSite, tmp_path: Path) -> None:
    def never(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(1)

    git_site.answer = never  # type: ignore[method-assign]
    stopped = GitRepositories(tmp_path / "state", Credentials(), cancelled=lambda: True)
    with pytest.raises(BuildCancelledError):
        stopped.resolve(parsed(f"{git_site.url}/repo.git"))
