"""The wire on an event loop: aiohttp's client, with its errors in the wire's words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from images.client import limits
from images.client.wire import (
    AddressError,
    CertificateError,
    ConnectError,
    HandshakeError,
    Response,
    UnknownHostError,
    WireError,
)

if TYPE_CHECKING:
    from images.client.options import ClientOptions
    from images.client.url import Url
    from images.client.wire import Data


class AiohttpWire:
    """A ``Wire``; one per client, used by parallel tasks of one event loop."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None

    async def open(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        *,
        data: Data,
        tls: ssl.SSLContext | None,
        proxy: str | None,
    ) -> Response:
        """As ``Wire.open``."""
        with _translated():
            response = await self._ensure_session().request(
                method,
                URL(str(url), encoded=True),
                headers=headers,
                data=data,
                allow_redirects=False,
                ssl=tls if tls is not None else True,
                proxy=proxy,
            )
        return _Response(url, response)

    def lock(self) -> asyncio.Lock:
        """As ``Wire.lock``."""
        return asyncio.Lock()

    async def close(self) -> None:
        """As ``Wire.close``."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _ensure_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            options = self._options
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=4 * options.parallel, resolver=options.resolver
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": options.user_agent},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=options.connect_timeout, sock_read=options.read_timeout
                ),
                # What is in it when a connection breaks is lost, and has to come again.
                read_bufsize=limits.CHUNK // 8,
            )
        return self._session


class _Response(Response):
    def __init__(self, url: Url, response: aiohttp.ClientResponse) -> None:
        self.method = response.method
        self.url = url
        self.status = response.status
        self.headers = response.headers
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        content = self._response.content
        while True:
            with _translated():
                chunk = await content.readany()
            if not chunk:
                return
            yield chunk

    def release(self) -> None:
        self._response.release()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientConnectorDNSError as error:
        raise UnknownHostError(error.os_error) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise CertificateError(error.certificate_error) from error
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(error) from error
    except aiohttp.ClientSSLError as error:
        raise HandshakeError(error.os_error) from error
    except aiohttp.ClientConnectorError as error:
        raise ConnectError(error.os_error) from error
    except aiohttp.InvalidURL as error:
        raise AddressError(error) from error
    except (aiohttp.ClientError, OSError) as error:
        raise WireError(error) from error
