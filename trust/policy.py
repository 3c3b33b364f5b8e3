"""Which images are accepted: containers' policy.json, read strictly and looked up without touching
disk.

containers-policy.json(5). Rules: a file that is not understood completely is refused whole, because
a misspelt member would otherwise weaken it in silence. The most specific scope decides alone;
scopes do not add up. All requirements of the deciding scope must hold. Kinds of requirement that
cannot be checked here (``signedBy``; ``sigstoreSigned`` with certificates or a transparency log)
are read, shown by ``explain`` and can be satisfied by nothing.

Not here: finding and reading the file, and reading key files (``trust.policyfile``); judging
signatures (``trust.verify``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from images.errors import ImagesError
from images.reference import Reference
from trust.errors import PolicyFileError
from trust.fields import FieldError, array, canonical_base64, mapping, members, parse, text
from trust.identity import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    SignedIdentity,
)

MAX_POLICY: Final = 4 << 20
"""Bytes of a policy file."""

MAX_REQUIREMENTS: Final = 64
"""Most requirements of one scope."""

MAX_KEYS: Final = 64
"""Most keys of one requirement."""

_KEY_SOURCES: Final = ("keyPath", "keyPaths", "keyData", "keyDatas")
_REKOR: Final = (
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
)


@dataclass(frozen=True, slots=True)
class AcceptAnything:
    """``insecureAcceptAnything``: signatures are not looked at."""

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        return "anything is accepted, signed or not"


@dataclass(frozen=True, slots=True)
class Reject:
    """``reject``: nothing is accepted."""

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        return "everything is refused"


@dataclass(frozen=True, slots=True)
class SigstoreSigned:
    """``sigstoreSigned`` by a key: any one of the keys will do.

    ``key_paths`` name PEM files, ``key_data`` hold PEM bytes; both together are the accepted keys.
    """

    key_paths: tuple[str, ...]
    key_data: tuple[bytes, ...]
    identity: SignedIdentity

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        inline = (f"{len(self.key_data)} key(s) in the policy",) if self.key_data else ()
        return f"signed by {' or '.join((*self.key_paths, *inline))}, {self.identity.rule}"


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A requirement that containers/image can check and lading cannot; nothing satisfies it."""

    kind: str
    means: str

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        return f"{self.kind} by {self.means}, which lading cannot check, so everything is refused"


Requirement = AcceptAnything | Reject | SigstoreSigned | Unsupported


