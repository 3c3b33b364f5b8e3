"""Small things in which a build must do, or say, what users know from BuildKit."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.e2e.conftest import Lading, write

pytestmark = pytest.mark.root


def layers(lading: Lading, context: Path) -> list[dict[str, tarfile.TarInfo]]:
    """What each layer of the image of a context holds, the base's first."""
    layout = context.parent / "layout"
    lading("build", "-q", "-o", f"type=oci,dest={layout},tar=false", context)

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    found = []
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer["digest"])) as archive:
            found.append({member.name.rstrip("/"): member for member in archive})
    return found


def test_a_host_name_that_a_step_writes_stays(lading: Lading, tmp_path: Path) -> None:
    dockerfile = (
        "FROM busybox\nRUN test ! -e /etc/hostname && echo box >/etc/hostname\n"
        "RUN sed -i s/box/cabin/ /etc/hostname\n"
    )
    context = write(tmp_path / "context", {"Dockerfile": dockerfile})
    _, first, second = layers(lading, context)
    assert first["etc/hostname"].size == 4
    assert second["etc/hostname"].size == 6


def test_layers_hold_what_is_new(lading: Lading, tmp_path: Path) -> None:
    dockerfile = (
        "FROM busybox AS other\nRUN echo new >/etc/new\n"
        "FROM busybox\nRUN chmod -R u+r /etc /bin\nCOPY --from=other / /\n"
        "COPY a /w/\nCOPY . /w/\nCOPY --link a /w/\n"
    )
    files = {"Dockerfile": dockerfile, ".dockerignore": "Dockerfile", "a": "a", "b": "b"}
    context = write(tmp_path / "context", files)
    found = [sorted(layer) for layer in layers(lading, context)[1:]]
    assert found[:3] == [[], ["etc", "etc/new"], ["w", "w/a"]]
    assert [name for name in found[3] if name.startswith("w/")] == ["w/.dockerignore", "w/b"]
    assert found[4] == ["w", "w/a"]


def test_modes_that_copy_the_bits_of_another_class(lading: Lading, tmp_path: Path) -> None:
    dockerfile = "FROM scratch\nCOPY --chmod=u=rwx,g=u-w,o=g-x file /\n"
    context = write(tmp_path / "context", {"Dockerfile": dockerfile, "file": ""})
    assert layers(lading, context)[0]["file"].mode == 0o754


def test_arguments_that_steer_commands(lading: Lading, tmp_path: Path) -> None:
    command = "hostname; ls /c; touch /c/$TIME"
    dockerfile = f"FROM busybox\nARG TIME\nRUN --mount=type=cache,target=/c {command}\n"
    context = write(tmp_path / "context", {"Dockerfile": dockerfile})

    def said(time: str, *words: str) -> list[str]:
        arguments = [word for pair in (f"TIME={time}", *words) for word in ("--build-arg", pair)]
        log = lading("build", "--progress=plain", *arguments, context).stderr
        return [
            line.split()[-1]
            for line in log.splitlines()
            if line.startswith("#")
            and line.split()[-1] in ("buildkitsandbox", "box", "first", "second", "third")
        ]

    assert said("first") == ["buildkitsandbox"]
    assert said("second", "BUILDKIT_SANDBOX_HOSTNAME=box") == ["box", "first"]
    assert said("second") == ["buildkitsandbox", "first", "second"]
    assert said("third", "BUILDKIT_CACHE_MOUNT_NS=apart") == ["buildkitsandbox"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(
            "ADD --checksum=foo http://127.0.0.1:1/a /",
            "Dockerfile:2: invalid checksum digest format",
            id="checksum",
        ),
        pytest.param(
            "COPY --exclude=[ . /", "Dockerfile:2: syntax error in pattern: [", id="exclude"
        ),
        pytest.param(
            "COPY --from=127.0.0.1:1/none /a /",
            "Dockerfile:2: COPY --from=127.0.0.1:1/none /a /",
            id="image",
        ),
        pytest.param("FROM Base", "try base\n", id="capital"),
    ],
)
def test_errors_name_their_line(lading: Lading, tmp_path: Path, line: str, message: str) -> None:
    dockerfile = f"FROM busybox AS base\n{line}\n"
    context = write(tmp_path / "context", {"Dockerfile": dockerfile})
    assert message in lading("build", context, status=1).stderr


def test_frontends(lading: Lading, tmp_path: Path) -> None:
    dockerfile = "# syntax=127.0.0.1:1/mirror/docker/dockerfile:1\nFROM busybox\nRUN true\n"
    context = write(tmp_path / "context", {"Dockerfile": dockerfile})
    lading("build", "-q", context)
    lading("build", "-q", "--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1@sha256:1", context)
    foreign = "BUILDKIT_SYNTAX=docker/dockerfile-other"
    refused = lading("build", "-q", "--build-arg", foreign, context, status=1)
    assert "unsupported frontend docker/dockerfile-other" in refused.stderr
