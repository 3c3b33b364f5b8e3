"""What a cold start of the server is spared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_AUTHORITIES: Final = "SSL_CERT_FILE"
"""Read by OpenSSL whenever a context asks for the default authorities (openssl-env(7))."""


@contextmanager
def without_authorities() -> Iterator[None]:
    """Import aiohttp inside, and its client's default TLS contexts load no authorities.

    aiohttp makes two of them as it is imported and reads all authorities of the system into each:
    a sixth of the registry's start-up and 2 MB of every worker. Nothing of the registry uses them:
    who speaks TLS as a client has a context of its own, made later. Only before there are threads.
    """
    before = os.environ.get(_AUTHORITIES)
    os.environ[_AUTHORITIES] = os.devnull
    try:
        yield
    finally:
        del os.environ[_AUTHORITIES]
        if before is not None:
            os.environ[_AUTHORITIES] = before
