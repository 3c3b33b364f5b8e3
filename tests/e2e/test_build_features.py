"""What ``lading build`` and ``lading builder`` offer beyond building, as a person uses it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import LADING, Lading, write

pytestmark = pytest.mark.root

STEPS = """\
FROM busybox AS build
ARG VERSION=1
COPY src /src/
RUN cat /src/* > /out
FROM busybox
COPY --from=build /out /out
RUN echo last
"""


def explained(lading: Lading, *argv: str | Path) -> dict[str, dict]:
    """The verdicts on every step, by instruction."""
    steps = json.loads(lading("build", "--explain=json", *argv).stdout)
    return {step["name"].partition("] ")[2]: step for step in steps}


def test_explain_names_what_changed(lading: Lading, tmp_path: Path) -> None:
    files = {"Dockerfile": STEPS, "src/a": "a", "src/b": "b"}
    context = write(tmp_path / "context", files)
    predicted = lading("build", "--plan", "text", "--explain", context).stdout
    assert re.search(r"to do +\[build 3/3\] RUN cat", predicted)
    lading("build", context)
    assert explained(lading, context)["RUN echo last"]["reason"].startswith("nothing changed")

    write(context, {"src/a": "A"})
    plan = json.loads(lading("build", "--plan", "json", "--explain", context).stdout)
    outcomes = [step["outcome"] for step in plan["cache"]]
    assert outcomes.count("open") == 1, "the copy depends on what the stage makes"
    text = lading("build", "--explain", context).stderr
    assert "Dockerfile:3: file src/a changed" in text
    assert "[build 2/3] COPY src /src/ was done anew" in text
    assert re.search(r"\d of \d steps cached", text)

    steps = explained(lading, "--build-arg", "VERSION=2", context)
    assert steps["COPY src /src/"]["outcome"] == "cached"
    assert steps["RUN cat /src/* > /out"]["changes"] == [
        {"kind": "variable", "name": "VERSION", "how": "changed"}
    ]
    assert steps["COPY --from=build /out /out"]["outcome"] in ("cached", "executed")


def test_an_argument_counts_where_it_is_used(lading: Lading, tmp_path: Path) -> None:
    text = "FROM busybox\nARG ONE=1\nARG TWO=1\nRUN echo $ONE; env | grep T[W]O || true\n"
    context = write(tmp_path / "context", {"Dockerfile": text})
    first = lading("build", "--build-arg-scope", "used", "--progress", "plain", context)
    assert "TWO=1" not in first.stderr
    argv = ("--build-arg-scope=used", "--build-arg", "TWO=2", context)
    assert {step["outcome"] for step in explained(lading, *argv).values()} == {"cached"}
    argv = ("--build-arg-scope=used", "--build-arg", "ONE=2", context)
    assert "executed" in {step["outcome"] for step in explained(lading, *argv).values()}


def test_a_stage_is_built_anew(lading: Lading, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS fetch\nRUN cat /proc/sys/kernel/random/uuid > /id\n"
        "FROM busybox AS other\nRUN cat /proc/sys/kernel/random/uuid > /id\n"
        "FROM busybox\nCOPY --from=fetch /id /fetch\nCOPY --from=other /id /other\n"
    )
    context = write(tmp_path / "context", {"Dockerfile": text})

    def ids(*argv: str) -> list[str]:
        lading("build", "-t", "ids", *argv, context)
        return lading("run", "--rm", "ids", "cat", "/fetch", "/other").stdout.split()

    first = ids()
    second = ids("--no-cache-filter", "fetch")
    assert second[0] != first[0]
    assert second[1] == first[1]
    assert ids() == second
    refused = lading("build", "--no-cache-filter", "fetsh", context, status=1)
    assert "fetch" in refused.stderr


def test_a_secret_in_the_key_leaves_no_trace(lading: Lading, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /size\n"
    context = write(tmp_path / "context", {"Dockerfile": text, "token": "tr0ub4dor&3-first"})
    secret = f"id=token,src={context / 'token'}"
    argv = ("--secret", f"{secret},cache=digest", context)
    assert "executed" in {step["outcome"] for step in explained(lading, *argv).values()}
    assert {step["outcome"] for step in explained(lading, *argv).values()} == {"cached"}
    write(context, {"token": "tr0ub4dor&3-second"})
    (changed,) = (s for s in explained(lading, *argv).values() if s["outcome"] == "executed")
    assert changed["reason"] == "a secret changed"
    root = tmp_path / "root"
    for path in root.rglob("*"):
        if path.is_file():
            assert b"tr0ub4dor" not in path.read_bytes(), path


def test_limits_and_name_servers_reach_run(lading: Lading, tmp_path: Path) -> None:
    script = (
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null;"
        " cat /etc/resolv.conf; ulimit -n; df -k /dev/shm; grep Cpus_allowed_list /proc/self/status"
    )
    context = write(tmp_path / "context", {"Dockerfile": f"FROM busybox\nRUN {script}; true\n"})
    limits = ("--memory", "64m", "--cpus", "0.5", "--cpuset-cpus", "0", "--shm-size", "1m")
    servers = ("--dns", "9.9.9.9", "--dns-search", "lan", "--dns-option", "ndots:3")
    argv = (*limits, *servers, "--ulimit", "nofile=77:88", "--progress", "plain", context)
    shown = lading("build", *argv).stderr
    assert "67108864" in shown
    assert "nameserver 9.9.9.9" in shown
    assert "search lan" in shown
    assert "ndots:3" in shown
    assert re.search(r" 77\n", shown)
    assert re.search(r"1024 .*/dev/shm", shown)
    assert re.search(r"Cpus_allowed_list:\s+0\n", shown)
    other = ("--shm-size", "1m", "--ulimit", "nofile=77:88", "--memory", "32m", context)
    assert {step["outcome"] for step in explained(lading, *other).values()} == {"cached"}


