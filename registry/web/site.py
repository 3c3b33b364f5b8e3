"""The pages of one process: from a request to a page, and what every answer carries.

No page runs a script or loads anything from elsewhere: the policy of the answer forbids it,
whatever slips into a page (abuse 25). Nothing is kept by caches, because rights change.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from registry.errors import ApiError, PolicyError
from registry.protocols import Caller
from registry.web import paths, text
from registry.web.contents import Contents
from registry.web.paths import Page, PageTarget
from registry.web.queries import Queries
from registry.web.visitors import Visitor, visitor_of

if TYPE_CHECKING:
    from registry.service import Registry

_FOLDER: Final = Path(__file__).parent / "templates"
_FILES: Final = {"page.css": "text/css", "icon.svg": "image/svg+xml"}
_YEAR: Final = 31536000

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
"""Content Security Policy, level 3."""

_HEADERS: Final = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        # "no-referrer" would make the origin of our own forms unknown (Fetch, "Origin" header).
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page; ``now`` is in seconds since the epoch."""

    site: Site
    registry: Registry
    request: web.BaseRequest
    caller: Caller
    visitor: Visitor
    target: PageTarget
    now: float = field(default_factory=time.time)

    @property
    def host(self) -> str:
        """What stands before an image's name in a command."""
        return self.caller.hosts[0]

    @property
    def here(self) -> str:
        """The address of this page, to come back to; "" for the first one and for forms."""
        elsewhere = self.target.page in (Page.LOGIN, Page.LOGIN_AT, Page.BACK_FROM)
        if self.request.method not in ("GET", "HEAD") or elsewhere:
            return ""
        onward = paths.local_path(self.request.raw_path)
        return "" if onward == "/" else onward

    def query(self, name: str, *, limit: int = 256) -> str:
        """A parameter of the address, "" where there is none."""
        return self.request.query.get(name, "")[:limit]

    async def page(self, template: str, *, status: int = 200, **view: Any) -> web.Response:
        """The page that ``template`` makes of ``view``."""
        render = partial(self.site.render, template, self, view)
        html = await self.registry.workers.io(render)
        response = web.Response(text=html, content_type="text/html", charset="utf-8", status=status)
        response.headers["Cache-Control"] = "no-store"
        self.visitor.keep_nonce(response)
        return response

    def see_other(self, path: str) -> web.Response:
        """Go on with a GET of another page (RFC 9110, section 15.4.4)."""
        return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})

    def require(self, action: str) -> None:
        """Refuse who may not ``action`` in the repository of this page; reveals nothing of it.

        Raises:
            ApiError: UNAUTHORIZED to nobody in particular, who may log in; else NAME_UNKNOWN, or
                DENIED to who may see it.
        """
        name = self.target.name
        if self.visitor.may(action, name):
            return
        if not self.visitor.named:
            raise ApiError("UNAUTHORIZED")
        if action != "pull" and self.visitor.may("pull", name):
            raise ApiError("DENIED", message=f"you may not {action} in {name}")
        raise unknown_repository()


Handler = Callable[[Visit], Awaitable[web.Response]]


def unknown_repository() -> ApiError:
    """The same answer for what is not there and for what is not shown."""
    return ApiError(
        "NAME_UNKNOWN", message="There is no such repository here, or you may not pull from it."
    )


class Site:
    """Templates, queries and files of the pages."""

    def __init__(
        self, environment: Environment, files: Mapping[str, bytes], queries: Queries
    ) -> None:
        # The pages know the site, which finds them here.
        from registry.web.pages import PAGES
        from registry.web.pages.deletion import may_delete

        self.queries = queries
        self.contents = Contents()
        self._environment = environment
        self._files = {_versioned(name, data): (_FILES[name], data) for name, data in files.items()}
        self._pages: Mapping[tuple[Page, str], Handler] = PAGES
        addresses = {name.partition(".")[0]: _versioned(name, data) for name, data in files.items()}
        environment.globals.update(
            files={name: paths.ROOT + "file/" + file for name, file in addresses.items()},
            path=paths.page_path,
            login_path=paths.login_path,
            Page=Page,
            short=text.short,
            size=text.size,
            clean=text.clean,
            moment_of=text.moment,
            may_delete=may_delete,
        )

    @classmethod
    def load(cls, queries: Queries) -> Self:
        """Read templates and files; blocks."""
        environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        files = {name: (_FOLDER / name).read_bytes() for name in _FILES}
        return cls(environment, files, queries)

    def templates(self) -> list[str]:
        """The names of all templates; blocks."""
        return self._environment.list_templates(extensions=["html"])

    def compile(self, template: str) -> None:
        """Have a template ready before it is asked for; blocks."""
        self._environment.get_template(template)

    def render(self, template: str, visit: Visit, view: Mapping[str, Any]) -> str:
        """A page as text."""
        return self._environment.get_template(template).render(visit=visit, **view)

    async def handle(self, registry: Registry, request: web.BaseRequest, path: str) -> web.Response:
        """Answer one request; refusals of pages are pages."""
        target = paths.parse(path)
        if target is not None and target.page is Page.FILE:
            response = self._file(target.file)
        else:
            response = await self._page(registry, request, target)
        response.headers.update(_HEADERS)
        return response

    async def _page(
        self, registry: Registry, request: web.BaseRequest, target: PageTarget | None
    ) -> web.Response:
        caller = registry.callers.of(request)
        visitor = await visitor_of(registry, request, caller)
        visit = Visit(self, registry, request, caller, visitor, target or PageTarget(Page.HOME))
        try:
            if target is None:
                raise ApiError("UNSUPPORTED", status=404, message="There is no such page.")
            registry.authorizer.admit(caller, visitor.identity)
            return await self._handler(target.page, request.method)(visit)
        except PolicyError as error:
            message = error.what if error.fix is None else f"{error.what}: {error.fix}"
            return await self._refusal(visit, ApiError("DENIED", message=message))
        except ApiError as error:
            return await self._refusal(visit, error)

    def _handler(self, page: Page, method: str) -> Handler:
        handler = self._pages.get((page, "GET" if method == "HEAD" else method))
        if handler is None:
            allowed = [verb for known, verb in self._pages if known is page]
            allowed += ["HEAD"] if "GET" in allowed else []
            raise ApiError("UNSUPPORTED", headers={"Allow": ", ".join(allowed)})
        return handler

    async def _refusal(self, visit: Visit, error: ApiError) -> web.Response:
        if error.code == "UNAUTHORIZED":
            return visit.see_other(paths.page_path(Page.LOGIN, next=visit.here))
        response = await visit.page("error.html", status=error.status, error=error)
        response.headers.update(error.headers)
        return response

    def _file(self, name: str) -> web.Response:
        found = self._files.get(name)
        if found is None:
            raise ApiError("UNSUPPORTED", status=404, message="no such file")
        kind, data = found
        response = web.Response(body=data, content_type=kind)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable"
        return response


def _versioned(name: str, data: bytes) -> str:
    """A file's name with a hash of what it holds: a new release has a new address."""
    stem, _, suffix = name.partition(".")
    return f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}.{suffix}"
