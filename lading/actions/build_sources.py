"""The flags of ``lading build`` that name contexts: what is here, and what has to be brought in."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.builds.sources.named import parse_contexts
from engine.builds.sources.wanted import STDIN, find_sources
from records import replace

if TYPE_CHECKING:
    from engine.builds.order import BuildOrder

_BY_SSH = re.compile(r"ssh://|[A-Za-z0-9_-]+@[A-Za-z0-9.-]+:")


def with_sources(order: BuildOrder, build_contexts: tuple[str, ...]) -> BuildOrder:
    """The order whose request has the context and the Dockerfile as they were typed, sorted out.

    Raises:
        BuildInputError, ImagesError: a named context is malformed.
    """
    from builder.sources.public import public_url

    request = order.request
    contexts = parse_contexts(build_contexts)
    context, file = request.context, request.dockerfile
    assert isinstance(context, str)
    assert file is None or isinstance(file, str)
    sources = find_sources(context, file, contexts.values(), sys.stdin.buffer)
    changes: dict[str, object] = {"contexts": contexts}
    if sources is not None and sources.context is not None:
        origin = context if context == STDIN else public_url(context)
        changes |= {"context": None, "origin": origin}
    if sources is not None and sources.dockerfile is not None:
        changes["dockerfile"] = None
    agent = os.environ.get("SSH_AUTH_SOCK")
    if agent and not request.ssh and _BY_SSH.match(context):
        # As buildx: who names such a repository means the agent that opens it.
        changes["ssh"] = {"default": Path(agent)}
    return replace(order, request=replace(request, **changes), sources=sources)