def test_the_cache_is_listed_and_pruned(lading: Lading, tmp_path: Path) -> None:
    text = (
        "FROM busybox\nRUN echo made > /made\n"
        "RUN --mount=type=cache,target=/cache,id=wheels dd if=/dev/zero of=/cache/x bs=1k count=9\n"
    )
    context = write(tmp_path / "context", {"Dockerfile": text})
    image = lading("build", "-q", context).stdout.strip()
    lading("rmi", "--no-prune", image)
    listed = lading("builder", "du", "--format", "{{.Type}} {{.Description}} {{.Size}}").stdout
    assert "exec.cachemount cache mount wheels 9.22kB" in listed
    assert "regular [2/3] RUN echo made > /made" in listed
    gone = lading("builder", "prune", "-f", "--filter", "type=exec.cachemount").stdout
    assert gone.endswith("Total:\t9.22kB\n")
    assert lading("builder", "prune", "-f", "--filter", "until=24h").stdout == "Total:\t0B\n"
    assert lading("builder", "prune", "-af").stdout.splitlines()[-1].startswith("Total:\t")
    assert lading("builder", "du", "--format", "json").stdout == ""
    assert lading("system", "check")
    steps = explained(lading, context)
    assert steps["RUN echo made > /made"]["outcome"] == "executed"


