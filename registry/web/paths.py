"""Which page a path names, and the paths of pages.

Everything lies below ``/web/``, beside ``/``, so that no repository and no client's path is in the
way; logins at issuers lie below ``/auth/oidc/``, addresses that issuers are told. An image is
written as everywhere else: ``/web/image/team/app:1.0`` and ``/web/image/team/app@sha256:…``. Names
come out checked, so links need no quoting.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlencode

from images.digest import Digest
from images.errors import InvalidDigestError
from images.reference import is_repository, is_tag

ROOT: Final = "/web/"
_ISSUERS: Final = "/auth/oidc/"
_RETURN: Final = re.compile(r"/(?:web/[A-Za-z0-9._:@/-]{0,600})?(?:\?[A-Za-z0-9._:@/%&=+*~-]*)?\Z")
_LONGEST: Final = 2048


class Page(enum.Enum):
    """What is shown, by its word in the path."""

    HOME = ""
    REPOSITORY = "repository"
    IMAGE = "image"
    COMPARE = "compare"
    HISTORY = "history"
    DELETE = "delete"
    USAGE = "usage"
    LOGIN = "login"
    LOGOUT = "logout"
    TOKENS = "tokens"
    LOGIN_AT = "login at an issuer"
    BACK_FROM = "back from an issuer"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class PageTarget:
    """A parsed path. ``reference`` is a tag or a digest as text; ``file`` names a file of ours.

    ``issuer`` is what may be the name of one.
    """

    page: Page
    name: str = ""
    reference: str = ""
    file: str = ""
    issuer: str = ""

    @property
    def image(self) -> str:
        """The image as people write it, without a host."""
        return image_name(self.name, self.reference)


_ALONE: Final = {page.value: page for page in (Page.USAGE, Page.LOGIN, Page.LOGOUT, Page.TOKENS)}
_OF_ISSUER: Final = {"login": Page.LOGIN_AT, "callback": Page.BACK_FROM}
_OF_REPOSITORY: Final = {page.value: page for page in (Page.REPOSITORY, Page.COMPARE)}
_OF_IMAGE: Final = {page.value: page for page in (Page.IMAGE, Page.HISTORY, Page.DELETE)}


def concerns(path: str) -> bool:
    """Whether a path, still percent-encoded, is one of a page."""
    return path == "/" or path.startswith((ROOT, _ISSUERS))


def parse(path: str) -> PageTarget | None:
    """Parse the path of a request, still percent-encoded; None is no page."""
    if path == "/":
        return PageTarget(Page.HOME)
    if "%2f" in path.lower():
        return None
    if path.startswith(_ISSUERS):
        issuer, _, step = path.removeprefix(_ISSUERS).partition("/")
        page = _OF_ISSUER.get(step)
        return PageTarget(page, issuer=issuer) if page is not None and issuer else None
    try:
        rest = unquote_to_bytes(path.removeprefix(ROOT)).decode("utf-8")
    except UnicodeDecodeError:
        return None
    word, _, tail = rest.partition("/")
    if word in _ALONE and not tail:
        return PageTarget(_ALONE[word])
    if word == Page.FILE.value:
        return PageTarget(Page.FILE, file=tail)
    if word in _OF_REPOSITORY and is_repository(tail):
        return PageTarget(_OF_REPOSITORY[word], tail)
    if word in _OF_IMAGE:
        return _image(_OF_IMAGE[word], tail)
    return None


def image_name(name: str, reference: str) -> str:
    """``name:tag`` or ``name@digest``."""
    return f"{name}@{reference}" if ":" in reference else f"{name}:{reference}"


def page_path(page: Page, name: str = "", reference: str = "", **query: str) -> str:
    """The path of a page, with those parameters that are not empty."""
    if page is Page.HOME:
        path = "/"
    else:
        what = image_name(name, reference) if reference else name
        path = ROOT + page.value + ("/" + quote(what, safe="/:@") if what else "")
    return _queried(path, query)


def login_path(issuer: str, **query: str) -> str:
    """Where a login at an issuer begins, with those parameters that are not empty."""
    return _queried(f"{_ISSUERS}{issuer}/login", query)


def callback_path(issuer: str) -> str:
    """Where an issuer sends browsers back to."""
    return f"{_ISSUERS}{issuer}/callback"


def local_path(text: str) -> str:
    """Where to go on after a login: a page of ours, "/" for anything else.

    What a browser could read as another host (``//host``, ``/\\host``, a scheme) is not a page.
    """
    fits = len(text) <= _LONGEST and _RETURN.match(text) and "//" not in text.partition("?")[0]
    return text if fits else "/"


def _queried(path: str, query: Mapping[str, str]) -> str:
    given = {key: value for key, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def _image(page: Page, text: str) -> PageTarget | None:
    name, at, digest = text.partition("@")
    if at:
        try:
            return (
                PageTarget(page, name, str(Digest.parse(digest))) if is_repository(name) else None
            )
        except InvalidDigestError:
            return None
    name, _, tag = text.rpartition(":")
    return PageTarget(page, name, tag) if is_repository(name) and is_tag(tag) else None
