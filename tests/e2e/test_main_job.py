"""Build, push, sign, pull verified, run: the main job with real programs on both sides."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.conftest import Lading, Registry, write

pytestmark = pytest.mark.root

DOCKERFILE = """\
FROM busybox AS build
ARG WORD=hello
WORKDIR /src
COPY . .
RUN tr a-z A-Z < word.txt > loud.txt && echo "$WORD" >> loud.txt && chmod 640 loud.txt

FROM busybox
LABEL team=e2e
ENV GREETING=hi
WORKDIR /srv
COPY --from=build --chown=1000:1000 /src/loud.txt .
EXPOSE 8080
USER 1000:1000
CMD ["cat", "loud.txt"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write(tmp_path / "context", {"Dockerfile": DOCKERFILE, "word.txt": "quiet\n"})


def test_a_built_image_runs(lading: Lading, context: Path) -> None:
    lading("build", "-t", "app", "--build-arg", "WORD=given", context)
    assert lading("run", "--rm", "app").stdout == "QUIET\ngiven\n"
    listed = lading("run", "--rm", "app", "stat", "-c", "%u:%g %a", "loud.txt").stdout
    assert listed == "1000:1000 640\n"
    assert lading("run", "--rm", "app", "sh", "-c", "id -u; pwd; echo $GREETING").stdout == (
        "1000\n/srv\nhi\n"
    )


def test_the_second_build_is_cached_and_the_same(lading: Lading, context: Path) -> None:
    first = lading("build", "-q", "-t", "app", context).stdout
    again = lading("build", "-t", "app", "--progress", "plain", context)
    assert "CACHED" in again.stderr
    assert lading("inspect", "-f", "{{.Id}}", "app").stdout == first


def test_a_changed_file_rebuilds_only_what_reads_it(lading: Lading, context: Path) -> None:
    lading("build", "-q", "-t", "app", context)
    (context / "word.txt").write_text("new\n")
    lading("build", "-q", "-t", "app", context)
    assert lading("run", "--rm", "app").stdout == "NEW\nhello\n"


def test_config_is_what_docker_writes(lading: Lading, context: Path) -> None:
    lading("build", "-q", "-t", "app", context)
    found = json.loads(lading("inspect", "app").stdout)[0]
    config = found["Config"]
    assert config["Cmd"] == ["cat", "loud.txt"]
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/srv"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Labels"] == {"team": "e2e"}
    assert "GREETING=hi" in config["Env"]
    commands = lading("history", "--no-trunc", "--format", "{{.CreatedBy}}", "app").stdout
    assert 'CMD ["cat" "loud.txt"]' in commands
    assert "COPY --chown=1000:1000 /src/loud.txt . # buildkit" in commands


