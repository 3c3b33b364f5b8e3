"""What goes into the audit log: who did, or was refused, what, where, and by which rule.

The first request of every client is refused to tell it how to log in. It shows no credentials and
nothing was decided about anybody, so it is no event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import orjson
from aiohttp import web

from registry.access.audit import AuditLog
from registry.access.identity import DeniedError, Grant, Identity
from registry.access.passwords import NOBODY, parse_basic
from registry.answers import digest_of
from registry.errors import ApiError
from registry.protocols import Access, Caller
from registry.routing import Kind, Target

_CHANGES: Final = frozenset({"push", "delete"})
_DENIALS: Final = frozenset({401, 403, 405, 409, 429})
"""Statuses of refusals that say who may do what, rather than that a request is malformed."""


class Auditor:
    """Writes events of requests; without a log it does nothing."""

    def __init__(self, log: AuditLog | None, *, pulls: bool = False) -> None:
        self._log = log
        self.recorded: frozenset[str] = _CHANGES if log is not None else frozenset()
        """Actions whose success is an event."""
        if log is not None and pulls:
            self.recorded |= {"pull"}

    def done(
        self,
        caller: Caller,
        target: Target,
        access: Access,
        grant: Grant,
        response: web.StreamResponse,
        *,
        request_id: str,
    ) -> None:
        """A request of one of the ``recorded`` actions was carried out."""
        if response.status not in (200, 201, 202, 206) or _is_step(target, response):
            return
        digest = digest_of(response)
        event = _event(caller, target, access, str(grant.identity), request_id)
        if digest is not None:
            event["digest"] = digest
        self._write({**event, "status": response.status, "allowed": True, "rule": grant.rule})

    def rejected(
        self,
        caller: Caller,
        target: Target,
        access: Access,
        grant: Grant,
        response: web.Response,
        *,
        request_id: str,
    ) -> None:
        """The trust service did not take what was published; its answer's code is the reason."""
        event = _event(caller, target, access, str(grant.identity), request_id)
        body = response.body if isinstance(response.body, bytes) else b"{}"
        errors = orjson.loads(body).get("errors") or [{}]
        reason = errors[0].get("code", "")
        self._write({**event, "status": response.status, "allowed": False, "rule": reason})

    def refused(
        self,
        caller: Caller,
        target: Target,
        access: Access,
        error: ApiError,
        *,
        identity: Identity | None,
        request_id: str,
    ) -> None:
        """A request was refused; ``identity`` is None where it was not found out."""
        if isinstance(error, DeniedError):
            identity = error.identity
        authorization = caller.authorization
        silent = identity is None and (authorization is None or authorization in NOBODY)
        if self._log is None or error.status not in _DENIALS or (silent and error.status == 401):
            return
        who = _claimed(caller) if identity is None else str(identity)
        event = _event(caller, target, access, who, request_id)
        reason = error.detail.get("reason") if isinstance(error.detail, dict) else None
        self._write(
            {
                **event,
                "status": error.status,
                "allowed": False,
                "rule": reason or error.message,
            }
        )

    def granted(
        self,
        caller: Caller,
        identity: Identity,
        *,
        asked: Iterable[object],
        scope: str,
        request_id: str,
    ) -> None:
        """The token server gave a token; ``scope`` is what of ``asked`` is in it."""
        self._token(caller, str(identity), request_id, asked, allowed=True, granted=scope)

    def not_granted(
        self,
        caller: Caller,
        who: str,
        error: ApiError,
        *,
        asked: Iterable[object],
        request_id: str,
    ) -> None:
        """The token server refused; ``who`` is what the caller said to be."""
        self._token(caller, who, request_id, asked, allowed=False, rule=error.message)

    def reopen(self) -> None:
        """Let go of a file that was rotated away."""
        if self._log is not None:
            self._log.reopen()

    def close(self) -> None:
        """Write what waits; blocks."""
        if self._log is not None:
            self._log.close()

    def _token(
        self, caller: Caller, who: str, request_id: str, asked: Iterable[object], **fields: Any
    ) -> None:
        if self._log is not None:
            self._write(
                {
                    "event": "token",
                    "who": who,
                    **_proof(caller, who),
                    "scope": " ".join(map(str, asked)),
                    "address": caller.address,
                    "request": request_id,
                    **fields,
                }
            )

    def _write(self, event: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.write(event)


def _event(
    caller: Caller, target: Target, access: Access, who: str, request_id: str
) -> dict[str, Any]:
    event = {
        "event": access.action,
        "who": who,
        "what": target.kind.value,
        "repository": access.repository,
    }
    if target.kind is not Kind.UPLOAD and target.tail:
        event["reference"] = target.tail
    return {**event, **_proof(caller, who), "address": caller.address, "request": request_id}


def _proof(caller: Caller, who: str) -> dict[str, str]:
    """How somebody showed who it is, and the client certificate that was there, by its hash."""
    authorization = caller.authorization
    certificate = caller.certificate
    named = not who.startswith(("anonymous", "everybody", "unproven"))
    if authorization is not None and authorization not in NOBODY:
        proof = {"by": "token" if authorization[:7].lower() == "bearer " else "password"}
    elif named:
        proof = {"by": "session" if certificate is None else "certificate"}
    else:
        proof = {}
    if certificate is not None:
        proof["certificate"] = hashlib.sha256(certificate).hexdigest()
    return proof


def _is_step(target: Target, response: web.StreamResponse) -> bool:
    """Whether this is a step of an upload that is not over, or was cancelled."""
    return target.kind in (Kind.UPLOAD, Kind.UPLOADS) and response.status != 201


def _claimed(caller: Caller) -> str:
    """Whom an unproven header names, marked as such."""
    authorization = caller.authorization or ""
    credentials = parse_basic(authorization)
    if credentials is not None:
        return f"unproven:{credentials[0][:100]}"
    return "unproven" if authorization else "anonymous"
