"""Compose files: what belongs together, what is refused, and what is read on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.bake.compose.dotenv import parse_dotenv
from engine.bake.compose.interpolate import interpolate
from engine.bake.entitlements import Grants, missing
from engine.bake.errors import BakeError, BakeLimitError
from engine.bake.files import load_files, read_files
from engine.bake.model import Config, Target
from tests.engine.bake.support import surroundings


def loaded(folder: Path, names: tuple[str, ...] = (), /, **files: str) -> Config:
    """The definition of these files; ``__`` in a name is a slash, ``_`` a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return load_files(read_files(names, folder), surroundings({"HOME_ONE": "h"}), folder)


def only(config: Config) -> Target:
    (target,) = config.targets
    return target


def test_later_files_are_merged_over_earlier_ones(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        ("a.yaml", "b.yaml"),
        a_yaml="services:\n  web:\n    build:\n      context: .\n      args: {A: 1, B: 2}\n"
        "      tags: [x]\n      cache_from: [one]\n      labels: {l: m}\n      target: old\n",
        b_yaml="services:\n  web:\n    build:\n      args: [A=3]\n      tags: !override [y]\n"
        "      cache_from: [two]\n      target: !reset null\n",
    )
    target = only(found)
    assert target.args == {"A": "3", "B": "2"}
    assert (target.tags, target.target, target.labels) == (("y",), None, {"l": "m"})
    assert [one.options["ref"] for one in target.cache_from or ()] == ["one", "two"]


def test_services_extend_others_of_this_file_and_of_files_elsewhere(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        compose_yaml="services:\n  web:\n    extends: {file: lib/base.yaml, service: base}\n"
        "    build: {args: {B: '2'}}\n",
        lib__base_yaml="services:\n  base:\n    extends: root\n    build: {args: {A: '1'}}\n"
        "  root:\n    build:\n      context: ./app\n      additional_contexts: {c: ../c}\n",
    )
    target = only(found)
    assert target.args == {"A": "1", "B": "2"}
    assert (target.context, target.contexts) == ("lib/app", {"c": "c"})
    assert found.reads == ("lib/base.yaml",)


def test_included_files_have_their_own_directory(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        compose_yaml="include:\n  - sub/more.yaml\nservices:\n  a: {build: .}\n",
        sub__more_yaml="services:\n  b: {build: {secrets: [s]}}\nsecrets: {s: {file: ./s}}\n",
    )
    made = {target.name: target for target in found.targets}
    assert (made["a"].context, made["b"].context) == (".", "sub")
    assert [one.source for one in made["b"].secret or ()] == ["sub/s"]


def test_files_that_a_definition_names_are_reads_that_need_to_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "outside.env").write_text("TOKEN=x\n")
    found = loaded(
        tmp_path / "work",
        compose_yaml="services:\n  a:\n    env_file: ../outside.env\n    build: {args: [TOKEN]}\n",
    )
    assert only(found).args == {"TOKEN": "x"}
    grants = Grants.parse((), str(tmp_path / "work"))
    assert missing((), grants, reads=found.reads) == [f"fs.read={tmp_path / 'outside.env'}"]


def test_words_of_older_yaml_stay_words(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        compose_yaml="services:\n  a:\n    build:\n      context: .\n      args:\n"
        "        A: yes\n        B: 22:22\n        C: 2001-12-14\n        D: 1.50\n"
        "        E: true\n"
        "        F: 0x1f\n        G: on\n",
    )
    assert only(found).args == {
        "A": "yes", "B": "22:22", "C": "2001-12-14", "D": "1.5", "E": "true", "F": "31", "G": "on",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services: [a]\n", "services are a mapping"),
        ("services: {a: {build: .}}\nsecrets: key\n", "secrets are a mapping"),
        ("services: {a: {build: ., extends: [b]}}\n", "extends a service"),
        ("services:\n  a: b\n", "a service is a mapping"),
        ("services:\n  a: {build: [x]}\n", "build is a path or a mapping"),
        ("services:\n  a: {build: {args: 1}}\n", "args is a mapping"),
        ("services:\n  a: {build: {tags: {x: y}}}\n", "tags is a list of texts"),
        ("services:\n  a: {build: {secrets: [s]}}\n", "secret s is not defined"),
        ("services:\n  a: {build: {no_cache: maybe}}\n", "neither true nor false"),
        ("services:\n  a: {build: {context: '${A?need}'}}\n", "the variable A is required: need"),
        ("services:\n  a: {build: {context: '${'}}\n", "is no variable"),
        ("services:\n  a: {extends: a, build: .}\n", "extends itself"),
        ("services:\n  a: {extends: nope}\n", "there is no service nope"),
        ("services:\n  a: {build: {x-bake: {nope: 1}}}\n", "x-bake has no nope"),
        ("services:\n  a!: {build: .}\n", "no name of a target"),
        ("services:\n  a: {build: {extra_hosts: [db]}}\n", "has no address"),
        ("services:\n\ta: 1\n", "cannot start any token"),
        ("a: &a [*a]\n", None),
        ("- a\n", "a mapping at its top"),
        ("{}\n", "there are no services"),
        ("include: [compose.yaml]\nservices: {}\n", "include one another"),
    ],
)
def test_mistakes_are_told(text: str, says: str | None, tmp_path: Path) -> None:
    with pytest.raises(BakeError, match=says) as caught:
        loaded(tmp_path, compose_yaml=text)
    assert caught.value.where


def test_aliases_do_not_multiply_without_end(tmp_path: Path) -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(BakeLimitError):
        loaded(tmp_path, compose_yaml="\n".join(lines))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A-${A}", "x-x"),
        ("${N:-d}${N-d}${E:-d}${E-d}", "ddd"),
        ("${A:+y}${E:+y}${E+y}${N+y}", "yy"),
        ("${N:-${A:-z}}", "x"),
        ("$$A ${A}}", "$A x}"),
        ("${A?no}", "x"),
    ],
)
def test_variables(text: str, value: str) -> None:
    assert interpolate(text, {"A": "x", "E": ""}, "here") == value


def test_dotenv_files() -> None:
    lines = ("# comment", "A=1", "export B = two words # why", "C='$A'", 'D="$A\\n"', "E=", "FROM")
    text = "\n".join((*lines, "F=a#b", "", "G: 3\r", ""))
    assert parse_dotenv(text, {"FROM": "env"}, ".env") == {
        "A": "1", "B": "two words", "C": "$A", "D": "1\n", "E": "", "FROM": "env", "F": "a#b",
        "G": "3",
    }  # fmt: skip
    with pytest.raises(BakeError, match="sets no variable") as caught:
        parse_dotenv("A=1\n=2\n", {}, ".env")
    assert caught.value.where == ".env:2"
