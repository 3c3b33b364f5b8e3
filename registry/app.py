"""A registry ready to take requests, by itself or as an aiohttp application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from images.errors import EnvironmentFault
from registry.config import RegistryConfig
from registry.dispatch import Dispatcher
from registry.service import Registry, open_registry

log = logging.getLogger("registry")

_SWEEP_SECONDS: Final = 600.0


@asynccontextmanager
async def running(config: RegistryConfig) -> AsyncIterator[Dispatcher]:
    """Open the store and keep it tidy while the block runs; requests go to the dispatcher.

    Raises:
        RegistryStartError, RegistryConfigError, IndexFormatError: see ``open_registry``.
    """
    registry = await asyncio.to_thread(open_registry, config)
    sweeper = asyncio.create_task(_sweep_uploads(registry))
    try:
        yield Dispatcher(registry)
    finally:
        sweeper.cancel()
        await asyncio.wait([sweeper])
        await asyncio.to_thread(registry.close)


def create_app(config: RegistryConfig) -> web.Application:
    """An application for who embeds a registry; ``registry.serve`` does without.

    The store is opened when the application starts and closed when it stops.
    """
    app = web.Application()
    dispatchers: list[Dispatcher] = []

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        async with running(config) as dispatcher:
            dispatchers.append(dispatcher)
            yield
            dispatchers.clear()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await dispatchers[0].dispatch(request)

    app.cleanup_ctx.append(lifetime)
    app.router.add_route("*", "/{path:(?s:.*)}", handle, expect_handler=_leave_expectation)
    return app


async def _leave_expectation(request: web.Request) -> None:
    """The dispatcher answers Expect, once rights are checked."""


async def _sweep_uploads(registry: Registry) -> None:
    while True:
        try:
            ended = await registry.uploads.sweep(expiry=registry.config.limits.upload_expiry)
            if ended:
                log.info("ended %d idle uploads", ended)
        except (OSError, EnvironmentFault) as error:
            log.warning("cannot sweep idle uploads: %s", error)
        await asyncio.sleep(_SWEEP_SECONDS)
