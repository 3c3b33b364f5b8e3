"""The JWS envelope: bytes to parts, parts to bytes, and who signed them.

Notary Project specifications "signature-specification.md" and "signature-envelope-jws.md": RFC 7515
flattened JSON with one signature over ``protected "." payload``. Parsing is strict: base64url has
one spelling, members nobody asked for are refused in what is signed, and every critical header must
be understood.

``open_envelope`` is the integrity check: after it, payload and headers are what the leaf
certificate's key signed. Whether that certificate deserves belief is ``trust.notation.verify``'s
matter.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from trust.errors import MalformedSignatureError, TrustError, UnsupportedSignatureError
from trust.fields import FieldError, array, canonical_base64, dump, mapping, members, parse, text
from trust.notation import algorithms
from trust.notation.certificates import MAX_CHAIN, check_chain, load_der

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

JWS: Final = "application/jose+json"
PAYLOAD_TYPE: Final = "application/vnd.cncf.notary.payload.v1+json"
FORMAT: Final = "notation"
"""How explanations name this format."""

MAX_ENVELOPE: Final = 256 << 10
"""Bytes of one envelope; with three certificates it is about 6 KiB."""

_SCHEME: Final = "io.cncf.notary.signingScheme"
_SIGNING_TIME: Final = "io.cncf.notary.signingTime"
_AUTHENTIC_TIME: Final = "io.cncf.notary.authenticSigningTime"
_EXPIRY: Final = "io.cncf.notary.expiry"
_PLUGIN: Final = "io.cncf.notary.verificationPlugin"
_PLUGIN_VERSION: Final = "io.cncf.notary.verificationPluginMinVersion"
_AGENT: Final = "io.cncf.notary.signingAgent"
_TIMESTAMP: Final = "io.cncf.notary.timestampSignature"


class Scheme(StrEnum):
    """Who answers for the signing time: nobody but a timestamp, or the signing authority."""

    X509 = "notary.x509"
    AUTHORITY = "notary.x509.signingAuthority"


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """An envelope whose bytes the leaf certificate's key signed. Moments are aware, in UTC.

    ``signing_time`` is only as good as ``scheme`` says. ``timestamp`` is an RFC 3161 token over the
    signature, not looked at, None where there is none.
    """

    target: Descriptor
    chain: tuple[Certificate, ...]
    scheme: Scheme
    signing_time: datetime
    expiry: datetime | None
    signature: bytes = field(repr=False)
    timestamp: bytes | None = field(repr=False)
    agent: str = ""


def open_envelope(raw: bytes) -> SignedEnvelope:
    """Take an envelope apart and check that its leaf certificate's key signed it.

    Raises:
        MalformedSignatureError: it breaks the format.
        UnsupportedSignatureError: a critical header is not understood.
        CertificateError: the chain is none that may sign.
        WrongKeyError: the signature is not the leaf's.
    """
    try:
        return _open(raw)
    except TrustError:
        raise
    except (FieldError, ImagesError) as error:
        reason = error.what if isinstance(error, ImagesError) else str(error)
        raise MalformedSignatureError(
            f"the envelope is not the Notary Project's: {reason}", fix="sign the image again"
        ) from error


def sign_envelope(
    private_key: Any,
    chain: Sequence[Certificate],
    target: Descriptor,
    *,
    signed_at: datetime,
    expiry: datetime | None = None,
    agent: str = "lading",
) -> bytes:
    """Sign ``target`` with the key of ``chain[0]`` (scheme ``notary.x509``); returns the envelope.

    Raises:
        CertificateError: the chain may not sign.
        KeyFileError: the key is of a kind that the specification does not have.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    check_chain(chain)
    headers: dict[str, Any] = {
        "alg": algorithms.algorithm_of(private_key.public_key()).name,
        "crit": [_SCHEME] if expiry is None else [_SCHEME, _EXPIRY],
        "cty": PAYLOAD_TYPE,
    }
    if expiry is not None:
        headers[_EXPIRY] = _moment_text(expiry)
    headers[_SCHEME] = Scheme.X509.value
    headers[_SIGNING_TIME] = _moment_text(signed_at)
    protected = _encode(dump(headers))
    payload = _encode(dump({"targetArtifact": _target_json(target)}))
    signature = algorithms.sign(private_key, f"{protected}.{payload}".encode())
    certificates = [
        base64.b64encode(certificate.public_bytes(Encoding.DER)).decode() for certificate in chain
    ]
    return dump(
        {
            "payload": payload,
            "protected": protected,
            "header": {"x5c": certificates, _AGENT: agent},
            "signature": _encode(signature),
        }
    )


