"""Which signed name is good enough for the name the user asked for.

containers-policy.json(5), "signedIdentity". Each rule is a frozen value with ``accepts(wanted,
signed)``, where ``signed`` is the docker-reference of the signature.

A reference with both tag and digest is judged by its tag. That is stricter than containers/image,
and it means that a caller who pins a tag to the digest it resolved does not thereby weaken the
comparison.
"""

from __future__ import annotations

from typing import Protocol

from images.reference import Reference
from records import Record, replace
from trust.signature import signed_name


class SignedIdentity(Protocol):
    """One way of comparing names."""

    @property
    def rule(self) -> str:
        """The rule in words, for explanations."""

    @property
    def needs_name(self) -> bool:
        """Whether a signature without a name is refused."""

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """Whether a signature for ``signed`` counts for ``wanted``."""


class MatchExact(Record):
    """The signed name is the very name asked for, tag or digest included."""

    rule: str = "for exactly this name and tag"
    needs_name: bool = True

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """Equal, and neither is a bare repository."""
        pinned = wanted.tag is not None or wanted.digest is not None
        return pinned and signed_name(wanted) == str(signed)


class MatchRepoDigestOrExact(Record):
    """By tag the names must be equal; by digest the same repository will do. The default."""

    rule: str = "for this name and tag, or for this repository when pulled by digest"
    needs_name: bool = True

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """Equal names with a tag, equal repositories with a digest, nothing for a bare name."""
        if wanted.tag is not None:
            return signed_name(wanted) == str(signed)
        return wanted.digest is not None and wanted.name == signed.name


class MatchRepository(Record):
    """Any tag of the same repository."""

    rule: str = "for this repository"
    needs_name: bool = True

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """Equal repositories."""
        return wanted.name == signed.name


class MatchClaimed(Record):
    """As much of the name as the signature claims; what an explicit key asks for.

    cosign signs the repository alone, or no name at all, where lading and skopeo sign the tag too.
    """

    rule: str = "for this name, as far as the signature says"
    needs_name: bool = False

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """``MatchRepoDigestOrExact`` for a signed tag, equal repositories without one."""
        if signed.tag is not None:
            return MatchRepoDigestOrExact().accepts(wanted, signed)
        return wanted.name == signed.name


class ExactReference(Record):
    """One fixed name, whatever was asked for."""

    reference: Reference
    needs_name: bool = True

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"for {self.reference}"

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """The signed name is the fixed one."""
        return str(signed) == str(self.reference)


class ExactRepository(Record):
    """One fixed repository, whatever was asked for."""

    repository: Reference
    needs_name: bool = True

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"for repository {self.repository.name}"

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """The signed repository is the fixed one."""
        return signed.name == self.repository.name


class RemapIdentity(Record):
    """A mirror: names under ``prefix`` were signed under ``signed_prefix``; others stay as they
    are.
    """

    prefix: str
    signed_prefix: str
    needs_name: bool = True

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"for this name with {self.prefix} read as {self.signed_prefix}"

    def accepts(self, wanted: Reference, signed: Reference) -> bool:
        """``MatchRepoDigestOrExact`` after replacing the prefix."""
        return MatchRepoDigestOrExact().accepts(self._remapped(wanted), signed)

    def _remapped(self, wanted: Reference) -> Reference:
        if wanted.name == self.prefix:
            name = self.signed_prefix
        # A prefix ends at a path border, so that registry/a never covers registry/ab.
        elif wanted.name.startswith(self.prefix + "/"):
            name = self.signed_prefix + wanted.name.removeprefix(self.prefix)
        else:
            return wanted
        registry, _, repository = name.partition("/")
        return replace(wanted, registry=registry, repository=repository)
