"""One worker: an event loop, its sockets, the store opened for it; reload and drain."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from images.errors import ImagesError
from registry.access.throttle import Patience
from registry.app import answering, reconfigure, running
from registry.config import RegistryConfig
from registry.connections import GuardedServer
from registry.dispatch import Dispatcher
from registry.listening import BACKLOG
from registry.logs import adjust, in_background
from registry.room import Room
from registry.s3.settings import StorageType
from registry.status import Status
from registry.supervisor import tell_refused
from registry.systemd import Notifier
from registry.tally import Count, Tally
from registry.tls import renew

log = logging.getLogger("registry")

_CLOSE_SECONDS: Final = 1.0
"""What is left after the drain gets this long: the last answers are on their way out."""


class Worker:
    """Serves on ``sockets``; metrics and health of all workers on ``metrics``.

    ``reread`` returns the configuration of today, or raises ``RegistryError``.
    """

    def __init__(
        self,
        config: RegistryConfig,
        *,
        sockets: Sequence[socket.socket],
        metrics: Sequence[socket.socket],
        context: ssl.SSLContext | None,
        tally: Tally,
        patience: Patience,
        reread: Callable[[], RegistryConfig],
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._metrics = metrics
        self._context = context
        self._tally = tally
        self._patience = patience
        self._reread = reread

    async def run(
        self,
        *,
        ready: Callable[[], object],
        stop: asyncio.Event,
        reload: asyncio.Event,
        notifier: Notifier | None = None,
    ) -> None:
        """Serve until ``stop``, then drain; ``ready`` is called once connections are taken.

        Raises:
            RegistryStartError, RegistryConfigError, IndexFormatError: see ``open_registry``.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(in_background(self._note_dropped))
            dispatcher = await stack.enter_async_context(running(self._config, self._patience))
            self._count_proxies(dispatcher)
            handle = answering(dispatcher, self._tally)
            server = GuardedServer(handle, self._config.limits, self._tally)
            status = Status(
                self._config.root,
                self._tally,
                dispatcher.drain,
                backing=dispatcher.registry.backing,
                webhooks=bool(self._config.webhook),
                read_only=self._config.read_only,
                room=self._room(),
                barrier=dispatcher.registry.barrier,
                outgrown=dispatcher.registry.index.trouble,
            )
            await self._serve_status(stack, status)
            runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_CLOSE_SECONDS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            listening = [await self._listen(server, listener) for listener in self._sockets]
            ready()
            reloading = asyncio.create_task(
                self._reload_forever(dispatcher, server, reload, notifier)
            )
            stack.callback(reloading.cancel)
            if self._config.web.enabled:
                registry = dispatcher.registry
                warming = asyncio.create_task(registry.web.warm(registry.workers))
                stack.callback(warming.cancel)
            await stop.wait()
            if notifier is not None:
                notifier.stopping()
            for one in listening:
                one.close()
            limits = dispatcher.registry.config.limits
            unfinished = await dispatcher.drain.wait(limits.drain_timeout)
            level = logging.WARNING if unfinished else logging.INFO
            log.log(level, "drained, %d cut off", unfinished)

    async def _listen(self, server: GuardedServer, listener: socket.socket) -> asyncio.Server:
        """Take connections; a TLS handshake has as long as the head of a request."""
        patience = None if self._context is None else self._config.limits.header_timeout
        return await asyncio.get_running_loop().create_server(
            server,
            sock=listener,
            ssl=self._context,
            ssl_handshake_timeout=patience,
            backlog=BACKLOG,
        )

    async def _serve_status(self, stack: AsyncExitStack, status: Status) -> None:
        runner = web.ServerRunner(web.Server(status.handle, access_log=None), handle_signals=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        for listener in self._metrics:
            await web.SockSite(runner, listener).start()

    async def _reload_forever(
        self,
        dispatcher: Dispatcher,
        server: GuardedServer,
        reload: asyncio.Event,
        notifier: Notifier | None,
    ) -> None:
        while True:
            await reload.wait()
            reload.clear()
            if notifier is not None:
                notifier.reloading()
            try:
                config = await asyncio.to_thread(self._reread)
                if self._context is not None:
                    # Here and in no thread: a handshake that begins between the certificate and its
                    # key would have one of each.
                    renew(self._context, config.tls)
                await reconfigure(dispatcher, config)
                self._count_proxies(dispatcher)
            except (ImagesError, OSError) as error:
                tell_refused(error)
                self._tally.count(Count.RELOAD_FAILURES)
            else:
                server.limits = config.limits
                adjust(config.log)
                self._tally.count(Count.RELOADS)
                log.info("configuration, certificate and users are read again")
            if notifier is not None:
                notifier.ready()

    def _room(self) -> Room | None:
        """What has to be free beside content; None where content is not on our disk."""
        config = self._config
        files = config.storage.type is StorageType.FILES
        return Room(config.root, config.limits.free_space) if files else None

    def _count_proxies(self, dispatcher: Dispatcher) -> None:
        proxy = dispatcher.registry.proxy
        if proxy is not None:
            proxy.counted_by(self._tally.count)

    def _note_dropped(self, lines: int) -> None:
        self._tally.count(Count.LOG_DROPPED, lines)
        log.warning("%d log lines were dropped: nobody read them in time", lines)
