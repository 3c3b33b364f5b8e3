"""Lines as they are typed for docker buildx, buildah and kaniko."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lading.commands.foreign import translated
from lading.errors import UsageError
from lading.flags.bake import BAKE
from lading.flags.build import BUILD
from lading.flags.elsewhere import COMMANDS as OTHERS
from lading.flags.elsewhere import ELSEWHERE, REFUSED
from lading.parse import parse
from tests.lading.flags_page import COMMANDS, DIFFER, TOOLS, known, page, switches

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_every_flag_of_other_builders_has_an_answer(tool: str) -> None:
    line, text = TOOLS[tool]
    told = {name.lstrip("-") for flag in ELSEWHERE for name in flag.names.split()}
    flags = set(text.split())
    assert flags - known(line) - told - {"build-arg-file"} == set()


def test_the_page_is_made_of_the_table() -> None:
    made = page()
    assert (Path(__file__).parents[2] / "docs" / "build-flags.md").read_text() == made, (
        "python -m tests.lading.flags_page > docs/build-flags.md"
    )
    assert set(DIFFER) <= {name for _, text in TOOLS.values() for name in text.split()}


def test_no_flag_is_told_twice_or_hides_one_of_ours() -> None:
    names = [name for flag in ELSEWHERE for name in flag.names.split()]
    assert len(names) == len(set(names))
    assert not {name.lstrip("-") for name in names if name.startswith("--")} & known(BUILD)


@pytest.mark.parametrize("flag", [flag for flag in ELSEWHERE if flag.kind == REFUSED])
def test_refusals_say_what_to_type(flag) -> None:
    for name in flag.names.split():
        with pytest.raises(UsageError) as caught:
            translated(BUILD, [name, "."])
        assert (caught.value.where, caught.value.fix) == (name, flag.text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--rm --force-rm=true --compress .", "."),
        ("--jobs 4 --layers --isolation=chroot --retry=3 .", "."),
        ("--resource memory=2g --resource cpu-shares=5 .", "--memory=2g --cpu-shares=5 ."),
        ("--timestamp 0 .", "--build-arg=SOURCE_DATE_EPOCH=0 ."),
        ("--arch=arm64 .", "--platform=linux/arm64 ."),
        ("--dockerfile x --no-push", "--file=x --output=type=cacheonly"),
        ("--reproducible --single-snapshot=false", "--build-arg=SOURCE_DATE_EPOCH=0"),
        ("--tar-path=a.tar", "--output=type=docker,dest=a.tar"),
        ("--push=true --no-cache=false .", "--push ."),
        ("--push --push=false .", "."),
        ("--push=F --push=T .", "--push ."),
        ("--pull=always .", "--pull ."),
        ("--pull=missing .", "."),
        ("--rewrite-timestamp=false .", "--no-rewrite-timestamp ."),
        ("--no-rewrite-timestamp=false .", "--rewrite-timestamp ."),
        ("--provenance false .", "--provenance=false ."),
        ("--provenance mode=max --sbom true .", "--provenance=mode=max --sbom=true ."),
        ("--provenance .", "--provenance ."),
        ("--sbom --push .", "--sbom --push ."),
        ("--provenance --attest-as=index .", "--provenance --attest-as=index ."),
        ("--tag --rm --rm .", "--tag --rm ."),
        ("-- --rm", "-- --rm"),
    ],
)
def test_what_is_typed_elsewhere(typed: str, meant: str) -> None:
    assert translated(BUILD, typed.split()) == meant.split()


@pytest.mark.parametrize("name", switches(BUILD))
def test_switches_take_a_value(name: str) -> None:
    assert translated(BUILD, [f"{name}=true"]) == [name]
    assert translated(BUILD, [f"{name}=0"]) == []
    with pytest.raises(UsageError, match="neither true nor false"):
        translated(BUILD, [f"{name}=perhaps"])


def test_bake_has_flags_of_its_own() -> None:
    assert translated(BAKE, ["--list-targets"]) == ["--list=targets"]
    assert translated(BAKE, ["--push=true", "app"]) == ["--push", "app"]


def test_files_of_arguments(tmp_path: Path) -> None:
    file = tmp_path / "args"
    file.write_text("# comment\nA=1\n\nB=a b\nC\n")
    expected = ["--build-arg=A=1", "--build-arg=B=a b", "--build-arg=C"]
    assert translated(BUILD, ["--build-arg-file", str(file)]) == expected
    assert translated(BUILD, [f"--build-arg-file={file}"]) == expected
    for missing in (["--build-arg-file", str(tmp_path / "none")], ["--build-arg-file"]):
        with pytest.raises(UsageError, match="cannot be read"):
            translated(BUILD, missing)


def test_a_value_that_is_missing() -> None:
    with pytest.raises(UsageError, match="wants a value"):
        translated(BUILD, ["--timestamp"])


def test_what_is_our_own_stays_as_it_is() -> None:
    words = ["-t", "a", "--platform", "linux/amd64", "--check", "--summary=never", "-qf", "x", "."]
    assert translated(BUILD, words) == words
    assert parse(BUILD, words) is not None


def test_the_command_reads_them(lading: Run, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG A\nLABEL a=$A\nCOPY Dockerfile /\n")
    (tmp_path / "args").write_text("A=from the file\n")
    words = ("--rm", "--layers", "--build-arg-file", tmp_path / "args", "--load=true", "-t", "app")
    assert lading("build", *words, "--provenance", "false", tmp_path)[0] == 0
    form = "{{.Config.Labels.a}}"
    assert lading("inspect", "--format", form, "app")[1] == "from the file\n"
    status, _, err = lading("build", "--tls-verify=false", tmp_path)
    assert (status, err) == (
        125,
        "lading: --tls-verify: is not a flag here\n  name the registry: --insecure-registry HOST\n",
    )
    status, _, err = lading("build", "--no-such-flag", tmp_path)
    assert (status, "No such option" in err) == (125, True)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_other_commands_have_an_answer_to_every_flag(lading: Run, command: str) -> None:
    own = lading(*command.split(), "--help")[1]
    for name in COMMANDS[command].split():
        answer = OTHERS.get(command, {}).get(f"--{name}")
        assert (f"--{name}" in own.split() or f"--{name}," in own) == (answer is None), name
        if answer is not None:
            status, _, err = lading(*command.split(), f"--{name}")
            assert (status, f"  {answer}\n" in err) == (125, True)
    assert set(OTHERS.get(command, {})) <= {f"--{name}" for name in COMMANDS[command].split()}
