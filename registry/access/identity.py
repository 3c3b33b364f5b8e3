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
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller: ``name`` is "" unless it proved who it is.

    Whoever an outside source vouches for is called ``SOURCE/NAME``, and ``groups``, ``SOURCE/NAME``
    each, are what the source said with it; no other kind has any.
    """

    kind: Kind
    name: str = ""
    groups: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read what ``str`` wrote: ``user:ada``, ``robot:ci``, ``outside:github/x``, ``anonymous``.

        Raises:
            ValueError: it is none of these.
        """
        kind, _, name = text.partition(":")
        identity = cls(Kind(kind), name)
        nameless = identity.kind is Kind.OUTSIDE and not (identity.source and identity.own_name)
        if identity.named != bool(name) or nameless:
            raise ValueError(text)
        return identity

    @property
    def named(self) -> bool:
        """Whether it proved who it is."""
        return self.kind in (Kind.USER, Kind.ROBOT, Kind.OUTSIDE)

    @property
    def source(self) -> str:
        """Which outside source vouches for it, "" for nobody's."""
        return self.name.partition("/")[0] if self.kind is Kind.OUTSIDE else ""

    @property
    def own_name(self) -> str:
        """The name without its source: what ``{user}`` in a pattern stands for."""
        return self.name.partition("/")[2] if self.kind is Kind.OUTSIDE else self.name

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
