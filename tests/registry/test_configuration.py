"""Configuration from files, variables and flags: what wins, and what is said of mistakes."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lading.app import App
from lading.commands.registry import registry
from records import Record
from registry.config import RegistryConfig
from registry.configuration import units
from registry.configuration.build import understand
from registry.configuration.declare import Duration, Size
from registry.configuration.lines import toml_lines
from registry.configuration.schema import plain
from registry.configuration.sources import load, variables
from registry.errors import RegistryConfigError
from registry.settings import LogFormat, TlsVersion

DOCS = Path(__file__).parents[2] / "docs"

TOML = """\
root = "store"   # beside this file
port = 5001
[limits]
idle_timeout = "1h30m"
blob_size = "5GiB"
[log]
format = "json"
"""
YAML = """\
root: store
port: 5001
limits:
  idle_timeout: 1h30m
  blob_size: 5GiB
log: {format: json}
"""

BAD_TOML = """\
root = "store"
prt = 3
workers = "four"

[tls]
crt = "x"
minimum = 1.4

[limits]
idle_timeout = "10 parsecs"
cache = -5

[log]
format = [
  "text"]
access = "yes"

[[access.rules]]
repositories = ["a"]
actions = ["pull"]
users = ["ada"]

[[access.rules]]
repositories = ["b"]
actions = ["pull"]
effect = "alow"
"""
BAD_TEXT = """\
F:2: prt: no such setting; did you mean port?
F:3: workers: 'four' is not a whole number
F:6: tls.crt: no such setting; did you mean cert?
F:7: tls.minimum: 1.4 is not one of 1.2, 1.3; did you mean 1.3?
F:26: access.rules[1].effect: 'alow' is not one of allow, deny; did you mean allow?
F:10: limits.idle_timeout: '10 parsecs' is not a duration such as 90s, 10m or 7d
F:14: log.format: a list is not one of text, json
F:16: log.access: 'yes' is not true or false
"""


def write(folder: Path, text: str, name: str = "registry.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(path: Path, **options: object) -> list[str]:
    with pytest.raises(RegistryConfigError) as caught:
        load(RegistryConfig, file=path, defaults={"root": Path("r")}, **options)  # type: ignore[arg-type]
    return [
        str(problem).replace(f"{path}", "F") for problem in caught.value.problems or (caught.value,)
    ]


def run(*arguments: str, root: Path = Path("/nowhere")) -> tuple[int, str]:
    app = App.create(root=str(root), config=None, debug=False)
    result = CliRunner().invoke(registry, list(arguments), obj=app, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value or 0, result.output


@pytest.mark.parametrize(("name", "text"), [("c.toml", TOML), ("c.yaml", YAML)])
def test_both_formats_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    config = load(RegistryConfig, file=write(tmp_path, text, name))
    assert config.root == tmp_path / "store"
    assert (config.port, config.limits.idle_timeout) == (5001, 5400.0)
    assert (config.limits.blob_size, config.log.format) == (5 << 30, LogFormat.JSON)
    assert config.tls.minimum is TlsVersion.TLS_1_2


def test_flags_win_over_the_environment_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1\nworkers = 1\nhost = 'a'\n")
    config = load(
        RegistryConfig,
        file=file,
        environment={"LADING_REGISTRY_PORT": "2", "LADING_REGISTRY_WORKERS": "2", "HOME": "x"},
        flags={"port": 3, "host": None},
        defaults={"root": tmp_path, "port": 4},
    )
    assert (config.port, config.workers, config.host, config.root) == (3, 2, "a", tmp_path)


def test_a_variable_takes_the_type_of_its_setting(tmp_path: Path) -> None:
    environment = {
        "LADING_REGISTRY_READ_ONLY": "on",
        "LADING_REGISTRY_LIMITS_BLOB_SIZE": "",
        "LADING_REGISTRY_LIMITS_CACHE": "1MiB",
        "LADING_REGISTRY_ACCESS_HOST_NAMES": "a.example, b.example:5000",
        "LADING_REGISTRY_ACCESS_RULES": json.dumps(
            [{"repositories": ["x"], "actions": ["pull"], "anonymous": True}]
        ),
    }
    file = write(tmp_path, "[limits]\nblob_size = 5\n")
    config = load(RegistryConfig, file=file, environment=environment, defaults={"root": tmp_path})
    assert config.read_only
    assert (config.limits.blob_size, config.limits.cache) == (None, 1 << 20)
    assert config.access.host_names == ("a.example", "b.example:5000")
    assert config.access.rules[0].repositories == ("x",)


@pytest.mark.parametrize("name", ["c.toml", "c.yaml"])
def test_none_unsets_what_has_a_default(tmp_path: Path, name: str) -> None:
    text = '[collection]\ninterval = "none"\n'
    if name == "c.yaml":
        text = "collection:\n  interval: null\n"
    config = load(RegistryConfig, file=write(tmp_path, text, name), defaults={"root": tmp_path})
    assert config.collection.interval is None


def test_no_two_settings_share_a_variable() -> None:
    from registry.configuration.sources import leaves

    assert len(variables(RegistryConfig)) == len(list(leaves(RegistryConfig)))


def test_check_says_everything_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, BAD_TOML)
    status, output = run("config", "check", str(path))
    assert status == 1
    assert output.replace(str(path), "F") == BAD_TEXT
    status, output = run("config", "check", str(write(tmp_path, TOML)))
    assert (status, output) == (0, f"{path}: nothing is wrong\n")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.toml", "a = ", "F: not TOML: Invalid value (at end of document)"),
        ("c.yaml", "a: [", "F:1: not YAML: expected the node content, but found '<stream end>'"),
        ("c.yaml", "port: 1\nport: 2\n", "F:2: port is set twice"),
        ("c.yaml", "1: 2\n", "F:1: a name here must be text"),
        ("c.yaml", "- a\n", "F:1: a table of settings belongs here"),
        ("c.yaml", "port: !!python/name:os.system\n", "F:1: not YAML: could not determine"),
        ("c.yaml", "host: no\n", "F:1: host: false is not text"),
        ("c.yaml", "host:\n", "F:1: host: text belongs here, and nothing is"),
        ("c.yaml", "[" * 30 + "]" * 30, "F:1: this is nested too deeply"),
        ("c.yaml", "tls: 1\n", "F:1: tls: a table of settings belongs here"),
        ("c.toml", "port = 70000\n", "F:1: port: port 70000 is out of range"),
        ("c.toml", "\n[tls]\ncert='x'\n", "F:2: tls.key: a certificate and its key go together"),
        ("c.toml", "tls = {cert = 'x', key = 'y'}\n", "F:1: tls.cert: no such file: "),
        (
            "c.toml",
            f"[[proxy]]\nupstream='q.io'\nusername='u'\npassword_file='/{'x' * 300}'\n",
            f"F:4: proxy[0].password_file: /{'x' * 300} cannot be read: File name too long",
        ),
        ("c.ini", "", "F: the suffix does not say what this is"),
    ],
)
def test_one_mistake(tmp_path: Path, name: str, text: str, said: str) -> None:
    assert problems(write(tmp_path, text, name))[0].startswith(said)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.toml") == ["F: cannot read: No such file or directory"]
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xff")
    assert problems(path) == ["F: this is not UTF-8"]


def test_a_variable_that_is_none_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    found = problems(path, environment={"LADING_REGISTRY_TLS_CRT": "x"})
    assert found == ["LADING_REGISTRY_TLS_CRT: no setting has this variable"]


def test_relative_paths_of_flags_are_left_alone(tmp_path: Path) -> None:
    config = load(RegistryConfig, file=write(tmp_path, ""), flags={"root": Path("here")})
    assert config.root == Path("here")


def test_show_prints_what_it_would_read_back(tmp_path: Path) -> None:
    file = write(tmp_path, TOML)
    for style in ("yaml", "json"):
        arguments = ("config", "show", "-c", str(file), "--addr", ":7000", "--format", style)
        _, output = run(*arguments)
        shown = write(tmp_path, output, "shown.yaml")
        config = load(RegistryConfig, file=shown)
        assert (config.host, config.port, config.limits.blob_size) == ("0.0.0.0", 7000, 5 << 30)
        assert plain(config) == json.loads(json.dumps(plain(config)))


def test_the_published_schema_is_current() -> None:
    _, output = run("config", "schema")
    published = (DOCS / "registry.schema.json").read_text()
    assert published == output, "lading registry config schema > docs/registry.schema.json"


def test_the_published_reference_is_current() -> None:
    _, output = run("config", "reference")
    published = (DOCS / "registry-configuration.md").read_text()
    assert published == output, "lading registry config reference > docs/registry-configuration.md"


class Colour(enum.Enum):
    RED = "red"


class Inner(Record):
    size: Size = 1


def test_annotations() -> None:
    wanted = understand(Annotated[Duration | None, "how long"])
    assert (wanted.kind, wanted.unit, wanted.optional) == (float, units.Unit.DURATION, True)
    assert wanted.help == "how long"
    assert understand(tuple[Colour, ...]).item == understand(Colour)
    assert understand(Inner).is_section
    for strange in (dict[str, int], tuple[int, str], int | str):
        with pytest.raises(TypeError):
            understand(strange)


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("250ms", 0.25), ("7d", 604800.0)],
)
def test_durations(text: str, value: float) -> None:
    assert units.parse_duration(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("4096", 4096), ("5GiB", 5 << 30), ("1.5 kB", 1500), ("2mib", 2 << 20)]
)
def test_sizes(text: str, value: int) -> None:
    assert units.parse_size(text) == value


@pytest.mark.parametrize("text", ["", "x", "1 parsec", "-1", "1m30", "m"])
def test_neither_duration_nor_size(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        units.parse_duration(text)
    with pytest.raises(ValueError, match=r".*"):
        units.parse_size(text)


@given(st.integers(min_value=0, max_value=1 << 60))
def test_what_is_formatted_reads_back(number: int) -> None:
    assert units.parse_size(units.format_size(number)) == number
    seconds = number % 10_000_000
    assert units.parse_duration(units.format_duration(seconds)) == seconds


def test_lines_of_toml() -> None:
    text = (
        "a = 1\n'b c'.d = [\n  1, # ]\n  2]\n\n[t.u]\nx = '''\ny = 3\n'''\nz = {p = 1,\n q = 2}\n"
        '[[l]]\n\n[[l]]\nm = "\\"["\n[l.n]\no = 1\n'
    )
    lines = toml_lines(text)
    assert lines[("a",)] == 1
    assert lines[("b c", "d")] == 2
    assert (lines[("t", "u", "x")], lines[("t", "u", "z")]) == (7, 10)
    assert (lines[("l", 0)], lines[("l", 1)], lines[("l", 1, "m")]) == (12, 14, 15)
    assert lines[("l", 1, "n", "o")] == 17
    assert ("y",) not in lines
