"""``lading bake`` as it is typed, where nothing is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Lading = Callable[..., tuple[int, str, str]]

HCL = """\
variable "TAG" { default = "dev" }
target "default" {
  tags = ["app:${TAG}"]
}
target "other" { description = "another" }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a definition, and an environment without variables of bake."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "docker-bake.hcl").write_text(HCL)
    monkeypatch.chdir(work)
    for name in ("TAG", "BUILDX_BAKE_FILE", "BUILDX_BAKE_ENTITLEMENTS_FS"):
        monkeypatch.delenv(name, raising=False)
    return work


def printed(lading, *argv: str) -> dict:
    status, out, err = lading("bake", "--print", *argv)
    assert status == 0, err
    return json.loads(out)["target"]


def test_the_date_of_the_environment_is_an_argument_of_every_target(lading) -> None:
    found = printed(lading, "default", "other")
    assert [one["args"]["SOURCE_DATE_EPOCH"] for one in found.values()] == ["1700000000"] * 2


def test_variables_come_from_the_command_line_the_environment_and_the_file(
    lading, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(lading)["default"]["tags"] == ["app:dev"]
    monkeypatch.setenv("TAG", "env")
    assert printed(lading)["default"]["tags"] == ["app:env"]
    assert printed(lading, "--var", "TAG=line")["default"]["tags"] == ["app:line"]
    monkeypatch.setenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "1")
    assert printed(lading)["default"]["tags"] == ["app:dev"]


def test_override_files_are_read_after_the_others(lading, folder: Path) -> None:
    (folder / "docker-bake.override.json").write_text('{"target": {"default": {"tags": ["o"]}}}')
    assert printed(lading)["default"]["tags"] == ["o"]
    assert printed(lading, "-f", "docker-bake.hcl")["default"]["tags"] == ["app:dev"]


def test_files_are_named_by_the_environment_where_there_is_no_flag(
    lading, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "one.hcl").write_text('target "default" { tags = ["one"] }')
    (folder / "two.hcl").write_text('target "default" { labels = { two = "2" } }')
    monkeypatch.setenv("BUILDX_BAKE_FILE", "one.hcl@ two.hcl")
    monkeypatch.setenv("BUILDX_BAKE_PATH_SEPARATOR", "@")
    found = printed(lading)["default"]
    assert (found["tags"], found["labels"]) == (["one"], {"two": "2"})


def test_short_flags_stand_for_set(lading) -> None:
    found = printed(
        lading, "--push", "--no-cache", "--pull=false", "--provenance=mode=max", "--sbom=false"
    )["default"]
    assert found["output"] == [{"push": "true", "type": "image"}]
    assert (found["no-cache"], found["pull"]) == (True, False)
    assert found["attest"] == [
        {"disabled": True, "type": "sbom"},
        {"mode": "max", "type": "provenance"},
    ]
    assert printed(lading, "--load", "--check")["default"]["call"] == "check"


def test_listings(lading) -> None:
    status, out, _ = lading("bake", "--list", "targets")
    assert (status, out) == (0, "TARGET\tDESCRIPTION\ndefault\t\nother\tanother\n")
    _, out, _ = lading("bake", "--list=variables")
    assert out == "VARIABLE\tTYPE\tVALUE\tDESCRIPTION\nTAG\t\t\tdev\t\n"
    _, out, _ = lading("bake", "--list=type=targets,format=json")
    assert json.loads(out)[1] == {"name": "other", "description": "another"}


@pytest.mark.parametrize(
    ("argv", "status", "says"),
    [
        (("--print", "--list", "targets"), 125, "exclude one another"),
        (("--list", "nope"), 125, "cannot list"),
        (("--var", "TAG"), 125, "no NAME=VALUE"),
        (("--set", "nope.tags=x"), 1, "no target is called nope"),
        (("--allow", "everything"), 1, "unknown entitlement"),
        (("-f", "missing.hcl"), 1, "missing.hcl"),
        (("--sbom=,",), 1, "--set default.attest"),
    ],
)
def test_mistakes_are_told(lading, argv: tuple[str, ...], status: int, says: str) -> None:
    found, _, err = lading("bake", *argv)
    assert (found, says in err) == (status, True), err


def test_a_directory_without_a_definition_says_what_is_looked_for(lading, folder: Path) -> None:
    (folder / "docker-bake.hcl").unlink()
    status, _, err = lading("bake")
    assert status == 1
    assert "there is no bake file here" in err
    assert "compose.yaml" in err


def test_warnings_name_their_line_and_stop_nothing(lading, folder: Path) -> None:
    (folder / "docker-bake.hcl").write_text('target "default" {\n  tag = ["x"]\n}\n')
    status, _, err = lading("bake", "--print")
    assert status == 0
    assert "docker-bake.hcl:2: target default: tag is no attribute of a target" in err


CALLED = """\
group "default" { targets = ["a", "b"] }
target "a" {
  description = "the first"
  dockerfile-inline = "FROM scratch\\nARG X=1\\n"
  contexts = { other = "target:b" }
}
target "b" {
  dockerfile-inline = "FROM scratch AS it\\n"
  call = "targets"
}
"""


def test_calls_answer_for_each_target(lading: Lading, folder: Path) -> None:
    (folder / "docker-bake.hcl").write_text(CALLED)
    status, out, _ = lading("bake", "--call=outline", "a")
    assert status == 0
    assert out.startswith("a\nthe first\n\nBUILD ARG   VALUE   DESCRIPTION\nX           1       \n")
    status, out, _ = lading("bake", "--call=targets,format=json", "a", "b")
    told = json.loads(out)
    assert told["target"]["a"]["build"]["call"] == "targets"
    assert told["target"]["b"]["targets"]["targets"][0]["name"] == "it"
    # A target's own question is asked without a flag too.
    assert lading("bake", "b")[:2] == (
        0,
        "b\n\nTARGET       DESCRIPTION\nit (default) \n",
    )


def test_calls_that_are_none(lading: Lading, folder: Path) -> None:
    (folder / "docker-bake.hcl").write_text(CALLED)
    assert lading("bake", "--call=shape")[0] == 125
    status, _, err = lading("bake", "--set", "b.call=shape", "b")
    assert status == 125
    assert "call of the target b" in err


def test_each_target_is_judged_by_its_own_policy(lading: Lading, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY docker-bake.hcl /\n")
    assert lading("build", "-q", "-t", "base", folder)[0] == 0
    for name in ("accept", "reject"):
        (folder / f"{name}.toml").write_text(f'default = "{name}"\n')
    (folder / "docker-bake.hcl").write_text(
        """
        target "may" {
          dockerfile-inline = "FROM base"
          policy = [{ filename = "accept.toml" }]
        }
        target "may-not" {
          dockerfile-inline = "FROM base\\nLABEL a=b"
          policy = [{ filename = "reject.toml" }]
        }
        target "outside" {
          dockerfile-inline = "FROM base"
          policy = [{ filename = "../rules.toml" }]
        }
        """
    )
    assert lading("bake", "may")[0] == 0
    status, _, err = lading("bake", "may", "may-not")
    assert status == 1
    assert "the policy refuses this image" in err
    assert "while building the target may-not" in err
    status, _, err = lading("bake", "outside")
    assert (status != 0, "--allow=fs.read=" in err) == (True, True)