def test_push_then_pull_on_another_machine(
    lading: Lading, registry: Registry, context: Path, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/app:1"
    image = lading("build", "-q", "-t", name, context).stdout
    lading("push", name)
    other = Lading(tmp_path / "other")
    other("pull", name)
    assert other("inspect", "-f", "{{.Id}}", name).stdout == image
    assert other("run", "--rm", name).stdout == "QUIET\nhello\n"
    other("system", "shutdown")
    assert other("system", "check", "--rehash").returncode == 0


@pytest.mark.peer
def test_skopeo_reads_what_we_pushed_and_we_read_what_it_pushes(
    lading: Lading, registry: Registry, context: Path, tmp_path: Path
) -> None:
    skopeo = require_program("skopeo")
    name = f"{registry.address}/team/app:1"
    lading("build", "-q", "-t", name, context)
    lading("push", "-q", name)
    layout = f"oci:{tmp_path}/layout:1"
    copy = [skopeo, "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"docker://{name}", layout], check=True)
    back = f"{registry.address}/team/copy:1"
    subprocess.run([*copy, layout, f"docker://{back}"], check=True)
    lading("pull", "-q", back)
    assert lading("run", "--rm", back).stdout == "QUIET\nhello\n"


def test_signed_is_accepted_unsigned_and_tampered_are_refused(
    lading: Lading, registry: Registry, context: Path, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/app:1"
    lading("build", "-q", "-t", name, context)
    lading("push", "-q", name)
    lading("trust", "key", "generate", "alice", "--output", tmp_path / "keys")
    lading("trust", "sign", "--key", "alice", name)
    assert "alice" in lading("trust", "inspect", "--pretty", name).stdout
    demand = ("--verify-key", tmp_path / "keys/alice.pub")
    lading("rmi", name)
    lading("pull", *demand, name)

    other = f"{registry.address}/team/app:2"
    lading("build", "-q", "-t", other, "--label", "tampered=yes", context)
    lading("push", "-q", other)
    lading("rmi", other)
    refused = lading("pull", *demand, other, status=1)
    assert "sign" in refused.stderr
    assert lading("images", "-q", "--filter", f"reference={other}").stdout == ""

    lading("build", "-q", "-t", name, "--label", "tampered=yes", context)
    lading("push", "-q", name)
    lading("rmi", name)
    assert lading("pull", *demand, name, status=1).stderr
    assert lading("system", "check", "--rehash").returncode == 0


def test_a_policy_file_is_obeyed_by_pull_and_by_from(
    lading: Lading, registry: Registry, context: Path, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/base:1"
    lading("tag", "busybox", name)
    lading("push", "-q", name)
    lading("rmi", name)
    policy = tmp_path / "root/trust/policy.json"
    policy.parent.mkdir(parents=True, exist_ok=True)
    rules = {registry.address: [{"type": "reject"}]}
    policy.write_text(
        json.dumps(
            {"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": rules}}
        )
    )
    assert "the policy refuses this image" in lading("pull", name, status=1).stderr
    child = write(tmp_path / "child", {"Dockerfile": f"FROM {name}\n"})
    assert "the policy refuses this image" in lading("build", child, status=1).stderr


def test_exit_status_and_signals_are_dockers(lading: Lading) -> None:
    assert lading("run", "--rm", "busybox", "sh", "-c", "exit 7", status=7).stdout == ""
    lading("run", "--rm", "busybox", "sh", "-c", "kill -9 $$", status=None)
    missing = lading("run", "--rm", "busybox", "nosuchcommand", status=127)
    assert "executable file not found in $PATH" in missing.stderr
    assert lading("run", "--rm", "busybox", "/etc/passwd", status=126).stderr
    lading("run", "--rm", "--frobnicate", "busybox", status=125)
    lading("run", "--rm", "no/such:image", status=125)


def test_stdin_reaches_the_container(lading: Lading) -> None:
    assert lading("run", "--rm", "-i", "busybox", "cat", stdin="through\n").stdout == "through\n"


def test_flags_reach_the_container(lading: Lading, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    script = (
        "echo $A; hostname; cat /proc/self/limits | grep -c . >/dev/null; echo x > /m/file; pwd"
    )
    done = lading(
        "run", "--rm", "-e", "A=1", "-h", "box", "-v", f"{tmp_path}/shared:/m", "-w", "/tmp",
        "busybox", "sh", "-c", script,
    )  # fmt: skip
    assert done.stdout == "1\nbox\n/tmp\n"
    assert (tmp_path / "shared/file").read_text() == "x\n"


def test_saved_images_load_elsewhere(lading: Lading, context: Path, tmp_path: Path) -> None:
    image = lading("build", "-q", "-t", "app", context).stdout
    lading("save", "-o", tmp_path / "app.tar", "app")
    other = Lading(tmp_path / "other")
    other("load", "-i", tmp_path / "app.tar")
    assert other("inspect", "-f", "{{.Id}}", "app").stdout == image


def test_a_container_that_ended_goes_with_prune(lading: Lading, tmp_path: Path) -> None:
    lading("run", "--name", "kept", "busybox", "touch", "/made")
    lading("run", "--name", "kept", "busybox", "true", status=125)
    assert "Deleted container: " in lading("system", "prune", "--force").stdout
    lading("run", "--rm", "--name", "kept", "busybox", "true")
