"""``lading bake`` as a person uses it: real definitions, real builds, a real registry."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.conftest import Lading, Registry, write

pytestmark = pytest.mark.root

HCL = """\
variable "TAG" { default = "dev" }

group "default" { targets = ["app", "tool"] }

target "base" {
  dockerfile-inline = <<-EOT
    FROM busybox
    RUN echo $(cat /proc/sys/kernel/random/uuid) > /base
  EOT
}

target "app" {
  context  = "app"
  contexts = { parent = "target:base", src = "./src" }
  tags     = ["app:${TAG}"]
  args     = { WHO = "world" }
  labels   = { "org.example.who" = "me" }
}

target "tool" {
  contexts          = { parent = "target:base" }
  dockerfile-inline = "FROM parent\\nRUN cat /base > /tool"
  tags              = ["tool:${TAG}"]
}
"""
APP = "FROM parent\nARG WHO\nCOPY --from=src f /f\nRUN cat /base > /app && echo hello $WHO >> /f\n"


@pytest.fixture
def project(tmp_path: Path, lading: Lading, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A definition and its files, in the working directory."""
    folder = write(
        tmp_path / "project", {"docker-bake.hcl": HCL, "app/Dockerfile": APP, "src/f": "f\n"}
    )
    monkeypatch.chdir(folder)
    return folder


def shown(lading: Lading, image: str, *command: str) -> str:
    return lading("run", "--rm", image, *command).stdout


