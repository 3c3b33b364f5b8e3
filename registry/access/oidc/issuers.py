"""Tokens of outside issuers: who signed, for whom, about whom, until when.

The ``iss`` claim only chooses whose rules are applied; everything else is believed after the
signature, and the issuer's own keys alone can make it. RFC 8725 is the list of what goes wrong
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from registry.access.identity import ANONYMOUS, Identity
from registry.access.jwt import LEEWAY, ParsedToken, TokenError, check_times, verify_token
from registry.access.oidc.keysets import KeySet
from registry.access.oidc.mapping import check_subject, identity_of
from registry.access.oidc.settings import IssuerSettings

_LONGEST_ID: Final = 255


@dataclass(frozen=True, slots=True)
class OutsideToken:
    """A verified token: whose it is, until when (seconds since the epoch), and what it is called.

    ``origin`` is ``SOURCE/JTI``, "" for a token without that claim.
    """

    settings: IssuerSettings
    identity: Identity
    claims: Mapping[str, Any]
    ends: float
    origin: str


class Issuers:
    """All configured issuers; used from one event loop only."""

    def __init__(
        self,
        settings: Sequence[IssuerSettings],
        threads: Executor,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._by_issuer: dict[str, list[tuple[IssuerSettings, KeySet]]] = {}
        self._by_name: dict[str, tuple[IssuerSettings, KeySet]] = {}
        for one in settings:
            keys = KeySet(one, threads, monotonic=monotonic)
            self._by_name[one.name] = one, keys
            self._by_issuer.setdefault(one.issuer, []).append((one, keys))

    def __len__(self) -> int:
        return len(self._by_issuer)

    async def verified(self, parsed: ParsedToken, *, now: float) -> OutsideToken:
        """Believe a token, or say why not; several entries of one issuer are tried in order.

        Raises:
            TokenError: no issuer of ours signed it, or it is not for us, not of now, or of nobody
                whom the issuer's settings take.
        """
        issuer = parsed.claims.get("iss")
        known = self._by_issuer.get(issuer, []) if isinstance(issuer, str) else []
        failure = TokenError("of an issuer that is not configured here")
        for settings, keys in known:
            try:
                return await self._verified(settings, keys, parsed, now, settings.audience)
            except TokenError as error:
                failure = error
        raise failure

    async def of_browser(
        self, name: str, parsed: ParsedToken, *, nonce: str, now: float
    ) -> OutsideToken:
        """Believe the id_token of a login that began with ``nonce`` (OpenID Connect, 3.1.3.7).

        Raises:
            TokenError: as ``verified``, or it is of another login or made for another client.
        """
        settings, keys = self._by_name[name]
        client, claims = settings.login.client_id, parsed.claims
        assert client is not None, "logins begin at issuers that have a client alone"
        if claims.get("iss") != settings.issuer:
            raise TokenError("of another issuer")
        token = await self._verified(settings, keys, parsed, now, client)
        audience, party = claims.get("aud"), claims.get("azp")
        several = isinstance(audience, list) and len(audience) > 1
        if party != client and (several or party is not None):
            raise TokenError("made for another client (azp)")
        if claims.get("nonce") != nonce:
            raise TokenError("of another login (nonce)")
        if not token.identity.named:
            raise TokenError("it has no subject")
        return token

    async def _verified(
        self,
        settings: IssuerSettings,
        keys: KeySet,
        parsed: ParsedToken,
        now: float,
        wanted: str,
    ) -> OutsideToken:
        claims = parsed.claims
        audience = claims.get("aud")
        # Before the signature: what is not for us needs no keys, and these claims cannot help it.
        if wanted not in (audience if isinstance(audience, list) else [audience]):
            raise TokenError(f"its aud claim does not have {wanted}")
        check_times(claims, now, required=("exp", "iat"))
        kid, algorithm = parsed.header.get("kid"), parsed.header.get("alg")
        if not isinstance(kid, str) or not isinstance(algorithm, str):
            raise TokenError("its header names no key (kid) or no algorithm (alg)")
        verify_token(parsed, await keys.verifier(kid, algorithm))
        identity = _whose(settings, claims)
        jti = claims.get("jti")
        named = isinstance(jti, str) and 0 < len(jti) <= _LONGEST_ID
        origin = f"{settings.name}/{jti}" if named else ""
        return OutsideToken(settings, identity, claims, float(claims["exp"]) + LEEWAY, origin)


def _whose(settings: IssuerSettings, claims: Mapping[str, Any]) -> Identity:
    """The identity; token servers write an empty subject for who did not log in."""
    if claims.get("sub") == "" and isinstance(claims.get("access"), list):
        check_subject(settings, claims)
        return ANONYMOUS
    return identity_of(settings, claims)
