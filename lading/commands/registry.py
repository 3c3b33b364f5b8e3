"""``lading registry``: serve images to any client."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lading.app import App
from registry.config import DEFAULT_PORT, AccessSettings, RegistryConfig
from registry.settings import TlsSettings


@click.group()
def registry() -> None:
    """Serve and look after a registry."""


def _address(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not colon:
        host, port = value, str(DEFAULT_PORT)
    if not port.isdigit():
        raise click.BadParameter(f"{value!r} is not HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


@registry.command()
@click.option(
    "--addr",
    default=f"127.0.0.1:{DEFAULT_PORT}",
    show_default=True,
    callback=_address,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one",
)
@click.option("--storage", type=click.Path(path_type=Path), help="Folder of the registry's state")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain (PEM)")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Private key (PEM)")
@click.option("--htpasswd", type=click.Path(path_type=Path), help="Users (bcrypt entries)")
@click.option("--anonymous-pull", is_flag=True, help="Let everybody pull; users push")
@click.option("--read-only", is_flag=True, help="Refuse every change")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What goes to stderr; info has a line a request",
)
@click.pass_obj
def serve(
    app: App,
    *,
    addr: tuple[str, int],
    storage: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    htpasswd: Path | None,
    anonymous_pull: bool,
    read_only: bool,
    log_level: str,
) -> None:
    """Serve the OCI distribution API until SIGTERM, then finish what is under way."""
    import logging

    from registry.serve import serve as run_server

    logging.basicConfig(
        level=logging.DEBUG if app.debug else log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    config = RegistryConfig(
        root=storage or app.root / "registry",
        host=addr[0],
        port=addr[1],
        tls=TlsSettings(tls_cert, tls_key),
        access=AccessSettings(htpasswd, anonymous_pull),
        read_only=read_only,
    )
    run_server(config, ready=lambda bound: click.echo(f"serving {bound.url} from {config.root}"))
