"""Secrets of a build that open servers: which header goes to which host, and to no other.

``GIT_AUTH_TOKEN`` and ``GIT_AUTH_HEADER`` are for git, with ``.host`` for one host alone;
``HTTP_AUTH_TOKEN_host`` and ``HTTP_AUTH_HEADER_host`` for files (Dockerfile reference, ADD). They
are sent over TLS, and to this machine itself, never over a plain connection elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from builder.errors import BuildInputError

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_GIT_USER: Final = "x-access-token"
"""The user name that GitHub and GitLab want beside a token."""


class Credentials:
    """The headers that the secrets of one build stand for."""

    def __init__(self, secrets: Mapping[str, bytes] | None = None) -> None:
        """``secrets`` by id, as ``--secret`` gave them."""
        self._secrets = secrets or {}

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._secrets))})"

    def for_git(self, remote: str) -> str | None:
        """The Authorization header for a repository at an http URL; None for none.

        Raises:
            BuildInputError: a secret holds what no header can.
        """
        host = _host(remote)
        for suffix in (f".{host}", ""):
            header = self._text(f"GIT_AUTH_HEADER{suffix}")
            if header:
                return _guarded(remote, header)
            token = self._text(f"GIT_AUTH_TOKEN{suffix}")
            if token:
                return _guarded(remote, _basic(_GIT_USER, token))
        return _of_url(remote)

    def for_http(self, url: str) -> str | None:
        """The Authorization header for a file; raises as ``for_git``."""
        host = _host(url)
        header = self._text(f"HTTP_AUTH_HEADER_{host}")
        if header:
            return _guarded(url, header)
        token = self._text(f"HTTP_AUTH_TOKEN_{host}")
        return _guarded(url, f"Bearer {token}") if token else _of_url(url)

    def _text(self, name: str) -> str:
        content = self._secrets.get(name)
        if content is None:
            return ""
        text = content.decode("utf-8", "surrogateescape").strip()
        if not text.isascii() or not text.isprintable():
            raise BuildInputError(
                f"secret {name} cannot stand in a header: it has more than one line, or characters"
                " beyond ASCII",
                fix="store the token alone in it",
            )
        return text


def _of_url(url: str) -> str | None:
    """What stands before ``@`` in a host is a user name and a password."""
    parts = urlsplit(url)
    if not (parts.username or parts.password):
        return None
    return _basic(unquote(parts.username or ""), unquote(parts.password or ""))


def _guarded(url: str, header: str) -> str | None:
    """The header, unless anybody on the way could read it."""
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.hostname or "") in _LOOPBACK
    return header if safe else None


def _host(url: str) -> str:
    """Host and port as secrets are named after them."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _basic(user: str, password: str) -> str:
    pair = f"{user}:{password}".encode("utf-8", "surrogateescape")
    return f"Basic {base64.b64encode(pair).decode()}"
