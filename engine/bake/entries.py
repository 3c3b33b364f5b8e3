"""Attributes whose items are options by name: caches, outputs, secrets, agents, attestations.

An item is written as text, as after the flag of the same name, or as an object. Either way it ends
here; ``text`` gives the flag's form back, so that the flag's own parser has the last word.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, Self

from engine.bake.errors import BakeValueError
from records import Record, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def fields_of(text: str) -> list[str]:
    """The comma-separated fields of a flag's value; raises BakeValueError."""
    try:
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise BakeValueError(f"{text!r} is not comma-separated: {error}") from error
    if len(rows) != 1:
        raise BakeValueError(f"{text!r} is not one line of options")
    return rows[0]


def joined(pairs: Iterable[tuple[str, str]]) -> str:
    """``key=value`` pairs as one comma-separated text, quoted where they must be."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([f"{key}={value}" for key, value in pairs])
    return out.getvalue()


def parse_bool(text: str, what: str) -> bool:
    """Go's words for true and false; raises BakeValueError."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise BakeValueError(f"{what}: {text!r} is neither true nor false")


def _pairs(text: str, *, lower: bool = True) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in fields_of(text):
        key, equals, value = item.partition("=")
        if not equals:
            raise BakeValueError(f"{item!r} is no key=value pair")
        found[key.strip().lower() if lower else key] = value
    return found


class Cache(Record):
    """An item of ``cache-from`` or ``cache-to``."""

    type: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> list[Self]:
        """Text without an equals sign is names of images, one entry each."""
        if not text:
            return []
        if "=" not in text:
            return [cls("registry", {"ref": name}) for name in fields_of(text)]
        return [cls.of(_pairs(text))]

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Self:
        """From an object; raises BakeValueError."""
        rest = dict(options)
        type = rest.pop("type", "")
        if not type:
            raise BakeValueError(f"a cache needs a type: {joined(options.items())}")
        return cls(type, rest)

    @property
    def identity(self) -> object:
        """Items of one identity are one item."""
        return (self.type, tuple(sorted(self.options.items())))

    def text(self) -> str:
        """As after ``--cache-from``."""
        return joined([("type", self.type), *sorted(self.options.items())])

    def json(self) -> Any:
        """As ``--print`` shows it."""
        return dict(sorted({**self.options, "type": self.type}.items()))


class Output(Record):
    """An item of ``output``."""

    type: str
    destination: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> list[Self]:
        """A bare path is a local directory, a dash a tar archive on standard output."""
        if not text:
            return []
        if fields_of(text) == [text] and not text.startswith("type="):
            return [cls("tar" if text == "-" else "local", text)]
        return [cls.of(_pairs(text))]

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Self:
        """From an object; raises BakeValueError."""
        rest = dict(options)
        type, destination = rest.pop("type", ""), rest.pop("dest", "")
        if not type:
            raise BakeValueError("an output needs a type")
        return cls(type, destination, rest)

    @property
    def identity(self) -> object:
        """Items of one identity are one item."""
        return (self.type, self.destination, tuple(sorted(self.options.items())))

    def text(self) -> str:
        """As after ``--output``."""
        place = [("dest", self.destination)] if self.destination else []
        return joined([("type", self.type), *place, *sorted(self.options.items())])

    def json(self) -> Any:
        """As ``--print`` shows it."""
        place = {"dest": self.destination} if self.destination else {}
        return dict(sorted({**self.options, "type": self.type, **place}.items()))


