"""Logging in at an issuer with a browser: what it is sent away with, and what it comes back with.

All that a login must remember is a random seed in a cookie that only we can sign: the state, the
nonce and the secret of PKCE are made of it, so an answer counts in the browser that asked and
nowhere else (login CSRF), for the issuer that was asked (mix-up, RFC 9207), and once the issuer has
seen the secret. OpenID Connect Core 1.0, section 3.1; RFC 6749; RFC 7636; RFC 9700.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar
from urllib.parse import urlencode

from registry.access.jwt import TokenError, encode_bytes, parse_token
from registry.access.oidc.fetching import FetchError
from registry.access.oidc.issuers import Issuers, OutsideToken
from registry.access.oidc.provider import Code, Provider, read_provider, redeem, told
from registry.access.oidc.settings import IssuerSettings
from registry.access.throttle import retry_after
from registry.errors import ApiError

log = logging.getLogger("registry")

T = TypeVar("T")

TICKET_SECONDS: Final = 600.0
"""How long somebody may take to log in at the issuer."""

_KNOWN_SECONDS: Final = 300.0
"""How long a discovery document counts."""

_THREADS: Final = 4
_AT_ONCE: Final = 32
_CODE: Final = 4096


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a browser keeps of a login that is under way."""

    seed: str
    redirect_uri: str
    onward: str

    @property
    def state(self) -> str:
        """What the answer has to repeat."""
        return self._made("state")

    @property
    def nonce(self) -> str:
        """What the id_token has to repeat."""
        return self._made("nonce")

    @property
    def verifier(self) -> str:
        """What the token endpoint is shown (RFC 7636, section 4.1)."""
        return self._made("verifier")

    @property
    def challenge(self) -> str:
        """The hash of it, which goes through the browser (RFC 7636, section 4.2)."""
        return encode_bytes(hashlib.sha256(self.verifier.encode("ascii")).digest())

    def _made(self, purpose: str) -> str:
        return encode_bytes(hmac.digest(self.seed.encode(), purpose.encode(), "sha256"))


def new_ticket(redirect_uri: str, onward: str) -> Ticket:
    """For a login that begins now, and goes on to ``onward``."""
    return Ticket(secrets.token_urlsafe(32), redirect_uri, onward)


class BrowserLogins:
    """The issuers of one configuration at which people log in; used from one event loop only."""

    def __init__(
        self,
        settings: Sequence[IssuerSettings],
        issuers: Issuers,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._settings = {one.name: one for one in settings if one.login.client_id is not None}
        self._issuers = issuers
        self._monotonic = monotonic
        self._threads = ThreadPoolExecutor(_THREADS, "registry-logins")
        self._under_way = 0
        self._known: dict[str, tuple[Provider, float]] = {}

    def __len__(self) -> int:
        return len(self._settings)

    def __contains__(self, name: str) -> bool:
        return name in self._settings

    @property
    def offered(self) -> tuple[tuple[str, str], ...]:
        """Name of each issuer, and what to call it on a page."""
        return tuple((one.name, one.login.title or one.name) for one in self._settings.values())

    async def begin(self, name: str, ticket: Ticket) -> str:
        """Where the browser has to go.

        Raises:
            TokenError: the issuer cannot be asked.
            ApiError: TOOMANYREQUESTS.
        """
        settings = self._settings[name]
        provider = await self._provider(settings)
        query = urlencode(
            {
                "response_type": "code",
                "client_id": settings.login.client_id,
                "redirect_uri": ticket.redirect_uri,
                "scope": " ".join(dict.fromkeys(("openid", *settings.login.scopes))),
                "state": ticket.state,
                "nonce": ticket.nonce,
                "code_challenge": ticket.challenge,
                "code_challenge_method": "S256",
            }
        )
        joint = "&" if "?" in provider.authorization else "?"
        return f"{provider.authorization}{joint}{query}"

    async def finish(
        self, name: str, ticket: Ticket, answer: Mapping[str, Sequence[str]], *, now: float
    ) -> OutsideToken:
        """Who came back with ``answer``, the parameters of the address.

        Raises:
            TokenError: why nobody did.
            ApiError: TOOMANYREQUESTS.
        """
        settings = self._settings[name]
        if any(len(values) != 1 for values in answer.values()):
            raise TokenError("its answer has a parameter twice")
        said = {key: values[0] for key, values in answer.items()}
        state = said.get("state", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(state, ticket.state.encode()):
            raise TokenError("its answer belongs to another login; begin again")
        provider = await self._provider(settings)
        if said.get("iss", None if provider.says_iss else settings.issuer) != settings.issuer:
            raise TokenError("its answer is another issuer's")
        if "error" in said:
            raise TokenError(f"it says {told(said)}")
        code = said.get("code", "")
        if not 0 < len(code) <= _CODE:
            raise TokenError("its answer has no code")
        shown = Code(code, ticket.redirect_uri, ticket.verifier)
        token = await self._asked(settings, partial(redeem, settings, provider, shown))
        try:
            parsed = parse_token(token)
            return await self._issuers.of_browser(name, parsed, nonce=ticket.nonce, now=now)
        except TokenError as error:
            raise TokenError(f"its id_token is not good: {error}") from error

    def logout(self, name: str, onward: str) -> str:
        """Where a session at the issuer itself can be ended; "" where that is not known."""
        settings, known = self._settings.get(name), self._known.get(name)
        if settings is None or known is None or not known[0].logout:
            return ""
        query = urlencode(
            {"client_id": settings.login.client_id, "post_logout_redirect_uri": onward}
        )
        joint = "&" if "?" in known[0].logout else "?"
        return f"{known[0].logout}{joint}{query}"

    def close(self) -> None:
        """Begin nothing new."""
        self._threads.shutdown(wait=False)

    async def _provider(self, settings: IssuerSettings) -> Provider:
        provider, until = self._known.get(settings.name, (None, 0.0))
        if provider is None or self._monotonic() >= until:
            provider = await self._asked(settings, partial(read_provider, settings))
            self._known[settings.name] = provider, self._monotonic() + _KNOWN_SECONDS
        return provider

    async def _asked(self, settings: IssuerSettings, ask: Callable[[], T]) -> T:
        """What the issuer answers; it may be slow, and its threads are nobody else's to wait for.

        Raises:
            TokenError: nothing of use. ApiError: too many ask at once.
        """
        if self._under_way >= _AT_ONCE:
            raise ApiError(
                "TOOMANYREQUESTS", message="too many logins at once", headers=retry_after(5)
            )
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, ask)
        future.add_done_callback(self._ended)
        try:
            return await asyncio.wait_for(asyncio.shield(future), 2 * settings.timeout)
        except FetchError as error:
            log.warning("login at %s: %s", settings.name, error)
            raise TokenError(str(error)) from error
        except TimeoutError as error:
            log.warning("login at %s: no answer in time", settings.name)
            raise TokenError("it does not answer in time") from error

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # looked at: who asked may have gone