def test_the_cache_is_brought_into_bounds_after_a_build(lading: Lading, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1k count=500\n"
    context = write(tmp_path / "context", {"Dockerfile": text})
    image = lading("build", "-q", context).stdout.strip()
    lading("rmi", "--no-prune", image)
    state = tmp_path / "root/builder/cache-checked"
    hours_ago = time.time() - 7200
    with closing(sqlite3.connect(tmp_path / "root/lading.db")) as database:
        database.execute("UPDATE cache SET used = ?", (hours_ago,))
        database.commit()
    assert state.exists()
    os.utime(state, (hours_ago, hours_ago))
    write(context, {"Dockerfile": "FROM busybox\nRUN echo small\n"})
    bounded = Lading(lading.folder, {"LADING_BUILDER_MAX_USED_SPACE": "100k"})
    bounded("build", context)
    kept = lading("builder", "du", "--format", "{{.Description}}").stdout
    assert "echo small" in kept
    assert "/big" not in kept


def on_terminal(lading: Lading, keys: bytes, *argv: str | Path) -> tuple[int, str]:
    """Run on a terminal of its own, type ``keys`` at the shell's prompt; status and screen."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(LADING, ["lading", *map(str, argv)], lading.environment)
    screen = b""
    typed = False
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            screen += os.read(master, 4096)
        except OSError:
            break
        # The shell may ask the terminal where its cursor is (ECMA-48 8.3.35).
        if not typed and re.search(rb"[#$] (\x1b\[6n)?\Z", screen):
            os.write(master, keys)
            typed = True
    if time.monotonic() >= deadline:
        os.kill(pid, signal.SIGKILL)
    os.close(master)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), screen.decode("utf-8", "replace")


def test_a_shell_opens_in_the_failed_step(lading: Lading, tmp_path: Path) -> None:
    text = (
        "FROM busybox\nRUN mkdir /w && chown 7:7 /w\nWORKDIR /w\nENV COLOR=blue\nUSER 7\n"
        "RUN --mount=type=tmpfs,target=/scratch echo half > made; false\n"
    )
    context = write(tmp_path / "context", {"Dockerfile": text})
    keys = b"echo $(cat made)-$COLOR-$(id -u)-$(pwd); grep -c /scratch /proc/mounts; exit\n"
    status, screen = on_terminal(lading, keys, "build", "--on-error=shell", context)
    assert status == 1, screen
    assert "half-blue-7-/w\r\n1\r\n" in screen
    assert "did not complete successfully: exit code: 1" in screen
    assert lading("system", "check")


def test_a_shell_needs_a_terminal(lading: Lading, tmp_path: Path) -> None:
    context = write(tmp_path / "context", {"Dockerfile": "FROM busybox\nRUN false\n"})
    refused = lading("build", "--on-error=shell", context, status=125)
    assert "needs a terminal" in refused.stderr


REPRODUCIBLE = """\
FROM scratch AS base
ADD rootfs.tar /
FROM base
COPY tree /tree/
RUN mkdir -p /made/b /made/a && date > /dev/null && touch /made/a/x /made/b/y
WORKDIR /work
RUN echo "$SOURCE_DATE_EPOCH" > /made/z
"""


def test_the_same_input_gives_the_same_digest_anywhere(
    lading: Lading, busybox_tar: Path, tmp_path: Path
) -> None:
    """Another directory, umask, time zone, order of files, store and launcher."""
    names = [f"tree/{name}" for name in ("z", "a/1", "a/2", "m")]

    def build(place: str, order: list[str], umask: int, zone: str) -> tuple[str, str]:
        folder = tmp_path / place
        context = write(folder / "context", dict.fromkeys(["Dockerfile", *order], REPRODUCIBLE))
        (context / "rootfs.tar").write_bytes(busybox_tar.read_bytes())
        for path in context.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        user = Lading(folder, {"SOURCE_DATE_EPOCH": "1000000000", "TZ": zone})
        before = os.umask(umask)
        try:
            done = user("build", "--iidfile", folder / "id", context)
        finally:
            os.umask(before)
            user("system", "shutdown", status=None)
        (manifest,) = re.findall(r"^manifest (\S+)$", done.stderr, re.MULTILINE)
        return manifest, (folder / "id").read_text()

    first = build("here", names, 0o022, "UTC")
    time.sleep(1.1)
    second = build("somewhere/else", names[::-1], 0o077, "Asia/Tokyo")
    assert first == second
    assert first[0] != first[1]