class SecretSource(Record):
    """An item of ``secret``."""

    id: str = ""
    source: str = ""
    variable: str = ""

    @classmethod
    def parse(cls, text: str) -> list[Self]:
        """As after ``--secret``."""
        if not text:
            return []
        options = _pairs(text)
        kind = options.pop("type", "")
        if kind not in ("", "file", "env"):
            raise BakeValueError(f"{kind!r} is no type of secret", fix="use file or env")
        if "source" in options:
            options["src"] = options.pop("source")
        if kind == "env" and "env" not in options:
            options["env"] = options.pop("src", "")
        return [cls.of(options)]

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Self:
        """From an object; raises BakeValueError."""
        unknown = set(options) - {"id", "src", "env"}
        if unknown:
            raise BakeValueError(
                f"{min(unknown)!r} is no option of a secret", fix="use id, src, env"
            )
        return cls(options.get("id", ""), options.get("src", ""), options.get("env", ""))

    @property
    def identity(self) -> object:
        """The last secret of an id counts."""
        return self.id

    def _pairs(self) -> list[tuple[str, str]]:
        pairs = (("id", self.id), ("src", self.source), ("env", self.variable))
        return [(key, value) for key, value in pairs if value]

    def text(self) -> str:
        """As after ``--secret``."""
        return joined(self._pairs())

    def json(self) -> Any:
        """As ``--print`` shows it."""
        return dict(self._pairs())


class Agent(Record):
    """An item of ``ssh``."""

    id: str = ""
    paths: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> list[Self]:
        """As after ``--ssh``."""
        if not text:
            return []
        id, equals, paths = text.partition("=")
        return [cls(id, tuple(paths.split(",")) if equals else ())]

    @property
    def identity(self) -> object:
        """The last agent of an id counts."""
        return self.id

    def text(self) -> str:
        """As after ``--ssh``."""
        return f"{self.id}={','.join(self.paths)}" if self.paths else self.id

    def json(self) -> Any:
        """As ``--print`` shows it."""
        named = {"id": self.id} if self.id else {}
        return {**named, "paths": list(self.paths)} if self.paths else named


class Attestation(Record):
    """An item of ``attest``."""

    type: str
    disabled: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> list[Self]:
        """As after ``--attest``."""
        return [cls.of(_pairs(text, lower=False))] if text else []

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Self:
        """From an object; raises BakeValueError."""
        rest = dict(options)
        type, disabled = rest.pop("type", ""), rest.pop("disabled", "false")
        if not type:
            raise BakeValueError("an attestation needs a type", fix="use provenance or sbom")
        return cls(type, parse_bool(disabled, "disabled"), rest)

    @property
    def identity(self) -> object:
        """The last attestation of a type counts."""
        return self.type

    def text(self) -> str:
        """As after ``--attest``."""
        off = [("disabled", "true")] if self.disabled else []
        return joined([("type", self.type), *off, *sorted(self.options.items())])

    def json(self) -> Any:
        """As ``--print`` shows it."""
        off = {"disabled": True} if self.disabled else {}
        return dict(sorted({**self.options, "type": self.type, **off}.items()))


Entry = Cache | Output | SecretSource | Agent | Attestation
_ENTRIES: Final = {
    "attest": Attestation,
    "cache-from": Cache,
    "cache-to": Cache,
    "output": Output,
    "secret": SecretSource,
    "ssh": Agent,
}


def entry_type(attribute: str) -> type[Any] | None:
    """What the items of an attribute are, None where they are plain."""
    return _ENTRIES.get(attribute)


def unique(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Each identity once.

    Of secrets, agents and attestations the last one counts, in the place of the first. Of caches
    and outputs a repeated one gives its place to the last of the list: an order that nobody would
    choose, but buildx shows it and it decides nothing.
    """
    if all(isinstance(entry, Cache | Output) for entry in entries):
        kept = list(entries)
        for index in range(len(kept) - 2, -1, -1):
            identities = [entry.identity for entry in kept[index + 1 :]]
            if kept[index].identity in identities:
                repeated = index + 1 + identities.index(kept[index].identity)
                kept[repeated] = kept[-1]
                kept.pop()
        return tuple(kept)
    return tuple({entry.identity: entry for entry in entries}.values())


def canonical_attestation(type: str, text: str) -> str:
    """The value of ``--provenance`` or ``--sbom`` as one of ``--attest``."""
    if text.lower() in ("1", "t", "true"):
        return f"type={type}"
    if text.lower() in ("0", "f", "false"):
        return f"type={type},disabled=true"
    return f"type={type},{text}" if text else f"type={type}"
