"""Who looks at a page: sessions in cookies, and the proof that a form was ours.

A login is a signed text in a cookie that scripts cannot read and other sites cannot send (RFC
6265bis: HttpOnly, SameSite=Strict, Secure and ``__Host-`` under TLS). It ends with the password it
was made for. A form carries a hash over the visitor's cookies, which another site can neither read
nor guess, and is taken from a browser that says it comes from elsewhere in no case.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from aiohttp import web

from registry import body
from registry.access.identity import ANONYMOUS, EVERYBODY, Grant, Identity
from registry.access.policy import Rights
from registry.attributes import GRANT
from registry.errors import ApiError

if TYPE_CHECKING:
    from registry.protocols import Caller
    from registry.service import Registry

_SESSION: Final = "lading-session"
_FORM: Final = "lading-form"
_TICKET: Final = "lading-login"
_FORM_LIMIT: Final = 16 << 10
_FIELDS: Final = 32
_VALUE: Final = 2048


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks for a page. ``rights`` is None where everybody may everything.

    ``nonce`` is the cookie that forms are bound to, ``fresh`` whether the browser lacks it.
    """

    identity: Identity
    rights: Rights | None
    session: str
    nonce: str
    fresh: bool
    secure: bool

    @property
    def named(self) -> bool:
        """Whether it is somebody in particular."""
        return self.identity.named

    @property
    def knows_people(self) -> bool:
        """Whether it may read who did something: names of users are for those who have one."""
        return self.named or self.rights is None

    def may(self, action: str, repository: str) -> bool:
        """Whether the rules allow it."""
        return self.rights is None or self.rights.decide(action, repository).allowed

    @property
    def form_token(self) -> str:
        """What a form of this visitor carries."""
        bound = f"lading form\0{self.nonce}\0{self.session}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(bound).hexdigest()

    def remember(self, response: web.StreamResponse, session: str, *, lifetime: float) -> None:
        """Keep a login in the browser."""
        self._set(response, _SESSION, session, lifetime=int(lifetime))

    def forget(self, response: web.StreamResponse) -> None:
        """Take the login back."""
        self._set(response, _SESSION, "", lifetime=0)

    def keep_ticket(self, response: web.StreamResponse, text: str, *, lifetime: float) -> None:
        """Keep a login that is under way elsewhere; the way back is a link from there."""
        self._set(response, _TICKET, text, lifetime=int(lifetime), samesite="Lax")

    def ticket(self, request: web.BaseRequest) -> str:
        """The login that is under way, "" for none."""
        return request.cookies.get(_cookie(_TICKET, secure=self.secure), "")

    def keep_nonce(self, response: web.StreamResponse) -> None:
        """Give the browser what its forms are bound to."""
        if self.fresh:
            self._set(response, _FORM, self.nonce, lifetime=None)

    def _set(
        self,
        response: web.StreamResponse,
        name: str,
        value: str,
        *,
        lifetime: int | None,
        samesite: str = "Strict",
    ) -> None:
        response.set_cookie(
            _cookie(name, secure=self.secure),
            value,
            max_age=lifetime,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite=samesite,
        )


async def visitor_of(registry: Registry, request: web.BaseRequest, caller: Caller) -> Visitor:
    """Who sent ``request``; a session that is over is nobody's."""
    secure = caller.origin.startswith("https:")
    session = request.cookies.get(_cookie(_SESSION, secure=secure), "")
    nonce = request.cookies.get(_cookie(_FORM, secure=secure), "")
    # The look at what changed on disk is due without a session, too.
    identity = await registry.grants.session(session) or ANONYMOUS
    certified = await registry.authorizer.certified(caller)
    if not identity.named:
        session = ""
        identity = ANONYMOUS if certified is None else certified.identity
    rights = registry.authorizer.rights(identity)
    if rights is None:
        identity = EVERYBODY
    request[GRANT] = Grant(identity, "a session in a browser" if identity.named else "a visit")
    return Visitor(
        identity,
        rights,
        session,
        nonce or secrets.token_urlsafe(24),
        fresh=not nonce,
        secure=secure,
    )


async def read_form(
    registry: Registry, request: web.BaseRequest, visitor: Visitor, caller: Caller
) -> dict[str, str]:
    """The fields of a form that this visitor was shown.

    Raises:
        ApiError: 400 for what is no form, 403 for one that is not ours or not this visitor's.
    """
    _refuse_elsewhere(request, caller)
    idle = registry.config.limits.idle_timeout
    raw = await body.read(request, limit=_FORM_LIMIT, idle=idle)
    try:
        fields = parse_qs(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError as error:
        raise ApiError("UNSUPPORTED", status=400, message="the body is no form") from error
    form = {name: values[0][:_VALUE] for name, values in fields.items()}
    shown = form.get("token", "").encode("utf-8", "surrogateescape")
    if visitor.fresh or not hmac.compare_digest(shown, visitor.form_token.encode()):
        raise ApiError(
            "DENIED", message="the form is not one that you were shown; go back, reload, try again"
        )
    return form


def _refuse_elsewhere(request: web.BaseRequest, caller: Caller) -> None:
    """Raises ApiError for a form that a page of another site sent."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site not in (None, "same-origin") or (site is None and origin not in (None, caller.origin)):
        raise ApiError("DENIED", message="a page of another site sent this form")


def _cookie(name: str, *, secure: bool) -> str:
    return f"__Host-{name}" if secure else name