def test_targets_stand_on_a_common_one_that_is_built_once(lading: Lading, project: Path) -> None:
    done = lading("bake", "--progress", "plain", "--metadata-file", "meta.json", "--var", "TAG=v1")
    # A random number in the base is the same for both: they stand on one result.
    assert shown(lading, "app:v1", "cat", "/app") == shown(lading, "tool:v1", "cat", "/tool")
    assert shown(lading, "app:v1", "cat", "/f") == "f\nhello world\n"
    assert "[app 2/2] RUN" in done.stderr
    assert done.stderr.count("[base 2/2] RUN") == done.stderr.count("#4 [base 2/2] RUN")
    (labels,) = [one["Config"]["Labels"] for one in json.loads(lading("inspect", "app:v1").stdout)]
    assert labels["org.example.who"] == "me"
    metadata = json.loads((project / "meta.json").read_text())
    assert sorted(metadata) == ["app", "base", "tool"]
    assert metadata["app"]["image.name"] == "docker.io/library/app:v1"
    rows = [line.split() for line in done.stderr.splitlines()[-2:]]
    assert [row[:2] for row in rows] == [["app", "built"], ["tool", "built"]]
    images = lading("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert "base:latest" not in images
    again = lading("bake", "--var", "TAG=v1").stderr.splitlines()[-2:]
    assert [line.split()[:2] for line in again] == [["app", "cached"], ["tool", "cached"]]


def test_equal_steps_of_several_targets_run_once(lading: Lading, project: Path) -> None:
    (project / "same.hcl").write_text(
        'target "default" {\n name = "t${n}"\n matrix = { n = range(4) }\n'
        ' dockerfile-inline = "FROM busybox\\n'
        'RUN cat /proc/sys/kernel/random/uuid > /id; sleep 1"\n'
        ' tags = ["same:${n}"]\n}\n'
    )
    lading("bake", "-f", "same.hcl")
    assert len({shown(lading, f"same:{n}", "cat", "/id") for n in range(4)}) == 1


def test_one_failing_target_stops_the_rest_and_is_named(lading: Lading, project: Path) -> None:
    (project / "bad.hcl").write_text(
        'group "default" { targets = ["slow", "bad"] }\n'
        'target "slow" { dockerfile-inline = "FROM busybox\\nRUN sleep 60" }\n'
        'target "bad" { dockerfile-inline = "FROM busybox\\nRUN echo oh && exit 3" }\n'
    )
    failed = lading("bake", "-f", "bad.hcl", status=1)
    assert "exit code: 3" in failed.stderr
    assert "while building the target bad" in failed.stderr


def test_pushes_with_every_name_and_set_changes_where_to(
    lading: Lading, registry: Registry, project: Path
) -> None:
    name = f"{registry.address}/team/app:1"
    lading("bake", "app", f"--set=app.tags={name}", "--push", "--set=*.args.WHO=set")
    assert lading("images", "-q", name).stdout == ""
    lading("pull", name)
    assert shown(lading, name, "cat", "/f") == "f\nhello set\n"


def test_every_attribute_reaches_the_build(lading: Lading, project: Path) -> None:
    (project / "token").write_text("secret")
    (project / "all.hcl").write_text(
        """
target "default" {
  dockerfile-inline = <<-EOT
    FROM busybox AS one
    RUN --mount=type=secret,id=token cat /run/secrets/token > /token
    RUN ulimit -n > /limit; grep db /etc/hosts > /hosts
    RUN df /dev/shm > /shm; ls /sys/class/net > /net
    RUN cat /proc/sys/kernel/random/uuid > /random
    FROM busybox AS two
  EOT
  target      = "one"
  secret      = [{ id = "token", src = "token" }]
  ulimits     = ["nofile=321:321"]
  extra-hosts = { db = "10.1.2.3" }
  shm-size    = "32m"
  network     = "none"
  annotations = ["org.example.a=b", "index:org.example.i=j"]
  platforms   = ["linux/amd64"]
  args        = { BUILDKIT_MULTI_PLATFORM = "1" }
  cache-to    = ["type=local,dest=cache"]
  output      = ["type=local,dest=out,platform-split=false", "type=oci,dest=out.tar"]
  attest      = ["type=provenance,mode=min"]
  no-cache-filter = ["one"]
}
"""
    )
    lading("bake", "-f", "all.hcl")
    out = project / "out"
    assert (out / "token").read_text() == "secret"
    assert (out / "limit").read_text() == "321\n"
    assert "10.1.2.3" in (out / "hosts").read_text()
    assert "32768" in (out / "shm").read_text()
    assert (out / "net").read_text() == "lo\n"
    assert (project / "cache/index.json").exists()
    with tarfile.open(project / "out.tar") as archive:
        index = json.load(archive.extractfile("index.json"))
        digest = index["manifests"][0]["digest"].replace(":", "/")
        inner = json.load(archive.extractfile(f"blobs/{digest}"))
    assert inner["annotations"] == {"org.example.i": "j"}
    first = (out / "random").read_text()
    lading("bake", "-f", "all.hcl")
    assert (out / "random").read_text() != first


def test_compose_sections_and_overriding_files(lading: Lading, tmp_path: Path, monkeypatch) -> None:
    folder = write(
        tmp_path / "compose",
        {
            "compose.yaml": "services:\n  web:\n    image: web:${TAG:-1}\n    build:\n"
            "      context: web\n      args: [WHO=compose]\n"
            "  redis:\n    image: redis\n",
            "docker-bake.override.hcl": 'target "web" { args = { WHO = "override" } }\n',
            ".env": "TAG=env\n",
            "web/Dockerfile": "FROM busybox\nARG WHO\nRUN echo $WHO > /who\n",
        },
    )
    monkeypatch.chdir(folder)
    lading("bake")
    assert shown(lading, "web:env", "cat", "/who") == "override\n"


def test_what_leaves_the_working_directory_needs_to_be_allowed(
    lading: Lading, project: Path, tmp_path: Path
) -> None:
    write(tmp_path / "elsewhere", {"Dockerfile": "FROM busybox\nCOPY x /x\n", "x": "x"})
    (project / "link").symlink_to(tmp_path / "elsewhere")
    (project / "out.hcl").write_text(
        'target "default" {\n context = "link"\n tags = ["out"]\n network = "host"\n'
        ' secret = ["id=k,src=/etc/hostname"]\n output = ["type=local,dest=../made"]\n}\n'
    )
    refused = lading("bake", "-f", "out.hcl", status=1)
    wanted = [
        f"--allow=fs.read={tmp_path / 'elsewhere'}",
        "--allow=fs.read=/etc/hostname",
        f"--allow=fs.write={tmp_path}",
        "--allow=network.host",
    ]
    for flag in wanted:
        assert flag.rpartition("/")[0] in refused.stderr
    assert not (tmp_path / "made").exists()
    lading("bake", "-f", "out.hcl", *wanted)
    assert (tmp_path / "made/x").read_text() == "x"


def test_check_print_and_list_build_nothing(lading: Lading, project: Path) -> None:
    (project / "app/Dockerfile").write_text("FROM parent as x\nRUN true\n")
    found = lading("bake", "--check", "app", status=1)
    assert "app\n" in found.stdout
    assert "FromAsCasing" in found.stdout
    printed = json.loads(lading("bake", "--print", "app").stdout)
    assert printed["target"]["app"]["context"] == "app"
    assert lading("bake", "--list", "targets").stdout.startswith("TARGET\tDESCRIPTION\napp\t\n")
    listed = json.loads(lading("bake", "--list=type=variables,format=json").stdout)
    assert listed == [{"name": "TAG", "value": "dev"}]
    assert lading("images", "-q").stdout.count("\n") == 1


def test_mistakes_are_shown_with_their_line(lading: Lading, project: Path) -> None:
    (project / "docker-bake.hcl").write_text('target "default" {\n  tags = [uper("x")]\n}\n')
    failed = lading("bake", status=1)
    assert failed.stderr == (
        "docker-bake.hcl:2\n--------------------\n"
        '   1 |     target "default" {\n'
        '   2 | >>>   tags = [uper("x")]\n'
        "     |               ^\n"
        "   3 |     }\n   4 |\n--------------------\n"
        "lading: docker-bake.hcl:2: there is no function uper\n  did you mean upper?\n"
    )
    assert lading("bake", "--nope", status=125).stderr
    assert (
        "standard input"
        in lading("bake", "-f", "-", stdin='target "default" { context = "-" }', status=1).stderr
    )


def test_what_it_prints_is_a_definition_of_the_same(lading: Lading, project: Path) -> None:
    printed = lading("bake", "--print").stdout
    (project / "printed.json").write_text(printed)
    assert lading("bake", "-f", "printed.json", "--print").stdout == printed


def test_a_definition_in_a_repository_builds_what_lies_beside_it(
    lading: Lading, project: Path, tmp_path: Path
) -> None:
    git = require_program("git")
    files = {
        "docker-bake.hcl": 'group "default" { targets = ["root", "sub", "here"] }\n'
        'target "root" { tags = ["root"] }\n'
        'target "sub" {\n context = "sub"\n contexts = { top = ".", mine = "cwd://src" }\n'
        ' tags = ["sub"]\n}\n'
        'target "here" {\n context = BAKE_CMD_CONTEXT\n tags = ["here"]\n'
        ' dockerfile-inline = "FROM busybox\\nCOPY src/f /f"\n}\n',
        "Dockerfile": "FROM busybox\nCOPY sub/a /a\n",
        "sub/Dockerfile": "FROM busybox\nCOPY a /a\nCOPY --from=top sub/a /b\n"
        "COPY --from=mine f /f\n",
        "sub/a": "a\n",
    }
    folder = write(tmp_path / "repository", files)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run([git, "-C", folder, *words], check=True)
    url = f"file://{folder}/.git#main"
    printed = json.loads(lading("bake", url, "--print").stdout)["target"]
    assert printed["sub"]["context"] == f"{url}:sub"
    assert (printed["root"]["context"], printed["here"]["context"]) == (url, ".")
    lading("bake", url)
    assert shown(lading, "sub", "cat", "/a", "/b", "/f") == "a\na\nf\n"
    assert shown(lading, "root", "cat", "/a") == "a\n"
    assert shown(lading, "here", "cat", "/f") == "f\n"
