"""`lading build` with contexts from everywhere, as a person types it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.sources.git_site import GitSite, Repository
from tests.conftest import require_program
from tests.e2e.conftest import LADING, Lading, Registry, write

COPYING = "FROM scratch\nCOPY . /\n"


def skopeo(*words: str | Path) -> None:
    program = require_program("skopeo")
    subprocess.run(
        [program, "--insecure-policy", *map(str, words)], check=True, capture_output=True
    )


def files_of(lading: Lading, image: str, tmp_path: Path) -> set[str]:
    """The names of the files that an image holds at its root."""
    out = tmp_path / "out"
    dockerfile = write(tmp_path / "reader", {"Dockerfile": f"FROM {image}\n"})
    lading("build", "-o", out, dockerfile)
    return {path.name for path in out.iterdir()}


@pytest.fixture
def git_site(tmp_path: Path) -> Iterator[GitSite]:
    site = GitSite(tmp_path / "served")
    yield site
    site.close()


def build(lading: Lading, *words: str | Path, stdin: bytes, status: int = 0) -> str:
    done = subprocess.run(
        [LADING, "build", *words], input=stdin, env=lading.environment, capture_output=True
    )
    assert done.returncode == status, done.stderr.decode()
    return done.stderr.decode()


def test_a_pipe_from_tar(lading: Lading, tmp_path: Path) -> None:
    context = write(tmp_path / "ctx", {"Dockerfile": COPYING, "a": "1"})
    for flag in ("-c", "-cz", "-cj", "-cJ"):
        archive = subprocess.run(["tar", flag, "-C", context, "."], capture_output=True, check=True)
        build(lading, "-t", "piped", "-", stdin=archive.stdout)
    assert files_of(lading, "piped", tmp_path) == {"Dockerfile", "a"}
    assert "standard input is empty" in build(lading, "-", stdin=b"", status=1)


def test_a_repository_and_a_check_and_a_plan_of_it(
    lading: Lading, git_site: GitSite, tmp_path: Path
) -> None:
    repository = Repository(git_site.root / "repo.git")
    repository.commit({"Dockerfile": COPYING, "a": "1"})
    url = f"{git_site.url}/repo.git#main"
    lading("build", "-t", "cloned", url)
    assert files_of(lading, "cloned", tmp_path) == {"Dockerfile", "a"}
    assert "no warnings" in lading("build", "--check", url).stdout
    assert "COPY . /" in lading("build", "--plan", "text", url).stdout
    missing = lading("build", f"{git_site.url}/repo.git#nothing", status=None)
    assert missing.returncode != 0
    assert "the repository has no ref nothing" in missing.stderr


@pytest.mark.peer
def test_named_contexts_of_every_kind(
    lading: Lading, registry: Registry, git_site: GitSite, tmp_path: Path
) -> None:
    def image(name: str, text: str) -> str:
        context = write(tmp_path / name, {"Dockerfile": COPYING, name: text})
        target = f"{registry.address}/team/{name}:1"
        lading("build", "-t", target, "--push", context)
        return target

    pulled, laid = image("pulled", "1"), image("laid", "2")
    layout = tmp_path / "layout"
    skopeo("copy", "--src-tls-verify=false", f"docker://{laid}", f"oci:{layout}:v1")
    Repository(git_site.root / "repo.git").commit({"cloned": "3"})
    directory = write(tmp_path / "assets", {"local": "4", "hidden": "5", ".dockerignore": "hidden"})
    dockerfile = write(
        tmp_path / "main",
        {
            "Dockerfile": "FROM nowhere AS stage\nRUN make\n"
            "FROM scratch\n"
            "COPY --from=docker.io/library/base:latest /pulled /\n"
            "COPY --from=layout /laid /\nCOPY --from=repo . /\nCOPY --from=stage . /\n"
        },
    )
    metadata = tmp_path / "metadata.json"
    lading(
        "build",
        *("-t", "joined", "--metadata-file", metadata),
        *("--build-context", f"base=docker-image://{pulled}"),
        *("--build-context", f"layout=oci-layout://{layout}:v1"),
        *("--build-context", f"repo={git_site.url}/repo.git#main"),
        *("--build-context", f"stage={directory}"),
        dockerfile,
    )
    expected = {"pulled", "laid", "cloned", "local", ".dockerignore"}
    assert files_of(lading, "joined", tmp_path) == expected
    assert json.loads(metadata.read_text())


@pytest.mark.peer
def test_a_layout_by_tag_digest_or_alone(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    for number in ("1", "2"):
        context = write(tmp_path / number, {"Dockerfile": COPYING, f"f{number}": number})
        target = f"{registry.address}/team/f:{number}"
        lading("build", "-t", target, "--push", context)
        skopeo("copy", "--src-tls-verify=false", f"docker://{target}", f"oci:{layout}:v{number}")
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    reader = write(tmp_path / "main", {"Dockerfile": "FROM l\n"})
    for value, name in ((f"{layout}:v2", "f2"), (f"{layout}@{digest}", "f1")):
        lading("build", "-t", "read", "--build-context", f"l=oci-layout://{value}", reader)
        assert name in files_of(lading, "read", tmp_path)
    for value, message in (
        (f"{layout}:v3", "its tags are v1, v2"),
        (f"{tmp_path}/absent:v1", "does not exist"),
        (f"{layout}", "no image tagged latest in the layout"),
    ):
        failed = lading("build", "--build-context", f"l=oci-layout://{value}", reader, status=None)
        assert failed.returncode != 0
        assert message in failed.stderr
    for blob in (layout / "blobs/sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    lading("builder", "prune", "-a", "-f")
    lading("system", "prune", "-a", "-f", status=None)
    broken = [
        lading("build", "--build-context", f"l=oci-layout://{layout}:{tag}", reader, status=None)
        for tag in ("v1", "v2")
    ]
    assert any(done.returncode != 0 for done in broken), "what was changed is noticed"
