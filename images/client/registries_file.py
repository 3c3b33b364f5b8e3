"""Reads registries.conf, version 2: mirrors, moved, blocked and insecure registries.

containers-registries.conf(5) and containers-registries.conf.d(5). Names without a registry are
docker.io's, as with docker, so what the file says of searching for them is passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from images.client.mirrors import Mirror, Registries, Source, When
from images.errors import InputError
from records import Record

VARIABLE: Final = "CONTAINERS_REGISTRIES_CONF"
LIMIT: Final = 1 << 20
"""Bytes of one file."""

_PLACE: Final = re.compile(r"[A-Za-z0-9.\-\[\]:]*[A-Za-z0-9\]](?:/[a-z0-9._\-]+)*")
_WILD: Final = re.compile(r"\*(?:\.[A-Za-z0-9-]+)+")
_SOURCE: Final = frozenset(
    {"prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only"}
)
_MIRROR: Final = frozenset({"location", "insecure", "pull-from-mirror"})


class RegistriesFileError(InputError):
    """registries.conf cannot be used."""

    code = "registries-file"


def find_files(environ: Mapping[str, str], *, superuser: bool) -> tuple[Path, ...]:
    """The files in force, later ones deciding where both speak of one prefix.

    The one that ``$CONTAINERS_REGISTRIES_CONF`` names stands alone; else the user's, or, without
    one or for root, the machine's; after it those of its ``.d`` folder by name.
    """
    named = environ.get(VARIABLE)
    if named:
        return (Path(named),)
    config = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/") / ".config")
    own, system = config / "containers/registries.conf", Path("/etc/containers/registries.conf")
    main = own if not superuser and own.exists() else system
    drops = sorted(main.with_name("registries.conf.d").glob("*.conf"))
    return (*([main] if main.exists() else []), *drops)


def load(environ: Mapping[str, str] = os.environ, *, superuser: bool | None = None) -> Registries:
    """What the files in force say; nothing where there are none.

    Raises:
        RegistriesFileError: one cannot be read or understood.
    """
    root = os.geteuid() == 0 if superuser is None else superuser
    files = find_files(environ, superuser=root)
    found: dict[str, _Entry] = {}
    for path in files:
        found.update({entry.source.prefix: entry for entry in parse(_read(path), str(path))})
    insecure = frozenset(host for entry in found.values() for host in entry.insecure)
    origin = ", ".join(map(str, files))
    return Registries(tuple(entry.source for entry in found.values()), insecure, origin)


class _Entry(Record):
    """One ``[[registry]]``: its source, and the hosts in it that may be insecure."""

    source: Source
    insecure: tuple[str, ...]

    @classmethod
    def of(cls, table: Mapping[str, Any], at: str) -> Self:
        _known(table, _SOURCE, at)
        location = _text(table, "location", at)
        prefix = _text(table, "prefix", at) or location
        if not (_WILD.fullmatch(prefix) or _PLACE.fullmatch(prefix)):
            raise _wrong(at, f"{prefix!r} is not a registry, a place in one, or *.domain")
        by_digest = _flag(table, "mirror-by-digest-only", at)
        rows = table.get("mirror", [])
        if not isinstance(rows, list):
            raise _wrong(at, "mirror is not an array of tables")
        mirrors = [
            _mirror(row, f"{at}, mirror {n}", by_digest=by_digest) for n, row in enumerate(rows, 1)
        ]
        open_ = [row["location"] for row in rows if row.get("insecure")]
        if _flag(table, "insecure", at):
            open_.append(location or prefix)
        source = Source(
            prefix,
            location if location != prefix else "",
            tuple(mirrors),
            _flag(table, "blocked", at),
        )
        return cls(source, tuple(place.partition("/")[0] for place in open_))


def parse(text: str, name: str) -> tuple[_Entry, ...]:
    """The entries of one file; ``name`` is for errors.

    Raises:
        RegistriesFileError: it is no TOML, of version 1, or says what is not understood.
    """
    if _has_short_names_only(text):
        return ()
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(name, f"it is no TOML: {error}") from error
    if "registries" in document:
        raise _wrong(name, "it is of version 1, which containers no longer use")
    tables = document.get("registry", [])
    if not isinstance(tables, list):
        raise _wrong(name, "registry is not an array of tables: write [[registry]]")
    return tuple(
        _Entry.of(table, f"{name}, registry {number}") for number, table in enumerate(tables, 1)
    )


def _has_short_names_only(text: str) -> bool:
    """Whether there is nothing but comments and the table of aliases, as distributions ship it."""
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    headers = [line for line in lines if line[0] == "["]
    return lines[:1] == headers[:1] and all(line == "[aliases]" for line in headers)


def _mirror(row: object, at: str, *, by_digest: bool) -> Mirror:
    if not isinstance(row, dict):
        raise _wrong(at, "it is not a table")
    _known(row, _MIRROR, at)
    location = _text(row, "location", at)
    if not _PLACE.fullmatch(location):
        raise _wrong(at, f"the location {location!r} is not host[:port][/path]")
    _flag(row, "insecure", at)
    asked = _text(row, "pull-from-mirror", at) or ("digest-only" if by_digest else "all")
    if asked not in list(When):
        raise _wrong(at, f"pull-from-mirror is {asked!r}, not all, digest-only or tag-only")
    if by_digest and "pull-from-mirror" in row:
        raise _wrong(at, "pull-from-mirror and mirror-by-digest-only exclude each other")
    return Mirror(location, When(asked))


def _known(table: Mapping[str, Any], names: frozenset[str], at: str) -> None:
    for name in table.keys() - names:
        raise _wrong(at, f"unknown setting {name!r}")


def _text(table: Mapping[str, Any], name: str, at: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise _wrong(at, f"{name} is not a string")
    return value.rstrip("/")


def _flag(table: Mapping[str, Any], name: str, at: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(at, f"{name} is neither true nor false")
    return value


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise _wrong(str(path), f"it is longer than {LIMIT} bytes")
        return data.decode()
    except OSError as error:
        raise _wrong(str(path), f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _wrong(str(path), "it is not UTF-8") from error


def _wrong(where: str, what: str) -> RegistriesFileError:
    return RegistriesFileError(what, where=where, fix="see containers-registries.conf(5)")
