"""Image references: ``[registry/]repository[:tag][@digest]``, normalised as Docker does.

Grammar: distribution/reference (the Docker reference grammar); design D12.
"""

from __future__ import annotations

import re

from images.digest import Digest
from images.errors import InvalidReferenceError
from records import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
"""Longest registry plus repository, in characters."""

# Compiled when first used, by re itself: a cold start has few names to check.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*\Z"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z"
_HEX_DIGITS = frozenset("0123456789abcdef")


class Reference(Record, order=True):
    """A fully qualified image name; ``parse`` sets at least one of ``tag`` and ``digest``."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: str | None = DEFAULT_TAG) -> Self:
        """Parse and normalise: ``debian`` is ``docker.io/library/debian:latest``.

        ``default_tag`` is given to names with neither tag nor digest; None leaves them bare.

        Raises:
            InvalidReferenceError: says which part is malformed and shows a good one.
            InvalidDigestError: the part after ``@`` is not a digest.
        """
        if len(text) == 64 and _HEX_DIGITS.issuperset(text):
            raise InvalidReferenceError(
                f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )
        name, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        name, tag = _split_tag(name, text)
        registry, repository = _split_registry(name)
        if registry != DEFAULT_REGISTRY and not re.match(_REGISTRY, registry):
            raise InvalidReferenceError(f"invalid registry host {registry!r}", where=text)
        if repository != repository.lower():
            raise InvalidReferenceError(
                f"invalid reference format: repository name ({repository}) must be lowercase",
                where=text,
                fix=f"try {name.lower()}{text[len(name) :]}",
            )
        if not re.match(_REPOSITORY, repository):
            raise InvalidReferenceError(
                "invalid reference format",
                where=text or "''",
                fix="write [registry/]name[:tag][@digest]",
            )
        if len(registry) + 1 + len(repository) > NAME_LIMIT:
            raise InvalidReferenceError(f"name is longer than {NAME_LIMIT} characters", where=text)
        if tag is None and digest is None:
            tag = default_tag
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as Docker shows it: default registry and namespace left out."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        return self.repository.removeprefix(f"{DEFAULT_NAMESPACE}/")

    @property
    def familiar(self) -> str:
        """The whole reference as Docker shows it."""
        return self.familiar_name + self._suffix()

    @property
    def wire_reference(self) -> str:
        """What goes behind ``/manifests/`` in a request: the digest if any, else the tag."""
        return str(self.digest) if self.digest is not None else (self.tag or DEFAULT_TAG)

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository and tag, pinned."""
        return replace(self, digest=digest)

    def with_tag(self, tag: str) -> Reference:
        """The same repository with another tag and no digest.

        Raises:
            InvalidReferenceError: the tag is malformed.
        """
        if not re.match(_TAG, tag):
            raise InvalidReferenceError(f"invalid tag {tag!r}", where=self.name)
        return replace(self, tag=tag, digest=None)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return tag + (f"@{self.digest}" if self.digest is not None else "")

    def __str__(self) -> str:
        return self.name + self._suffix()


def is_repository(text: str) -> bool:
    """Whether ``text`` is a repository path of the distribution specification."""
    return bool(re.match(_REPOSITORY, text)) and len(text) <= NAME_LIMIT


def is_tag(text: str) -> bool:
    """Whether ``text`` is a tag of the distribution specification."""
    return bool(re.match(_TAG, text))


def _split_tag(name: str, whole: str) -> tuple[str, str | None]:
    head, colon, tail = name.rpartition(":")
    if not colon or "/" in tail:
        return name, None
    if not re.match(_TAG, tail):
        raise InvalidReferenceError(
            "invalid reference format", where=whole, fix="a tag is 1 to 128 of A-Z a-z 0-9 _ . -"
        )
    return head, tail


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry = DEFAULT_REGISTRY if first == "index.docker.io" else first
        repository = rest
    else:
        registry, repository = DEFAULT_REGISTRY, name
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"{DEFAULT_NAMESPACE}/{repository}"
    return registry, repository
