"""registries.conf: which file counts, what it says, and what is no good in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.client.mirrors import Mirror, Source, When
from images.client.registries_file import RegistriesFileError, find_files, load, parse

CONF = """
unqualified-search-registries = ["quay.io"]

[aliases]
"debian" = "docker.io/library/debian"

[[registry]]
prefix = "example.com/team"
location = "inside.example/mirror/team"
insecure = true

[[registry]]
location = "docker.io"

[[registry.mirror]]
location = "127.0.0.1:5000/hub"
insecure = true

[[registry.mirror]]
location = "hub.example"
pull-from-mirror = "digest-only"

[[registry]]
prefix = "*.bad.example"
blocked = true
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_a_file_says(tmp_path: Path) -> None:
    path = write(tmp_path, "r.conf", CONF)
    found = load({"CONTAINERS_REGISTRIES_CONF": str(path)})
    assert found.sources == (
        Source("example.com/team", "inside.example/mirror/team"),
        Source(
            "docker.io",
            mirrors=(Mirror("127.0.0.1:5000/hub"), Mirror("hub.example", When.DIGEST)),
        ),
        Source("*.bad.example", blocked=True),
    )
    assert found.insecure == {"inside.example", "127.0.0.1:5000"}


def test_the_users_file_stands_before_the_machines_and_drops_add_to_it(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"}
    main = write(tmp_path, "containers/registries.conf", '[[registry]]\nlocation = "a.example"\n')
    late = write(
        tmp_path,
        "containers/registries.conf.d/20.conf",
        '[[registry]]\nlocation = "a.example"\nblocked = true\n',
    )
    early = write(tmp_path, "containers/registries.conf.d/10.conf", "")
    write(tmp_path, "containers/registries.conf.d/README", "no")
    assert find_files(environ, superuser=False) == (main, early, late)
    assert load(environ, superuser=False).sources == (Source("a.example", blocked=True),)
    assert main not in find_files(environ, superuser=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[registry]\n", "no TOML"),
        ("[registries.search]\nregistries = []\n", "version 1"),
        ('registry = "docker.io"\n', r"write \[\[registry\]\]"),
        ("[[registry]]\nblocked = true\n", "'' is not a registry"),
        ('[[registry]]\nlocation = "https://a.example"\n', "is not a registry"),
        ('[[registry]]\nprefix = "a.*.example"\n', "is not a registry"),
        ('[[registry]]\nprefix = "a.example/b:latest"\n', "is not a registry"),
        ('[[registry]]\nlocation = "a"\nmirorr = 1\n', "unknown setting 'mirorr'"),
        ('[[registry]]\nlocation = "a"\ninsecure = "yes"\n', "neither true nor false"),
        ("[[registry]]\nlocation = 3\n", "not a string"),
        ('[[registry]]\nlocation = "a"\nmirror = ["b"]\n', "not a table"),
        ('[[registry]]\nlocation = "a"\nmirror = 1\n', "not an array"),
        ('[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = ""\n', "the location ''"),
        (
            '[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = "b"\n'
            'pull-from-mirror = "never"\n',
            "not all, digest-only or tag-only",
        ),
        (
            '[[registry]]\nlocation = "a"\nmirror-by-digest-only = true\n'
            '[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "all"\n',
            "exclude each other",
        ),
    ],
)
def test_what_is_no_good_is_said(text: str, says: str) -> None:
    with pytest.raises(RegistriesFileError, match=says) as caught:
        parse(text, "r.conf")
    assert str(caught.value.where).startswith("r.conf")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(RegistriesFileError, match="cannot be read"):
        load({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "absent")})
