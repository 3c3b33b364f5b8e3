"""The pins of this user, as a file: ``<trust>/pins.json``, in the words of notary's settings.

    {"certs": {"registry.example.com/team/*": ["<id>"]},
     "ca": {"registry.example.com/": "/etc/pki/images.pem"},
     "disable_tofu": false}

Read strictly: what is not understood pins nothing, so it refuses. Paths are relative to the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from images.durable import write_durably
from trust.errors import TrustError
from trust.fields import FieldError, array, mapping, members, parse, text
from trust.tuf.pinning import Pins

NAME: Final = "pins.json"
MAX_PINS: Final = 1 << 20
MAX_IDS: Final = 64

_ID: Final = re.compile(r"[0-9a-f]{64}\Z")


class PinFileError(TrustError):
    """The file of pins cannot be read, written or understood."""

    code = "tuf-pins"


@dataclass(frozen=True, slots=True)
class PinFile:
    """What the file says; names of ``certs`` are repositories, or prefixes that end in ``*``."""

    certs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ca: Mapping[str, str] = field(default_factory=dict)
    disable_tofu: bool = False

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> Self:
        """Read the bytes of a file; raises ``PinFileError``."""
        try:
            top = members(
                parse(data, what="the pins", limit=MAX_PINS),
                optional=("certs", "ca", "disable_tofu"),
                at="the pins",
            )
            certs = mapping(top.get("certs", {}), at="certs")
            found = {name: _ids(ids, at=f"certs.{name}") for name, ids in certs.items()}
            authorities = mapping(top.get("ca", {}), at="ca")
            files = {name: text(path, at=f"ca.{name}") for name, path in authorities.items()}
            tofu = top.get("disable_tofu", False)
            if not isinstance(tofu, bool):
                raise FieldError("disable_tofu must be true or false")
        except FieldError as error:
            raise PinFileError(
                str(error), where=where, fix="correct the file; docs/trust.md has its form"
            ) from error
        return cls(found, files, tofu)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The file in docker's folder of trust data; without one nothing is pinned.

        Raises:
            PinFileError: it cannot be read or understood.
        """
        path = folder / NAME
        try:
            with path.open("rb") as file:
                data = file.read(MAX_PINS + 1)
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except OSError as error:
            raise _unusable(path, "read", error) from error
        return cls.parse(data, where=str(path))

    def save(self, folder: Path) -> None:
        """Write the file, whole or not at all; raises ``PinFileError``."""
        document: dict[str, Any] = {
            "certs": {name: list(ids) for name, ids in self.certs.items()},
            "ca": dict(self.ca),
            "disable_tofu": self.disable_tofu,
        }
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(folder / NAME, json.dumps(document, indent=2).encode() + b"\n")
        except OSError as error:
            raise _unusable(folder / NAME, "written", error) from error

    def pins(self, folder: Path, *, read: Callable[[Path], bytes] = Path.read_bytes) -> Pins:
        """What verification needs; the certificates of authorities are read now.

        Raises:
            PinFileError: one of them cannot be read.
        """
        authorities: dict[str, bytes] = {}
        for name, file in self.ca.items():
            path = folder / file
            try:
                authorities[name] = read(path)
            except OSError as error:
                raise _unusable(path, "read", error) from error
        return Pins(self.certs, not self.disable_tofu, authorities)

    def with_ids(self, name: str, ids: tuple[str, ...]) -> Self:
        """With these ids pinned for ``name``, beside those that are."""
        merged = tuple(dict.fromkeys((*self.certs.get(name, ()), *ids)))
        return replace(self, certs={**self.certs, name: merged})

    def with_authority(self, name: str, file: str) -> Self:
        """With an authority for all repositories whose names begin so."""
        return replace(self, ca={**self.ca, name.rstrip("*"): file})

    def without(self, name: str) -> Self | None:
        """Without what is pinned for ``name``; None: nothing is."""
        prefix = name.rstrip("*")
        if name not in self.certs and prefix not in self.ca:
            return None
        return replace(
            self,
            certs={other: ids for other, ids in self.certs.items() if other != name},
            ca={other: file for other, file in self.ca.items() if other != prefix},
        )


def is_id(word: str) -> bool:
    """Whether ``word`` can be the id of a key or certificate."""
    return _ID.match(word) is not None


def _ids(value: object, *, at: str) -> tuple[str, ...]:
    ids = tuple(text(item, at=at) for item in array(value, at=at, most=MAX_IDS))
    if not ids or not all(map(is_id, ids)):
        raise FieldError(f"{at} must be key ids of 64 hex digits")
    return ids


def _unusable(path: Path, what: str, error: OSError) -> PinFileError:
    return PinFileError(
        f"cannot be {what}: {error.strerror}",
        where=str(path),
        fix="put it right or remove it; without it, roots are trusted on first use",
    )
