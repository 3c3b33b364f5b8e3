"""What is known about a request beside what it says: hung on it by the dispatcher."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from registry.access.identity import Grant

REQUEST_ID: Final = web.RequestKey("request_id", str)
"""Names one request in every log record about it, and in the answer when it failed inside."""

GRANT: Final = web.RequestKey("grant", Grant)
"""Who sent it and by which rule it may go on; absent until that is decided."""
