"""A registry ready to take requests, by itself or as an aiohttp application."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from registry.access.throttle import Patience
from registry.collection.schedule import LOOK_SECONDS, collect_when_due
from registry.config import RegistryConfig
from registry.dispatch import Dispatcher
from registry.observe import Observer
from registry.schedule import Task, run_tasks
from registry.service import (
    callers_of,
    guard_of,
    open_certificates,
    open_mirrors,
    open_proxy,
    open_registry,
)
from registry.tally import Tally

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_SWEEP_SECONDS: Final = 600.0
_FOLLOW_SECONDS: Final = 5.0
_USAGE_SECONDS: Final = 600.0


@asynccontextmanager
async def running(
    config: RegistryConfig, patience: Patience | None = None
) -> AsyncIterator[Dispatcher]:
    """Open the store and keep it tidy while the block runs; requests go to the dispatcher.

    ``patience`` is shared with other workers of the same registry.

    Raises:
        RegistryStartError, RegistryConfigError, IndexFormatError: see ``open_registry``.
    """
    registry = await asyncio.to_thread(open_registry, config, patience)
    dispatcher = Dispatcher(registry)
    tasks = asyncio.create_task(run_tasks(registry.offices, _tasks(dispatcher)))
    registry.events.start()
    try:
        yield dispatcher
    finally:
        await registry.events.stop()
        tasks.cancel()
        await asyncio.wait([tasks])
        for room in (dispatcher.registry.mirrors, dispatcher.registry.proxy):
            if room is not None:
                await room.close()
        if registry.barrier is not None:
            await registry.barrier.close()
        await asyncio.to_thread(registry.close)


def answering(dispatcher: Dispatcher, tally: Tally) -> Handle:
    """What answers requests: counted and logged, and traced if the configuration says so."""
    handle: Handle = Observer(dispatcher, tally).handle
    tracer = dispatcher.registry.tracer
    return handle if tracer is None else tracer.around(handle)


def create_app(config: RegistryConfig) -> web.Application:
    """An application for who embeds a registry; ``registry.serve`` does without.

    The store is opened when the application starts and closed when it stops.
    """
    app = web.Application()
    handlers: list[Handle] = []

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        async with running(config) as dispatcher:
            handlers.append(answering(dispatcher, Tally(1)))
            yield
            handlers.clear()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handlers[0](request)

    app.cleanup_ctx.append(lifetime)
    app.router.add_route("*", "/{path:(?s:.*)}", handle, expect_handler=_leave_expectation)
    return app


async def _leave_expectation(request: web.Request) -> None:
    """The dispatcher answers Expect, once rights are checked."""


async def reconfigure(dispatcher: Dispatcher, config: RegistryConfig) -> None:
    """Go on with another configuration and with users as they are on disk now.

    Requests under way end by the old one. What only a restart can change stays as it is.

    Raises:
        RegistryConfigError: users, rules or a policy are unusable; nothing is changed.
    """
    registry = dispatcher.registry
    gate = await asyncio.to_thread(registry.gate.reconfigured, config.gate)
    webhooks = await asyncio.to_thread(registry.events.prepare, config)
    proxy = await asyncio.to_thread(open_proxy, config, registry.proxy)
    certificates = await asyncio.to_thread(open_certificates, config)
    await registry.authorizer.reload(config.access, certificates)
    if registry.proxy is not None:
        registry.proxy.replaced()
    registry.auditor.reopen()
    callers = callers_of(config)
    registry.index.set_guard(guard_of(config, registry.storage))
    registry.index.set_followed(followed=registry.followers.wanted(config))
    registry.events.restart(webhooks)
    dispatcher.registry = dataclasses.replace(
        registry,
        config=config,
        callers=callers,
        gate=gate,
        proxy=proxy,
        mirrors=await asyncio.to_thread(
            open_mirrors, config, registry.backing, registry.offices, registry.mirrors
        ),
        collector=registry.collector.reconfigured(config),
    )


def _tasks(dispatcher: Dispatcher) -> list[Task]:
    """What one process of all that serve a folder does again and again."""

    async def sweep() -> str:
        registry = dispatcher.registry
        ended = await registry.uploads.sweep(expiry=registry.config.limits.upload_expiry)
        return f"{ended} ended" if ended else ""

    async def collect() -> str:
        return await collect_when_due(dispatcher.registry.collector)

    async def sign_again() -> str:
        signed = await dispatcher.registry.trust.sweep()
        return f"{signed} collections signed again" if signed else ""

    async def follow() -> str:
        registry = dispatcher.registry
        return await registry.workers.io(registry.followers.catch_up)

    async def note() -> str:
        registry = dispatcher.registry
        if registry.config.web.enabled:
            await registry.workers.io(registry.web.note_usage)
        return ""

    async def mirror() -> str:
        mirrors = dispatcher.registry.mirrors
        return "" if mirrors is None else await mirrors.look(dispatcher.registry)

    return [
        Task("mirrors", _FOLLOW_SECONDS, mirror),
        Task("followers", _FOLLOW_SECONDS, follow),
        Task("idle uploads", _SWEEP_SECONDS, sweep),
        Task("trust data", _SWEEP_SECONDS, sign_again),
        Task("collection", LOOK_SECONDS, collect),
        Task("usage", _USAGE_SECONDS, note),
    ]