@dataclass(frozen=True, slots=True)
class Decision:
    """Which part of which policy decides about an image. ``scope`` is None for the default."""

    reference: Reference
    source: str
    scope: str | None
    requirements: tuple[Requirement, ...]

    @property
    def needs_signatures(self) -> bool:
        """Whether the verdict depends on signatures, so that they are worth fetching."""
        return all(
            isinstance(requirement, (AcceptAnything, SigstoreSigned))
            for requirement in self.requirements
        ) and any(isinstance(requirement, SigstoreSigned) for requirement in self.requirements)

    @property
    def rule(self) -> str:
        """The deciding place: ``/etc/containers/policy.json: transports.docker["quay.io"]``."""
        if self.scope is None:
            return f"{self.source}: default"
        return f'{self.source}: transports.docker["{self.scope}"]'

    def explain(self) -> str:
        """Which rule decides and what it wants, one line each."""
        why = (
            "no scope of transports.docker covers this name"
            if self.scope is None
            else "the most specific scope that covers this name"
        )
        wants = (f"  requires: {requirement.sentence}" for requirement in self.requirements)
        return "\n".join((str(self.reference), f"  decided by {self.rule} ({why})", *wants))


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file, parsed. ``source`` is how messages name it."""

    default: tuple[Requirement, ...]
    docker: Mapping[str, tuple[Requirement, ...]] = field(default_factory=dict, hash=False)
    source: str = "policy"

    @classmethod
    def parse(cls, data: bytes, *, source: str = "policy.json") -> Policy:
        """Read a policy file's bytes.

        Raises:
            PolicyFileError: anything in it is unknown, missing, doubled or of the wrong type.
        """
        try:
            top = members(
                parse(data, what="the policy", limit=MAX_POLICY),
                required=("default",),
                optional=("transports",),
                at="the policy",
            )
            default = _requirements(top["default"], at="default")
            transports = mapping(top.get("transports", {}), at="transports")
            scopes = {
                name: {
                    scope: _requirements(value, at=f'transports.{name}["{scope}"]')
                    for scope, value in mapping(rules, at=f"transports.{name}").items()
                }
                for name, rules in transports.items()
            }
        except FieldError as error:
            raise PolicyFileError(
                str(error),
                where=source,
                fix="correct the file; `man containers-policy.json` has the syntax",
            ) from error
        return cls(default, scopes.get("docker", {}), source)

    @classmethod
    def accept_anything(cls) -> Policy:
        """What holds when there is no policy file: as with docker, signatures are not looked at."""
        return cls((AcceptAnything(),), source="no policy file")

    def decide(self, reference: Reference) -> Decision:
        """Find the requirements for ``reference``, the name as the user gave it."""
        for scope in scopes_of(reference):
            if scope in self.docker:
                return Decision(reference, self.source, scope, self.docker[scope])
        return Decision(reference, self.source, None, self.default)

    def explain(self, reference: Reference) -> str:
        """Which rule decides about ``reference`` and what it wants, in words."""
        return self.decide(reference).explain()


def scopes_of(reference: Reference) -> Iterator[str]:
    """The scopes that cover ``reference``, most specific first.

    repo@digest, repo:tag, the repository and each namespace above it down to the host, ``*.``
    wildcards of the host without its port, and the empty scope that stands for the whole transport.
    """
    if reference.digest is not None:
        yield f"{reference.name}@{reference.digest}"
    if reference.tag is not None:
        yield f"{reference.name}:{reference.tag}"
    name = reference.name
    while name:
        yield name
        name = name.rpartition("/")[0]
    host = reference.registry.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def _requirements(value: object, *, at: str) -> tuple[Requirement, ...]:
    items = array(value, at=at, most=MAX_REQUIREMENTS)
    if not items:
        raise FieldError(f"{at} has no requirements")
    return tuple(_requirement(item, at=f"{at}[{index}]") for index, item in enumerate(items))


def _requirement(value: object, *, at: str) -> Requirement:
    kind = text(mapping(value, at=at).get("type"), at=f"{at}.type")
    if kind == "insecureAcceptAnything":
        members(value, required=("type",), at=at)
        return AcceptAnything()
    if kind == "reject":
        members(value, required=("type",), at=at)
        return Reject()
    if kind == "signedBy":
        return _signed_by(value, at=at)
    if kind == "sigstoreSigned":
        return _sigstore_signed(value, at=at)
    raise FieldError(f"{at} has an unknown type {kind[:80]!r}")


def _signed_by(value: object, *, at: str) -> Requirement:
    sources = ("keyPath", "keyPaths", "keyData")
    found = members(
        value, required=("type", "keyType"), optional=(*sources, "signedIdentity"), at=at
    )
    if found["keyType"] not in (
        "GPGKeys",
        "signedByGPGKeys",
        "X509Certificates",
        "signedByX509CAs",
    ):
        raise FieldError(f"{at}.keyType is unknown")
    _one_of(found, sources, at=at)
    _keys(found, at=at)
    _identity(found.get("signedIdentity"), at=f"{at}.signedIdentity")
    return Unsupported("signedBy", "an OpenPGP key")


def _sigstore_signed(value: object, *, at: str) -> Requirement:
    sources = (*_KEY_SOURCES, "fulcio", "pki")
    found = members(
        value, required=("type",), optional=(*sources, *_REKOR, "signedIdentity"), at=at
    )
    source = _one_of(found, sources, at=at)
    identity = _identity(found.get("signedIdentity"), at=f"{at}.signedIdentity")
    rekor = [name for name in _REKOR if name in found]
    if len(rekor) > 1:
        raise FieldError(f"{at} has more than one of {', '.join(_REKOR)}")
    if source in ("fulcio", "pki"):
        mapping(found[source], at=f"{at}.{source}")
        return Unsupported("sigstoreSigned", f"a certificate ({source})")
    if rekor:
        return Unsupported("sigstoreSigned", f"a transparency log entry ({rekor[0]})")
    paths, data = _keys(found, at=at)
    return SigstoreSigned(paths, data, identity)


def _one_of(found: Mapping[str, Any], names: tuple[str, ...], *, at: str) -> str:
    present = [name for name in names if name in found]
    if len(present) != 1:
        raise FieldError(f"{at} needs exactly one of {', '.join(names)}")
    return present[0]


def _keys(found: Mapping[str, Any], *, at: str) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    paths = [found[name] for name in ("keyPath",) if name in found]
    data = [found[name] for name in ("keyData",) if name in found]
    if "keyPaths" in found:
        paths = array(found["keyPaths"], at=f"{at}.keyPaths", most=MAX_KEYS)
    if "keyDatas" in found:
        data = array(found["keyDatas"], at=f"{at}.keyDatas", most=MAX_KEYS)
    if not paths and not data:
        raise FieldError(f"{at} names no key")
    return (
        tuple(text(path, at=f"{at}.keyPath") for path in paths),
        tuple(canonical_base64(item, at=f"{at}.keyData") for item in data),
    )


def _identity(value: object, *, at: str) -> SignedIdentity:
    if value is None:
        return MatchRepoDigestOrExact()
    kind = text(mapping(value, at=at).get("type"), at=f"{at}.type")
    plain: dict[str, SignedIdentity] = {
        "matchExact": MatchExact(),
        "matchRepoDigestOrExact": MatchRepoDigestOrExact(),
        "matchRepository": MatchRepository(),
    }
    if kind in plain:
        members(value, required=("type",), at=at)
        return plain[kind]
    if kind == "exactReference":
        found = members(value, required=("type", "dockerReference"), at=at)
        reference = _reference(found["dockerReference"], at=f"{at}.dockerReference")
        if reference.tag is None and reference.digest is None:
            raise FieldError(f"{at}.dockerReference has neither tag nor digest")
        return ExactReference(reference)
    if kind == "exactRepository":
        found = members(value, required=("type", "dockerRepository"), at=at)
        return ExactRepository(_reference(found["dockerRepository"], at=f"{at}.dockerRepository"))
    if kind == "remapIdentity":
        found = members(value, required=("type", "prefix", "signedPrefix"), at=at)
        return RemapIdentity(
            _prefix(found["prefix"], at=f"{at}.prefix"),
            _prefix(found["signedPrefix"], at=f"{at}.signedPrefix"),
        )
    raise FieldError(f"{at} has an unknown type {kind[:80]!r}")


def _reference(value: object, *, at: str) -> Reference:
    try:
        return Reference.parse(text(value, at=at), default_tag=None)
    except ImagesError as error:
        raise FieldError(f"{at}: {error.what}") from error


def _prefix(value: object, *, at: str) -> str:
    prefix = text(value, at=at)
    # A host alone is a good prefix but no repository, so it is checked with a repository behind it.
    probe = _reference(f"{prefix}/probe", at=at)
    if probe.name != f"{prefix}/probe":
        raise FieldError(f"{at} must be a full name such as registry.example.com/team")
    return prefix
