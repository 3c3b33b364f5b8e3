"""Attacks on a build, each by a Dockerfile or a context that a stranger wrote.

Every test looks at a place of the host that the attack aims at.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Lading, write

pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with a file in it; nothing may be added or changed."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["kept"]
    assert (folder / "kept").read_text() == "kept"


def build(
    lading: Lading, tmp_path: Path, dockerfile: str, *options: str, status: int | None = 0
) -> str:
    """Build; what was said, on both streams."""
    context = write(tmp_path / "context", {"Dockerfile": dockerfile})
    done = lading("build", "--progress", "plain", "-t", "evil", *options, context, status=status)
    assert "Traceback" not in done.stderr
    assert "bug in lading" not in done.stderr
    return done.stdout + done.stderr


def test_cache_source_through_a_link(lading: Lading, tmp_path: Path, host: Path) -> None:
    """CVE-2024-9675: ``source=`` of a cache mount leads to the host."""
    up = "../" * 30
    seed = f"RUN --mount=type=cache,target=/c ln -sfn {host} /c/l; ln -sfn {up}{host} /c/u\n"
    for source in ("l", "l/kept", "l/new", "u", f"{up}{host}/new"):
        use = f"RUN --mount=type=cache,target=/c,source={source} touch /c/escaped\n"
        build(lading, tmp_path, f"FROM busybox\n{seed}{use}", status=None)


def test_cache_source_swapped_while_it_is_mounted(
    lading: Lading, tmp_path: Path, host: Path
) -> None:
    """CVE-2024-23651: a step that shares the cache turns the directory into a link and back."""
    swap = (
        "FROM busybox AS swap\nRUN --mount=type=cache,target=/c for n in $(seq 3000); do"
        f" rm -rf /c/d; mkdir /c/d; rm -rf /c/d; ln -s {host} /c/d; done\n"
    )
    use = "".join(
        f"FROM busybox AS u{n}\nRUN --mount=type=cache,target=/c,source=d touch /c/escaped{n};"
        f" touch /u{n}\n"
        for n in range(4)
    )
    last = "FROM busybox\nCOPY --from=swap /bin/sh /\n" + "".join(
        f"COPY --from=u{n} /u{n} /\n" for n in range(4)
    )
    for _ in range(3):
        build(lading, tmp_path, swap + use + last, "--no-cache", status=None)


def test_a_cache_is_used_below_links_that_stay_inside(lading: Lading, tmp_path: Path) -> None:
    text = (
        "FROM busybox\n"
        "RUN --mount=type=cache,target=/c mkdir -p /c/d/e; ln -sfn ../d/e /c/d/in; touch /c/d/e/f\n"
        "RUN --mount=type=cache,target=/c,source=d/in ls /c/f\n"
        "RUN --mount=type=cache,target=/c,source=/new/er touch /c/g\n"
        "RUN --mount=type=cache,target=/c ls /c/new/er/g\n"
    )
    assert "/c/new/er/g" in build(lading, tmp_path, text)


def test_bind_source_is_a_link(lading: Lading, tmp_path: Path, host: Path) -> None:
    """CVE-2024-1753: the source of a bind mount is a link of the image to the root of the host."""
    for target in (str(host), "../" * 30 + str(host), f"/proc/self/root{host}"):
        text = (
            f"FROM busybox AS a\nRUN ln -s {target} /l\n"
            "FROM busybox\nRUN --mount=type=bind,from=a,source=/l,target=/t,rw touch /t/escaped\n"
        )
        build(lading, tmp_path, text, status=None)
        assert "kept" not in build(
            lading, tmp_path, text.replace("touch /t/escaped", "ls /t"), status=None
        )


def test_bind_options_are_no_mount_options(lading: Lading, tmp_path: Path) -> None:
    """CVE-2024-9407: what follows a comma was passed on to mount."""
    for options in ("bind-propagation=shared", "rshared", "Z,U", "rw=true:O,upperdir=/x"):
        text = f"FROM busybox\nRUN --mount=type=bind,target=/t,{options} true\n"
        assert "Dockerfile:2" in build(lading, tmp_path, text, status=1)


def test_removing_mount_points_removes_nothing_else(
    lading: Lading, tmp_path: Path, host: Path
) -> None:
    """CVE-2024-23652: the stub of a mount point is swapped for a link before it is cleaned up."""
    text = (
        "FROM busybox\n"
        f"RUN --mount=type=tmpfs,target=/a/b rm -rf /a 2>/dev/null; mv /a /moved; ln -s {host} /a\n"
        f"RUN --mount=type=tmpfs,target=/x/kept mv /x /y; ln -s {host} /x\n"
        "RUN ls -la /\n"
    )
    build(lading, tmp_path, text, status=None)


@pytest.mark.parametrize(
    ("flag", "name"), [("security=insecure", "security.insecure"), ("network=host", "network.host")]
)
def test_entitlements_are_asked_for(lading: Lading, tmp_path: Path, flag: str, name: str) -> None:
    """CVE-2024-23653: a Dockerfile may not raise itself above its sandbox."""
    text = f"FROM busybox\nRUN --{flag} true\n"
    said = build(lading, tmp_path, text, status=1)
    assert f"Dockerfile:2: {name} is not allowed" in said
    assert f"--allow {name}" in said
    build(lading, tmp_path, text, "--allow", name)


@pytest.mark.parametrize(
    "line",
    [
        "COPY --from=0 ../../../../../../../../etc/hostname /got",
        "COPY ../../../../../../../../etc/hostname /got",
        "ADD file:///etc/hostname /got",
        "COPY /etc/hostname /got",
        "COPY out/hostname /got",
        "COPY absolute /got",
        "ADD out /got/",
    ],
)
def test_sources_outside_of_the_context(lading: Lading, tmp_path: Path, line: str) -> None:
    """No source leads out of its root: by ``..``, by ``file://``, by links of the context."""
    context = write(tmp_path / "context", {"x": "x"})
    (context / "out").symlink_to("/etc")
    (context / "absolute").symlink_to("/etc/hostname")
    text = f"FROM busybox\nFROM busybox\n{line}\nRUN cat /got /got/* 2>/dev/null; true\n"
    said = build(lading, tmp_path, text, status=None)
    name = Path("/etc/hostname").read_text().strip()
    assert f" {name}\n" not in said


