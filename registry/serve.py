"""The registry as a process: an event loop, a socket, TLS, and a drain on SIGTERM.

Prints nothing: the bound address goes to ``ready``, everything else to ``logging``.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from registry.app import running
from registry.config import RegistryConfig
from registry.errors import RegistryStartError

log = logging.getLogger("registry")

_KEEPALIVE_SECONDS = 75.0
_READ_BUFFER = 512 << 10
_CLOSE_SECONDS = 1.0
"""What is left after the drain gets this long: the last answers are on their way out."""


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """Where the registry listens."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host:port``, IPv6 in brackets: what an image name begins with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address a client takes."""
        return f"{self.scheme}://{self.authority}"


def serve(config: RegistryConfig, *, ready: Callable[[BoundAddress], object] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way; blocks.

    ``ready`` is called once, when connections are accepted. After the signal no new connection is
    taken and requests have ``config.limits.drain_timeout`` seconds to end.

    Raises:
        RegistryStartError: the address, the certificate or the store cannot be used.
        RegistryConfigError, IndexFormatError: see ``open_registry``.
    """
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_async(config, ready=ready))


async def serve_async(
    config: RegistryConfig,
    *,
    ready: Callable[[BoundAddress], object] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Like ``serve`` inside a running loop; ``stop`` replaces the signals. Raises as it does."""
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    context = await asyncio.to_thread(tls_context, config)
    async with running(config) as dispatcher:
        server = web.Server(
            dispatcher.dispatch,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            read_bufsize=_READ_BUFFER,
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        try:
            site = await _listen(runner, config, context)
            bound = BoundAddress(config.scheme, *runner.addresses[0][:2])
            log.info("listening on %s", bound.url)
            if ready is not None:
                ready(bound)
            await stop.wait()
            await site.stop()
            unfinished = await dispatcher.drain.wait(config.limits.drain_timeout)
            level = logging.WARNING if unfinished else logging.INFO
            log.log(level, "drained, %d cut off", unfinished)
        finally:
            await runner.cleanup()


async def _listen(
    runner: web.ServerRunner, config: RegistryConfig, context: ssl.SSLContext | None
) -> web.TCPSite:
    site = web.TCPSite(runner, config.host, config.port, ssl_context=context, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        raise RegistryStartError(
            f"cannot listen: {error.strerror or error}",
            where=f"{config.host}:{config.port}",
            fix="choose another address or port, or stop what is using it",
        ) from error
    return site


def tls_context(config: RegistryConfig) -> ssl.SSLContext | None:
    """The server side of TLS, None without a certificate.

    Raises:
        RegistryStartError: certificate and key do not load.
    """
    if config.tls.cert is None or config.tls.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.tls.cert, config.tls.key)
    except (ssl.SSLError, OSError) as error:
        raise RegistryStartError(
            f"cannot load the certificate: {error}",
            where=str(config.tls.cert),
            fix="tls.cert is a PEM chain, tls.key its unencrypted PEM key",
        ) from error
    return context
