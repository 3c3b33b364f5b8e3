"""Documents of an issuer: fetched whole, bounded in size and time, from exactly where we were told.

No redirect is followed and no proxy of the environment is asked: what a key comes from is what the
configuration, or the issuer's own discovery document, names. Everything here blocks.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from registry.access.oidc.settings import IssuerSettings, is_safe_url

LIMIT: Final = 512 << 10
_STEP: Final = 64 << 10
_DISCOVERY: Final = "/.well-known/openid-configuration"


class FetchError(Exception):
    """The issuer gave no usable document; the text says why."""


def read_keys(settings: IssuerSettings) -> bytes:
    """The JWK Set of an issuer, from its file, its URL, or where its discovery document says.

    Raises:
        FetchError: it cannot be had.
    """
    if settings.jwks_file is not None:
        return _read(settings.jwks_file)
    url = settings.jwks
    if url is None:
        url = str(discover(settings).get("jwks_uri"))
        if not is_safe_url(url):
            raise FetchError("its discovery document names no safe jwks_uri")
    return _get(settings, url)


def discover(settings: IssuerSettings) -> dict[str, Any]:
    """The discovery document (OpenID Connect Discovery 1.0, section 4).

    Raises:
        FetchError: there is none, or it is another issuer's.
    """
    data = _get(settings, settings.issuer.rstrip("/") + _DISCOVERY)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FetchError("its discovery document is not JSON") from error
    if not isinstance(document, dict) or document.get("issuer") != settings.issuer:
        raise FetchError("its discovery document is another issuer's")
    return document


def post_form(
    settings: IssuerSettings, url: str, fields: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[int, bytes]:
    """Send a form; the status and body of the answer, whatever the status.

    Raises:
        FetchError: there is no answer, or none within its bounds.
    """
    sent = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    return _exchanged(settings, "POST", url, urlencode(fields).encode("ascii"), sent)


def _get(settings: IssuerSettings, url: str) -> bytes:
    """The body of a 200."""
    status, data = _exchanged(settings, "GET", url, None, {})
    if status != HTTPStatus.OK:
        raise FetchError(f"{urlsplit(url).netloc} answers {status}")
    return data


def _exchanged(
    settings: IssuerSettings, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    deadline = time.monotonic() + settings.timeout
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    connection = _connection(settings, parts.scheme, parts.hostname or "", parts.port)
    try:
        connection.request(method, target, body, {"Accept": "application/json", **headers})
        with connection.getresponse() as response:
            return response.status, _bounded(response, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{parts.netloc} does not answer: {error}") from error
    finally:
        connection.close()


def _connection(
    settings: IssuerSettings, scheme: str, host: str, port: int | None
) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=settings.timeout)
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise FetchError(f"{settings.ca} holds no certificates") from error
    return http.client.HTTPSConnection(host, port, timeout=settings.timeout, context=context)


def _bounded(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body; a drop a second is not an answer either."""
    data = bytearray()
    while chunk := response.read1(_STEP):
        data += chunk
        if len(data) > LIMIT:
            raise FetchError("its answer is too long")
        if time.monotonic() > deadline:
            raise FetchError("its answer takes too long")
    return bytes(data)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror or error}") from error
    if len(data) > LIMIT:
        raise FetchError(f"{path} is too long")
    return data
