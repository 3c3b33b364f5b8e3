"""One request to a webhook, and what its answer means.

The URL is the administrator's: nothing of it comes from clients of the registry, redirects are not
followed, no proxy of the environment is asked, no cookie is kept, certificates are verified. Of an
answer only the status and ``Retry-After`` are read.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from registry.errors import RegistryConfigError
from registry.events.backoff import retry_after
from registry.events.cloudevents import request
from registry.events.settings import HeaderSettings, WebhookSettings, is_header_value
from registry.events.signing import read_secrets, read_small, sign

if TYPE_CHECKING:
    from registry.tracing.tracer import Tracer

_USER_AGENT: Final = "lading-registry"
_KEEP_SECONDS: Final = 2.0
"""Shorter than servers keep connections: one that is just being closed would fail a request."""

_GONE: Final = 410
_SUCCESS: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)


class Verdict(enum.Enum):
    """What an answer means for the event."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    """The receiver wants nothing more (410)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended; ``wait`` is how long the receiver asks to be left alone."""

    verdict: Verdict
    error: str = ""
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a webhook has in files: secrets, the values of headers, certificate authorities."""

    secrets: tuple[bytes, ...]
    headers: tuple[tuple[str, str], ...]
    context: ssl.SSLContext | None

    @classmethod
    def read(cls, settings: WebhookSettings) -> Credentials:
        """Read them; blocks.

        Raises:
            RegistryConfigError: one of the files is no good.
        """
        secrets = () if settings.secret_file is None else read_secrets(settings.secret_file)
        headers = tuple((header.name, _value(header)) for header in settings.headers)
        context = None
        if settings.url.startswith("https:"):
            try:
                context = ssl.create_default_context(cafile=settings.ca)
            except (OSError, ssl.SSLError) as error:
                raise RegistryConfigError(
                    f"no certificate can be read from it: {error}",
                    where=str(settings.ca),
                    fix="give a file with certificates as PEM",
                ) from error
        return cls(secrets, headers, context)


class Receiver:
    """The receiver of one webhook. Made inside a running loop."""

    def __init__(
        self, settings: WebhookSettings, credentials: Credentials, tracer: Tracer | None = None
    ) -> None:
        self._settings = settings
        self._tracer = tracer
        self._credentials = credentials
        self._url = URL(settings.url, encoded=True)
        verify: ssl.SSLContext | bool = credentials.context or True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=verify, keepalive_timeout=_KEEP_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=settings.timeout),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    async def send(self, event: str, body: bytes, *, now: float) -> Outcome:
        """Try once; never raises for what the network or the receiver does."""
        headers, content = self._request(event, body, now)
        if self._tracer is None:
            return await self._post(headers, content, now)
        with self._tracer.delivery(self._settings.name, event, headers) as note:
            outcome = await self._post(headers, content, now)
            note(outcome.error)
            return outcome

    async def _post(self, headers: CIMultiDict[str], content: bytes, now: float) -> Outcome:
        try:
            async with self._session.post(
                self._url, data=content, headers=headers, allow_redirects=False
            ) as response:
                return _outcome(response, now)
        except TimeoutError:
            return Outcome(Verdict.FAILED, f"no answer within {self._settings.timeout:g} s")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Outcome(Verdict.FAILED, f"{type(error).__name__}: {_without(error, self._url)}")

    def _request(self, event: str, body: bytes, now: float) -> tuple[CIMultiDict[str], bytes]:
        binding, content = request(body, self._settings.mode)
        timestamp = int(now)
        headers = CIMultiDict(self._credentials.headers)
        headers.setdefault("User-Agent", _USER_AGENT)
        headers.update(binding)
        headers["webhook-id"] = event
        headers["webhook-timestamp"] = str(timestamp)
        if self._credentials.secrets:
            signature = sign(self._credentials.secrets, event, timestamp, content)
            headers["webhook-signature"] = signature
        return headers, content


def _outcome(response: aiohttp.ClientResponse, now: float) -> Outcome:
    status = response.status
    if status in _SUCCESS:
        return Outcome(Verdict.DELIVERED)
    if status == _GONE:
        return Outcome(Verdict.GONE, "410: it wants nothing more")
    wait = retry_after(response.headers.get("Retry-After"), now)
    more = ", and redirects are not followed" if status in _REDIRECT else ""
    return Outcome(Verdict.FAILED, f"status {status}{more}", wait)


def _without(error: Exception, url: URL) -> str:
    """What went wrong, without the path of the URL, which may be a secret."""
    return str(error).replace(str(url), f"{url.scheme}://{url.authority}")


def _value(header: HeaderSettings) -> str:
    if header.file is None:
        return header.value or ""
    value = read_small(header.file).strip()
    if not is_header_value(value):
        raise RegistryConfigError(
            "it holds no value of a header", where=str(header.file), fix="write one line of ASCII"
        )
    return value
