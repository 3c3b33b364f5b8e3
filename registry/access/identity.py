"""Who asks, and what was decided about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import ApiError


class Kind(enum.Enum):
    """What sort of caller."""

    EVERYBODY = "everybody"
    ANONYMOUS = "anonymous"
    USER = "user"
    ROBOT = "robot"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller: ``name`` is "" unless it is a user or a robot."""

    kind: Kind
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read what ``str`` wrote: ``user:ada``, ``robot:ci``, ``anonymous``.

        Raises:
            ValueError: it is none of these.
        """
        kind, _, name = text.partition(":")
        identity = cls(Kind(kind), name)
        if identity.named != bool(name):
            raise ValueError(text)
        return identity

    @property
    def named(self) -> bool:
        """Whether it proved who it is."""
        return self.kind in (Kind.USER, Kind.ROBOT)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}" if self.name else self.kind.value


EVERYBODY = Identity(Kind.EVERYBODY)
"""Anyone, in a registry without users."""

ANONYMOUS = Identity(Kind.ANONYMOUS)
"""Who showed no credentials to a registry that has users."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether, and by which rule: a sentence for people."""

    allowed: bool
    rule: str


@dataclass(frozen=True, slots=True)
class Grant:
    """That ``identity`` may go on, and by which rule."""

    identity: Identity
    rule: str


class DeniedError(ApiError):
    """A refusal to someone who proved to be ``identity``."""

    def __init__(
        self, code: str, identity: Identity, *, detail: Any, headers: Mapping[str, str] | None
    ) -> None:
        super().__init__(code, detail=detail, headers=headers)
        self.identity = identity
