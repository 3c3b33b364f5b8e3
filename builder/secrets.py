"""Secrets that steps may mount: read from a file or a variable once, held in memory alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from builder.errors import BuildInputError

SIZE_LIMIT: Final = 500 << 10
"""BuildKit's limit, in bytes."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret; its bytes are left out of its repr."""

    id: str
    content: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """Read ``id=name[,src=path | ,env=VARIABLE][,type=file|env]``, as ``--secret`` takes it.

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
        return cls(name, content)


_KEYS: Final = {"id": "id", "src": "src", "source": "src", "env": "env", "type": "type"}


def by_id(secrets: Iterable[Secret]) -> dict[str, bytes]:
    """Contents by id; the last of equal ids wins."""
    return {secret.id: secret.content for secret in secrets}


def _read(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise BuildInputError(
            f"secret {name}: cannot read {path}: {error.strerror}",
            fix="check the path after src=",
        ) from error
