"""Git repositories as contexts: from a real server, pinned to the commit that was built."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import api
from builder.errors import BuildInputError, DownloadError
from builder.progress.tracker import Tracker
from builder.request import BuildRequest, Material
from builder.secrets import Secret
from engine.builds.sources.station import bring_in
from engine.builds.sources.wanted import Sources
from images.digest import Digest
from tests.builder.sources.git_site import GitSite, Repository
from tests.engine.builds.sources.conftest import Builds

DOCKERFILE = "FROM scratch\nCOPY . /\n"


def test_a_repository_is_the_context(
    builds: Builds, git_site: GitSite, repository: Repository
) -> None:
    files = {"Dockerfile": DOCKERFILE, ".dockerignore": "a", "a": "1"}
    commit = repository.commit(files)
    url = f"{git_site.url}/repo.git#main"
    result = builds.build(url)
    assert set(builds.files(result)) == set(files), "no ignore file counts here, and no .git"
    assert result.materials == (Material("git", url, f"sha1:{commit}"),)
    assert builds.shown[0] == f"[internal] load build context from {url}"
    again = builds.build(url)
    assert again.steps[0].reason == api.WHOLE_BUILD
    repository.commit({"a": "2"})
    changed = builds.build(url)
    assert builds.files(changed)["a"] == "2"


def test_a_directory_of_it_and_a_dockerfile_by_name(
    builds: Builds, git_site: GitSite, repository: Repository
) -> None:
    repository.commit({"app/my.Dockerfile": DOCKERFILE, "app/a": "1", "other": "2"})
    result = builds.build(f"{git_site.url}/repo.git#main:app", "my.Dockerfile")
    assert set(builds.files(result)) == {"my.Dockerfile", "a"}
    with pytest.raises(BuildInputError, match="there is no Dockerfile in http"):
        builds.build(f"{git_site.url}/repo.git#main:app")


def test_the_git_directory_by_buildkits_argument(
    builds: Builds, git_site: GitSite, repository: Repository
) -> None:
    repository.commit({"Dockerfile": DOCKERFILE})
    url = f"{git_site.url}/repo.git#main"
    kept = builds.build(url, build_args={"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"})
    assert ".git/HEAD" in builds.files(kept)
    by_query = builds.build(f"{git_site.url}/repo.git?branch=main&keep-git-dir=true")
    assert ".git/HEAD" in builds.files(by_query)


def test_explanations_compare_with_the_last_commit(
    builds: Builds, git_site: GitSite, repository: Repository
) -> None:
    repository.commit({"Dockerfile": DOCKERFILE, "a": "1"})
    url = f"{git_site.url}/repo.git#main"
    builds.build(url)
    repository.commit({"a": "2"})
    (step,) = builds.build(url).steps
    assert [(change.kind, change.name) for change in step.changes] == [("file", "a")]


def test_a_named_repository_and_a_local_one(
    builds: Builds, git_site: GitSite, repository: Repository, tmp_path: Path
) -> None:
    commit = repository.commit({"src/x": "1"})
    near = Repository(tmp_path / "near.git")
    near.commit({"y": "2"})
    dockerfile = b"FROM scratch\nCOPY --from=far src /\nCOPY --from=near y /\n"
    far = f"far={git_site.url}/repo.git#{commit}"
    result = builds.build("-", None, far, f"near=file://{near.path}", stdin=dockerfile)
    assert builds.files(result) == {"x": "1", "y": "2"}
    assert [(it.kind, it.name) for it in result.materials] == [("git", "far"), ("git", "near")]


def test_a_secret_opens_it_and_is_nowhere_shown(
    builds: Builds, git_site: GitSite, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"Dockerfile": DOCKERFILE})
    git_site.wanted = "Bearer t0ken"
    url = f"{git_site.url}/repo.git"
    with pytest.raises(DownloadError, match="git failed") as caught:
        builds.build(url.replace("://", "://me:pa55@"))
    assert "pa55" not in str(caught.value)
    result = builds.build(url, secrets=(Secret("GIT_AUTH_HEADER", b"Bearer t0ken"),))
    assert set(builds.files(result)) == {"Dockerfile"}
    kept = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    for secret in (b"t0ken", b"pa55"):
        assert not any(secret in path.read_bytes() for path in kept)
        assert secret.decode() not in repr(builds.progress.events)


class Strict:
    """A judge that lets nothing in without the whole commit."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    def admit_repository(self, url: str, commit: str | None) -> None:
        self.asked.append((url, commit))
        if commit is None:
            raise DownloadError("not pinned")

    def admit(self, url: str, checksum: str | None) -> str | None:
        raise AssertionError("a repository is no file")

    def fetched(self, url: str, digest: Digest) -> None:
        raise AssertionError("a repository is no file")


def test_a_judge_wants_the_whole_commit(
    builds: Builds, git_site: GitSite, repository: Repository
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    url = f"{git_site.url}/repo.git"

    def bring(text: str) -> None:
        request, judge = BuildRequest(None), Strict()
        tracker = Tracker(builds.progress)
        with bring_in(request, Sources(text), builds.store, tracker, judge=judge) as ready:
            assert ready.dockerfile == DOCKERFILE.encode()
        assert judge.asked == [(url, commit)]

    bring(f"{url}#{commit}")
    bring(f"{url}?checksum={commit}#main")
    for loose in (f"{url}#main", f"{url}?checksum={commit[:8]}#main"):
        with pytest.raises(DownloadError, match="not pinned"):
            bring(loose)
