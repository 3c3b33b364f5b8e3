"""Ways to another machine: ssh, by the program of the user's system, and TLS with both sides known.

Over ssh the other end is ``lading builder dial-stdio``, started by the login; over TLS it is
``lading builder serve``.
"""

from __future__ import annotations

import os
import shlex
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedWriter, RawIOBase
from typing import Final, cast
from urllib.parse import urlsplit

from engine.remote.channel import Channel
from engine.remote.errors import ChannelError
from engine.remote.nodes import Node

CONNECT_SECONDS: Final = 20.0
DIAL: Final = ("builder", "dial-stdio")


@contextmanager
def connected(node: Node, environ: Mapping[str, str] = os.environ) -> Iterator[Channel]:
    """A channel to a node, for the length of the block; leaving it ends the session there.

    Raises:
        ChannelError: it cannot be reached, or does not know us.
    """
    way = _by_ssh(node, environ) if node.endpoint.startswith("ssh:") else _by_tls(node)
    with way as channel:
        yield channel


@contextmanager
def _by_ssh(node: Node, environ: Mapping[str, str]) -> Iterator[Channel]:
    command = ssh_command(node, environ)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
    except OSError as error:
        raise ChannelError(
            f"cannot be reached: {command[0]}: {error.strerror}",
            where=node.endpoint,
            fix="install an OpenSSH client, or name another program in LADING_SSH",
        ) from error
    assert process.stdin is not None
    assert process.stdout is not None
    writer = BufferedWriter(cast("RawIOBase", process.stdin))
    try:
        yield Channel(cast("RawIOBase", process.stdout), writer, peer=node.endpoint)
    finally:
        # What was not sent to an end that is gone need not be; the session told why.
        with suppress(OSError):
            writer.close()
        process.stdout.close()
        try:
            process.wait(CONNECT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ssh_command(node: Node, environ: Mapping[str, str]) -> list[str]:
    """What is run; ``$LADING_SSH`` names another program than ssh, with its options."""
    parts = urlsplit(node.endpoint)
    assert parts.hostname is not None
    program = shlex.split(environ.get("LADING_SSH", "")) or ["ssh"]
    user = ["-l", parts.username] if parts.username else []
    port = ["-p", str(parts.port)] if parts.port else []
    # No terminal can answer a question while progress is shown on it.
    quiet = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={int(CONNECT_SECONDS)}"]
    return [*program, *quiet, *user, *port, "--", parts.hostname, node.command, *DIAL]


@contextmanager
def _by_tls(node: Node) -> Iterator[Channel]:
    parts = urlsplit(node.endpoint)
    assert parts.hostname is not None
    try:
        context = ssl.create_default_context(cafile=node.tls_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(node.tls_cert, node.tls_key)
        plain = socket.create_connection((parts.hostname, parts.port or 0), CONNECT_SECONDS)
    except (OSError, ssl.SSLError) as error:
        raise _unreachable(node, error) from error
    with plain:
        try:
            stream = context.wrap_socket(plain, server_hostname=parts.hostname)
        except (OSError, ssl.SSLError) as error:
            raise _unreachable(node, error) from error
        with stream:
            stream.settimeout(None)
            reader, writer = stream.makefile("rb", buffering=0), stream.makefile("wb")
            try:
                yield Channel(reader, writer, peer=node.endpoint)
            finally:
                # What was not sent to an end that is gone need not be; the session told why.
                with suppress(OSError):
                    writer.close()
                reader.close()


def _unreachable(node: Node, error: Exception) -> ChannelError:
    return ChannelError(
        f"cannot be reached: {error}",
        where=node.endpoint,
        fix="see that `lading builder serve` runs there and that both certificates fit",
    )
