"""The pages, one small handler each, and which path and verb asks for which."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from registry.web.pages.compare import show_comparison
from registry.web.pages.deletion import ask_deletion, delete
from registry.web.pages.history import show_history
from registry.web.pages.image import show_image
from registry.web.pages.login import log_in, log_out, show_login
from registry.web.pages.login_elsewhere import begin_login, finish_login
from registry.web.pages.repositories import show_repositories
from registry.web.pages.repository import show_repository
from registry.web.pages.tokens import change_tokens, show_tokens
from registry.web.pages.usage import show_usage
from registry.web.paths import Page
from registry.web.site import Handler

PAGES: Final[Mapping[tuple[Page, str], Handler]] = MappingProxyType(
    {
        (Page.HOME, "GET"): show_repositories,
        (Page.REPOSITORY, "GET"): show_repository,
        (Page.IMAGE, "GET"): show_image,
        (Page.COMPARE, "GET"): show_comparison,
        (Page.HISTORY, "GET"): show_history,
        (Page.USAGE, "GET"): show_usage,
        (Page.LOGIN, "GET"): show_login,
        (Page.LOGIN, "POST"): log_in,
        (Page.LOGOUT, "POST"): log_out,
        (Page.LOGIN_AT, "GET"): begin_login,
        (Page.BACK_FROM, "GET"): finish_login,
        (Page.TOKENS, "GET"): show_tokens,
        (Page.TOKENS, "POST"): change_tokens,
        (Page.DELETE, "GET"): ask_deletion,
        (Page.DELETE, "POST"): delete,
    }
)
