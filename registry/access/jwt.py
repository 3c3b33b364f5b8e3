"""Signed tokens: JWS compact serialisation of JSON claims (RFC 7515, RFC 7519).

A token is checked with the key that its ``kid`` names among those given, and with that key's own
algorithm. Keys inside a token (``jwk``, ``x5c``, ``jku``) are never looked at, nor is ``alg`` more
than compared.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

LEEWAY: Final = 60.0
"""Seconds by which clocks may differ."""

_LIMIT: Final = 16 << 10
"""Longest token in bytes; ours take less than a twentieth, plus what was granted."""

_LAST_MOMENT: Final = 1e12
"""Seconds since the epoch that nobody will see; a float holds them exactly."""

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class Verifier(Protocol):
    """A public key with the one algorithm that it is used with."""

    @property
    def algorithm(self) -> str:
        """Its name in a token's header."""
        ...

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the key made this signature."""
        ...


class Signer(Protocol):
    """A private key with the one algorithm that it is used with."""

    @property
    def kid(self) -> str:
        """What tokens call it."""
        ...

    @property
    def algorithm(self) -> str:
        """Its name in a token's header."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature, encoded as RFC 7518 says."""
        ...


class TokenError(Exception):
    """The token is not good; the text says why, and holds nothing of the token."""


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token taken apart: nothing in it is proven yet."""

    header: Mapping[str, Any]
    claims: dict[str, Any]
    message: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say of itself."""

    issuer: str
    audience: str


def encode_token(claims: Mapping[str, Any], signer: Signer) -> str:
    """Sign ``claims``."""
    header = {"alg": signer.algorithm, "kid": signer.kid, "typ": "JWT"}
    message = f"{_pack(header)}.{_pack(claims)}"
    return f"{message}.{encode_bytes(signer.sign(message.encode('ascii')))}"


def decode_token(
    token: str, keys: Mapping[str, Verifier], expected: Expected, *, now: float
) -> dict[str, Any]:
    """Verify a token and return its claims.

    Raises:
        TokenError: malformed, of an unknown key, badly signed, of another issuer, for another
            audience, or not of this time.
    """
    parsed = parse_token(token)
    kid = parsed.header.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise TokenError("signed with an unknown key")
    verify_token(parsed, key)
    _check(parsed.claims, expected, now)
    return parsed.claims


def parse_token(token: str) -> ParsedToken:
    """Take a token apart and believe none of it.

    Raises:
        TokenError: it is malformed, or longer than any that is taken.
    """
    parts = token.split(".") if len(token) <= _LIMIT else []
    if len(parts) != 3 or not all(map(_SEGMENT.match, parts)):
        raise TokenError("not a signed token")
    header, claims = _unpack(parts[0]), _unpack(parts[1])
    message = f"{parts[0]}.{parts[1]}".encode("ascii")
    return ParsedToken(header, claims, message, decode_bytes(parts[2]))


def verify_token(parsed: ParsedToken, key: Verifier) -> None:
    """Make sure that ``key`` signed it, in that key's own way.

    Raises:
        TokenError: it did not.
    """
    header = parsed.header
    if header.get("alg") != key.algorithm or "crit" in header or "b64" in header:
        raise TokenError("signed in another way than its key signs")
    if not key.verify(parsed.signature, parsed.message):
        raise TokenError("the signature is wrong")


def check_times(claims: Mapping[str, Any], now: float, *, required: tuple[str, ...]) -> None:
    """Whether a token is of this time; ``nbf`` and ``iat`` count where they are there.

    Raises:
        TokenError: it is not, or one of the ``required`` claims is no time.
    """
    times = {
        name: _time(claims, name)
        for name in ("exp", "nbf", "iat")
        if name in required or name in claims
    }
    if now >= times["exp"] + LEEWAY:
        raise TokenError("expired")
    if now < max(times.get("nbf", 0.0), times.get("iat", 0.0)) - LEEWAY:
        raise TokenError("not valid yet")


def key_of(token: str) -> str | None:
    """The ``kid`` that a token names, unverified; None where it has none."""
    try:
        kid = _unpack(token.partition(".")[0]).get("kid") if len(token) <= _LIMIT else None
    except TokenError:
        return None
    return kid if isinstance(kid, str) else None


def encode_bytes(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_bytes(text: str) -> bytes:
    """Bytes of base64url without padding, and of no other spelling.

    Raises:
        TokenError: it is something else.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("not base64url") from error
    if encode_bytes(data) != text:
        raise TokenError("not base64url")
    return data


def _check(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    if claims.get("iss") != expected.issuer:
        raise TokenError("of another issuer")
    audience = claims.get("aud")
    if expected.audience not in (audience if isinstance(audience, list) else [audience]):
        raise TokenError("for another service")
    check_times(claims, now, required=("exp", "nbf", "iat"))


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LAST_MOMENT:
        raise TokenError(f"{name} is missing, or no time")
    return float(value)


def _pack(value: Mapping[str, Any]) -> str:
    return encode_bytes(json.dumps(value, separators=(",", ":")).encode())


def _unpack(segment: str) -> dict[str, Any]:
    try:
        value = json.loads(decode_bytes(segment), object_pairs_hook=_unique, parse_constant=_no)
    except (ValueError, RecursionError) as error:
        raise TokenError("not JSON") from error
    if not isinstance(value, dict):
        raise TokenError("not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no(constant: str) -> Any:
    raise ValueError(constant)