def _open(raw: bytes) -> SignedEnvelope:
    top = members(
        parse(raw, what="the envelope", limit=MAX_ENVELOPE),
        required=("payload", "protected", "header", "signature"),
        at="the envelope",
    )
    header = mapping(top["header"], at="header")
    encoded = [
        canonical_base64(item, at="x5c")
        for item in array(header.get("x5c"), at="x5c", most=MAX_CHAIN)
    ]
    chain = tuple(load_der(der) for der in encoded)
    check_chain(chain)
    protected, payload = text(top["protected"], at="protected"), text(top["payload"], at="payload")
    public_key: Any = chain[0].public_key()
    signature = _decode(top["signature"], at="signature")
    algorithms.verify(public_key, signature, f"{protected}.{payload}".encode())
    # Only now are the signed bytes worth reading.
    headers = parse(_decode(protected, at="protected"), what="protected", limit=MAX_ENVELOPE)
    scheme = _check_headers(headers, algorithms.algorithm_of(public_key).name)
    signed_at = headers[_SIGNING_TIME if scheme is Scheme.X509 else _AUTHENTIC_TIME]
    expiry = headers.get(_EXPIRY)
    token = header.get(_TIMESTAMP)
    return SignedEnvelope(
        target=_target(_decode(payload, at="payload")),
        chain=chain,
        scheme=scheme,
        signing_time=_moment(signed_at, at="the signing time"),
        expiry=None if expiry is None else _moment(expiry, at=_EXPIRY),
        signature=signature,
        timestamp=None if token is None else canonical_base64(token, at=_TIMESTAMP),
        agent=text(header.get(_AGENT, ""), at=_AGENT),
    )


def _check_headers(headers: Mapping[str, Any], algorithm: str) -> Scheme:
    """Judge the protected headers, and say under which scheme they are written."""
    if headers.get("alg") != algorithm:
        raise FieldError(f"alg must be {algorithm}, as the certificate's key has it")
    if headers.get("cty") != PAYLOAD_TYPE:
        raise FieldError(f"cty must be {PAYLOAD_TYPE}")
    named = text(headers.get(_SCHEME), at=_SCHEME)
    if named not in (Scheme.X509, Scheme.AUTHORITY):
        raise FieldError(f"{_SCHEME} is unknown: {named[:80]!r}")
    scheme = Scheme(named)
    time_header = _SIGNING_TIME if scheme is Scheme.X509 else _AUTHENTIC_TIME
    if time_header not in headers:
        raise FieldError(f"{time_header} is missing")
    if scheme is Scheme.X509 and _AUTHENTIC_TIME in headers:
        raise FieldError(f"{_AUTHENTIC_TIME} does not belong to the scheme {scheme}")
    critical = {text(name, at="crit") for name in array(headers.get("crit"), at="crit", most=32)}
    required = {_SCHEME} | ({_EXPIRY} & headers.keys())
    if scheme is Scheme.AUTHORITY:
        required.add(_AUTHENTIC_TIME)
    if not required <= critical or not critical <= headers.keys():
        raise FieldError("crit does not list what it must, or lists what is not there")
    unknown = critical - {_SCHEME, _EXPIRY, _AUTHENTIC_TIME}
    if unknown:
        means = "a verification plugin" if _PLUGIN in unknown else f"{sorted(unknown)[0]!r}"
        raise UnsupportedSignatureError(
            f"the signature demands {means}, which lading does not have",
            fix="sign the image without it, or verify with the tool that signed it",
        )
    return scheme


def _target(payload: bytes) -> Descriptor:
    top = members(
        parse(payload, what="the payload", limit=MAX_ENVELOPE),
        required=("targetArtifact",),
        at="payload",
    )
    target = members(
        top["targetArtifact"],
        required=("mediaType", "digest", "size"),
        optional=("annotations",),
        at="targetArtifact",
    )
    size = target["size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise FieldError("targetArtifact.size must be a number of bytes")
    annotations = mapping(target.get("annotations", {}), at="targetArtifact.annotations")
    return Descriptor(
        text(target["mediaType"], at="targetArtifact.mediaType"),
        Digest.parse(text(target["digest"], at="targetArtifact.digest")),
        size,
        {name: text(value, at="annotations") for name, value in annotations.items()},
    )


def _target_json(target: Descriptor) -> dict[str, Any]:
    described: dict[str, Any] = {
        "mediaType": target.media_type,
        "digest": str(target.digest),
        "size": target.size,
    }
    if target.annotations:
        described["annotations"] = dict(sorted(target.annotations.items()))
    return described


def _moment(value: object, *, at: str) -> datetime:
    written = text(value, at=at)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as error:
        raise FieldError(f"{at} is no RFC 3339 time") from error
    if moment.tzinfo is None:
        raise FieldError(f"{at} has no time zone")
    return moment.astimezone(UTC)


def _moment_text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(value: object, *, at: str) -> bytes:
    """Unpadded base64url in its one spelling (RFC 7515 section 2)."""
    encoded = text(value, at=at)
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        decoded = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise FieldError(f"{at} is not base64url") from error
    if _encode(decoded) != encoded:
        raise FieldError(f"{at} is not canonical base64url")
    return decoded
