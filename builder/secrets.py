"""Secrets that steps may mount: read from a file or a variable once, held in memory alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from builder.errors import BuildEnvironmentError, BuildInputError
from records import Record, field

SIZE_LIMIT: Final = 500 << 10
"""BuildKit's limit, in bytes."""


class Secret(Record):
    """One secret; its bytes are left out of its repr."""

    id: str
    content: bytes = field(repr=False)
    keyed: bool = False
    """Whether steps that mount it are done anew when it changes."""

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """Read ``id=name[,src=path | ,env=VARIABLE][,type=file|env][,cache=digest|none]``.

        Without ``src`` and ``env`` the variable called ``id`` is taken if it is set, else the file.

        Raises:
            BuildInputError: malformed, unreadable, or longer than 500 KiB.
        """
        options: dict[str, str] = {}
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if not equals or name.strip() not in _KEYS:
                raise BuildInputError(
                    f"invalid secret option {part!r}",
                    fix="write --secret id=name,src=path or --secret id=name,env=VARIABLE",
                )
            options[_KEYS[name.strip()]] = value
        return cls._load(options, environment)

    @classmethod
    def _load(cls, options: Mapping[str, str], environment: Mapping[str, str]) -> Self:
        source, variable = options.get("src"), options.get("env")
        name = options.get("id") or source or variable
        if not name:
            raise BuildInputError("a secret needs an id", fix="write --secret id=name,src=path")
        kind = options.get("type", "")
        if kind not in ("", "file", "env"):
            raise BuildInputError(f"unsupported secret type {kind!r}", fix="use file or env")
        if kind == "env" and variable is None:
            source, variable = None, source or name
        cache = options.get("cache", "none")
        if cache not in ("none", "digest"):
            raise BuildInputError(
                f"secret {name}: unsupported cache={cache}",
                fix="cache=digest makes steps depend on the secret's content, cache=none does not",
            )
        if variable is None and source is None and name in environment:
            variable = name
        if variable is not None:
            if variable not in environment:
                raise BuildInputError(
                    f"secret {name}: environment variable {variable} is not set",
                    fix=f"export {variable} or use src=path",
                )
            content = environment[variable].encode("utf-8", "surrogateescape")
        else:
            content = _read(name, Path(source or name))
        if len(content) > SIZE_LIMIT:
            raise BuildInputError(f"secret {name} is longer than {SIZE_LIMIT} bytes")
        return cls(name, content, cache == "digest")


_KEYS: Final = {
    "id": "id",
    "src": "src",
    "source": "src",
    "env": "env",
    "type": "type",
    "cache": "cache",
}


def by_id(secrets: Iterable[Secret]) -> dict[str, bytes]:
    """Contents by id; the last of equal ids wins."""
    return {secret.id: secret.content for secret in secrets}


def digests(secrets: Iterable[Secret], state: Path) -> dict[str, bytes]:
    """What stands in cache keys for each keyed secret, by id.

    They are HMACs under a key of this store's own, so that a record or an exported key does not
    allow a weak secret to be guessed without the store.

    Raises:
        BuildEnvironmentError: the store's key can be neither read nor made.
    """
    keyed = [secret for secret in secrets if secret.keyed]
    if not keyed:
        return {}
    import hmac

    key = _store_key(state / "secret-key")
    return {secret.id: hmac.digest(key, secret.content, "sha256") for secret in keyed}


def _store_key(path: Path) -> bytes:
    """The key, made on first use; whoever links it first wins."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            stage = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
            descriptor = os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(32))
            with suppress(FileExistsError):
                path.hardlink_to(stage)
            stage.unlink()
        return path.read_bytes()
    except OSError as error:
        raise BuildEnvironmentError(
            f"cannot use {path}: {error.strerror}", fix="check the permissions of the store"
        ) from error


def _read(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise BuildInputError(
            f"secret {name}: cannot read {path}: {error.strerror}",
            fix="check the path after src=",
        ) from error
