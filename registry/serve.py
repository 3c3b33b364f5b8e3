"""The registry as a process, or as several: sockets, TLS, workers, reload and drain.

Prints nothing: the bound address goes to ``ready``, everything else to ``logging``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry.access.throttle import Patience
from registry.allocator import keep_pages
from registry.config import RegistryConfig
from registry.listening import BoundAddress, Listeners, open_listeners
from registry.supervisor import Report, Supervisor
from registry.systemd import Notifier
from registry.tally import Tally
from registry.tls import renew, server_context
from registry.worker import Worker

log = logging.getLogger("registry")

Reread = Callable[[], RegistryConfig]

_MOST_WORKERS: Final = 4
"""Of those that are started unasked: each takes some 40 MB."""

_FIXED: Final = ("root", "host", "port", "workers", "storage", "index", "metrics", "tracing")
"""Settings that only a restart changes."""


@dataclass(slots=True)
class _Service:
    """What all processes of one registry share; ``config`` is replaced by a reload."""

    config: RegistryConfig
    listeners: Listeners
    context: ssl.SSLContext | None
    tally: Tally
    patience: Patience
    reread: Reread

    def close(self) -> None:
        """Close this process' sockets and counters."""
        self.listeners.close()
        self.tally.close()

    def reload(self) -> RegistryConfig:
        """The configuration and the certificate of today, for workers that are to come.

        Raises:
            RegistryError: it is no good; everything is as it was.
        """
        config = self.reread()
        if self.context is not None:
            renew(self.context, config.tls)
        return self._taken(config)

    def read_again(self) -> RegistryConfig:
        """The configuration of today, for a worker that runs; raises as ``reload``."""
        return self._taken(self.reread())

    def _taken(self, config: RegistryConfig) -> RegistryConfig:
        for name in _FIXED:
            if getattr(config, name) != getattr(self.config, name):
                log.warning("%s changed; a restart will bring it into effect", name)
        if self.context is None and config.tls.cert is not None:
            log.warning("tls is configured now; a restart will bring it into effect")
        self.config = config
        return config


def serve(
    config: RegistryConfig,
    *,
    ready: Callable[[BoundAddress], object] | None = None,
    reread: Reread | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way; blocks.

    ``ready`` is called once, when connections are accepted. After the signal no new connection is
    taken and requests have ``config.limits.drain_timeout`` seconds to end. SIGHUP asks ``reread``
    for the configuration, and reads certificates and users again in any case. ``environment`` is
    where systemd's variables are looked for.

    Raises:
        RegistryStartError: the address, the certificate or the store cannot be used.
        RegistryConfigError, IndexFormatError: see ``open_registry``.
    """
    environment = os.environ if environment is None else environment
    count = config.workers or min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    notifier = Notifier(environment)
    keep_pages()
    if count > 1:
        _share()
    service = _open(config, count, environment, reread)
    bound = service.listeners.bound(config.scheme)

    def tell() -> None:
        log.info("listening on %s with %d workers", bound.url, count)
        if ready is not None:
            ready(bound)

    try:
        if count == 1:
            _serve_alone(service, notifier, tell)
        else:
            Supervisor(
                count,
                work=lambda number, lifeline, report: _work(service, number, lifeline, report),
                reload=service.reload,
                close=service.listeners.close,
                drain_seconds=lambda: service.config.limits.drain_timeout,
                tally=service.tally,
                notifier=notifier,
            ).run(tell)
    finally:
        service.close()


async def serve_async(
    config: RegistryConfig,
    *,
    ready: Callable[[BoundAddress], object] | None = None,
    stop: asyncio.Event,
    reload: asyncio.Event | None = None,
) -> None:
    """Serve by one worker inside a running loop, until ``stop``; ``reload`` stands for SIGHUP.

    Raises as ``serve`` does.
    """
    service = await asyncio.to_thread(_open, config, 1, {}, None)
    bound = service.listeners.bound(config.scheme)
    try:
        await _worker(service, 0).run(
            ready=lambda: None if ready is None else ready(bound),
            stop=stop,
            reload=reload or asyncio.Event(),
        )
    finally:
        service.close()


def _open(
    config: RegistryConfig, count: int, environment: Mapping[str, str], reread: Reread | None
) -> _Service:
    context = server_context(config.tls)
    listeners = open_listeners(config, count, environment)
    return _Service(
        config, listeners, context, Tally(count), Patience(), reread or (lambda: config)
    )


def _share() -> None:
    """Import before the fork what each worker would import for itself, into memory of its own."""
    import uvloop  # noqa: F401
    from cryptography.hazmat.primitives import serialization  # noqa: F401


def _worker(service: _Service, number: int) -> Worker:
    return Worker(
        service.config,
        sockets=service.listeners.workers[number],
        metrics=service.listeners.metrics,
        context=service.context,
        tally=service.tally,
        patience=service.patience,
        reread=service.read_again,
    )


def _serve_alone(service: _Service, notifier: Notifier, tell: Callable[[], object]) -> None:
    """One worker in this very process; nothing stands over it."""
    service.tally.begin(0, os.getpid())

    async def main() -> None:
        stop, reload = _on_signals(signal.SIGTERM, signal.SIGINT)

        def started() -> None:
            tell()
            notifier.ready()

        await _worker(service, 0).run(ready=started, stop=stop, reload=reload, notifier=notifier)

    _run(main)


def _work(service: _Service, number: int, lifeline: int, report: Report) -> None:
    """The life of one worker of several, in a process of its own."""
    service.listeners.keep(number)

    async def main() -> None:
        stop, reload = _on_signals(signal.SIGTERM)
        asyncio.get_running_loop().add_reader(lifeline, stop.set)
        await _worker(service, number).run(ready=lambda: report(""), stop=stop, reload=reload)

    _run(main)


def _on_signals(*stopping: signal.Signals) -> tuple[asyncio.Event, asyncio.Event]:
    """Events for the end and for SIGHUP, in the running loop."""
    loop = asyncio.get_running_loop()
    stop, reload = asyncio.Event(), asyncio.Event()
    for number in stopping:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    return stop, reload


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