def test_a_dockerfile_that_is_a_link_out_of_the_context(lading: Lading, tmp_path: Path) -> None:
    """Its text would be shown with the first syntax error."""
    context = write(tmp_path / "context", {"x": "x"})
    secret = tmp_path / "secret"
    secret.write_text("TOPSECRET\n")
    (context / ".dockerignore").symlink_to(secret)
    write(context, {"Dockerfile": "FROM busybox\nCOPY . /all\nRUN cat /all/.dockerignore\n"})
    done = lading("build", context, status=None)
    assert "TOPSECRET" not in done.stdout + done.stderr


@pytest.mark.parametrize("target", ["/host", "/host/deep", "host", "/host/kept"])
def test_destinations_through_links_of_the_base(
    lading: Lading, tmp_path: Path, host: Path, target: str
) -> None:
    """CVE-2026-55686 and its kin: COPY, ADD and WORKDIR follow links inside the root alone."""
    text = (
        f"FROM busybox\nRUN ln -s {host} /host\n"
        f"COPY <<a {target}/\ntext\na\n"
        f"ADD x.tar {target}/\n"
        f"WORKDIR {target}/work\nRUN touch here\n"
    )
    context = write(tmp_path / "context", {"y": "y"})
    with tarfile.open(context / "x.tar", "w") as archive:
        archive.add(context / "y", "y")
    build(lading, tmp_path, text, status=None)


@pytest.mark.parametrize("kind", ["secret", "ssh", "tmpfs", "cache", "bind"])
def test_mount_targets_through_links_of_the_base(
    lading: Lading, tmp_path: Path, host: Path, kind: str
) -> None:
    """CVE-2021-30465 for build mounts: mount points are made inside the root."""
    option = {"secret": "id=s,", "ssh": "", "bind": "rw,"}.get(kind, "")
    text = (
        f"FROM busybox\nRUN ln -s {host} /l\n"
        f"RUN --mount=type={kind},{option}target=/l/new/mount ls -la /l/new; touch /l/x; true\n"
    )
    (tmp_path / "s").write_text("s")
    build(lading, tmp_path, text, "--secret", f"id=s,src={tmp_path / 's'}", status=None)


def test_secrets_are_in_no_layer_and_no_history(lading: Lading, tmp_path: Path) -> None:
    """A secret's bytes are nowhere in the state, as long as the step does not copy it there."""
    secret = "geheim-5b7e" * 3
    (tmp_path / "s").write_text(secret)
    text = (
        "FROM busybox\n"
        "RUN --mount=type=secret,id=s,target=/d/s --mount=type=secret,id=s,env=S"
        " test -n $S && test -s /d/s && ln -s /d/s /e && cp -a /d/s /dev/shm/\n"
    )
    build(lading, tmp_path, text, "--secret", f"id=s,src={tmp_path / 's'}")
    for path in (tmp_path / "root").rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert secret.encode() not in path.read_bytes(), path


def test_an_archive_bomb_stops_at_the_disk(lading: Lading, tmp_path: Path) -> None:
    """A sparse file of terabytes, in an archive of a kilobyte."""
    first, member = tarfile.TarInfo("first"), tarfile.TarInfo("bomb")
    member.size = 512
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "bomb",
        "GNU.sparse.realsize": str(1 << 45),
    }
    context = write(tmp_path / "context", {})
    context.mkdir(exist_ok=True)
    with tarfile.open(context / "bomb.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(first)
        archive.addfile(member, io.BytesIO(b"0\n".ljust(512, b"\0")))
    said = build(lading, tmp_path, "FROM busybox\nADD bomb.tar /b/\n", status=1)
    assert "Dockerfile:2" in said


@pytest.mark.parametrize("field", ["User", "WorkingDir", "Env", "OnBuild", "Shell", "Volumes"])
def test_a_hostile_base_config(lading: Lading, tmp_path: Path, field: str, host: Path) -> None:
    """Engine list, item 15: every field of a base's config is input."""
    changes = {
        "User": "USER ../../etc:0",
        "WorkingDir": f"WORKDIR /../../{host}/x",
        "Env": "ENV PATH=/nowhere A=b\\nc",
        "OnBuild": f"ONBUILD COPY --from=busybox / {host}/",
        "Shell": 'SHELL ["/proc/self/exe", "-c"]',
        "Volumes": "VOLUME /../../..",
    }
    build(lading, tmp_path, f"FROM busybox\n{changes[field]}\n")
    lading("tag", "evil", "base")
    build(lading, tmp_path, "FROM base\nRUN true\nWORKDIR x\n", status=None)
    assert os.path.lexists(host / "kept")
