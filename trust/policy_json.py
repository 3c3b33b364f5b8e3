"""containers' policy.json: bytes to requirements, strictly.

containers-policy.json(5). A file that is not understood completely is refused whole, because a
misspelt member would otherwise weaken it in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from images.errors import ImagesError
from images.reference import Reference
from trust.fields import FieldError, array, canonical_base64, mapping, members, text
from trust.requirements import (
    AcceptAnything,
    OpenPgpSigned,
    Reject,
    Requirement,
    SigstoreSigned,
    Unsupported,
)

if TYPE_CHECKING:
    from trust.identity import SignedIdentity

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

Requirements = tuple[Requirement, ...]


def read_document(document: object) -> tuple[Requirements, dict[str, Requirements]]:
    """The default and the scopes of transport ``docker`` of a parsed policy.json.

    Raises:
        FieldError: anything in it is unknown, missing or of the wrong type.
    """
    top = members(document, required=("default",), optional=("transports",), at="the policy")
    default = _requirements(top["default"], at="default")
    transports = mapping(top.get("transports", {}), at="transports")
    scopes = {
        name: {
            scope: _requirements(value, at=f'transports.{name}["{scope}"]')
            for scope, value in mapping(rules, at=f"transports.{name}").items()
        }
        for name, rules in transports.items()
    }
    return default, scopes.get("docker", {})


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
    paths, data = _keys(found, at=at)
    identity = _identity(found.get("signedIdentity"), at=f"{at}.signedIdentity")
    if found["keyType"] not in ("GPGKeys", "signedByGPGKeys"):
        return Unsupported("signedBy", "a certificate")
    return OpenPgpSigned(paths, data, identity)


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
    # Most files ask for no signature, and no name has to be compared.
    from trust.identity import (
        ExactReference,
        ExactRepository,
        MatchExact,
        MatchRepoDigestOrExact,
        MatchRepository,
        RemapIdentity,
    )

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
            read_prefix(found["prefix"], at=f"{at}.prefix"),
            read_prefix(found["signedPrefix"], at=f"{at}.signedPrefix"),
        )
    raise FieldError(f"{at} has an unknown type {kind[:80]!r}")


def _reference(value: object, *, at: str) -> Reference:
    try:
        return Reference.parse(text(value, at=at), default_tag=None)
    except ImagesError as error:
        raise FieldError(f"{at}: {error.what}") from error


def read_prefix(value: object, *, at: str) -> str:
    """Read a prefix of ``remapIdentity``: a host, or a namespace on it; raises ``FieldError``."""
    prefix = text(value, at=at)
    # A host alone is a good prefix but no repository, so it is checked with a repository behind it.
    probe = _reference(f"{prefix}/probe", at=at)
    if probe.name != f"{prefix}/probe":
        raise FieldError(f"{at} must be a full name such as registry.example.com/team")
    return prefix
