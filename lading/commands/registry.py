"""``lading registry``: serve images to any client."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lading.app import App
from lading.cli import LazyGroup
from registry.config import DEFAULT_PORT, RegistryConfig

COMMANDS = {
    "access": (
        "registry_access:access",
        "Explain rights; deny somebody; rotate the key that signs tokens",
    ),
    "backup": (
        "registry_backup:backup",
        "Bring the copy of the store in the folder TARGET up to date",
    ),
    "check": ("registry_store:check", "Compare the index with what is on disk"),
    "config": ("registry_config:config", "Check, show and describe the configuration"),
    "countersign": ("registry_countersign:countersign", "Manage the registry's own signing keys"),
    "events": (
        "registry_events:events",
        "Look after the events of webhooks, while the registry serves",
    ),
    "gc": ("registry_store:gc", "Remove content that nobody needs, while the registry serves"),
    "import": (
        "registry_import:take",
        "Take over what distribution (docker-registry, Harbor) or zot has stored in FOLDER",
    ),
    "migrate": (
        "registry_migrate:migrate",
        "Move the store to another place or database, while it serves",
    ),
    "mirror": (
        "registry_mirror:mirror",
        "Copy from and to other registries, as [[mirror]] in the configuration says",
    ),
    "rebuild-index": ("registry_store:rebuild_index", "Make the index anew from the blobs"),
    "restore": (
        "registry_backup:restore",
        "Make a store from the copy in the folder SOURCE; every blob is hashed",
    ),
    "rm": ("registry_remove:rm", "Remove a whole repository, while the registry serves"),
    "robot": ("registry_access:robot", "Manage robot accounts"),
    "scrub": ("registry_store:scrub", "Read and hash every blob again"),
    "serve": (
        "registry:serve",
        "Serve the OCI distribution API until SIGTERM, then finish what is under way",
    ),
    "tags": ("registry_tags:tags", "Show and undo moves of tags"),
    "user": ("registry_access:user", "Manage users"),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def registry() -> None:
    """Serve and look after a registry."""


def _address(
    _context: click.Context, option: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    if value is None:
        return None
    host, colon, port = value.rpartition(":")
    if not colon:
        host, port = value, str(DEFAULT_PORT)
    if not port.isdigit():
        raise click.BadParameter(f"{value!r} is not HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


SETTINGS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--config",
        "-c",
        "file",
        type=click.Path(path_type=Path),
        help="Configuration file (.toml, .yaml)",
    ),
    click.option(
        "--addr",
        callback=_address,
        metavar="HOST:PORT",
        help=f"Where to listen; port 0 takes a free one  [default: 127.0.0.1:{DEFAULT_PORT}]",
    ),
    click.option(
        "--storage",
        "root",
        type=click.Path(path_type=Path),
        help="Folder of the registry's state",
    ),
    click.option("--workers", type=int, help="Processes that serve  [default: 0, one a processor]"),
    click.option(
        "--tls-cert", "tls__cert", type=click.Path(path_type=Path), help="Certificate chain (PEM)"
    ),
    click.option(
        "--tls-key", "tls__key", type=click.Path(path_type=Path), help="Private key (PEM)"
    ),
    click.option(
        "--htpasswd",
        "access__htpasswd",
        type=click.Path(path_type=Path),
        help="Users (bcrypt entries)",
    ),
    click.option(
        "--anonymous-pull",
        "access__anonymous_pull",
        is_flag=True,
        default=None,
        help="Let everybody pull; users push",
    ),
    click.option("--read-only", is_flag=True, default=None, help="Refuse every change"),
    click.option(
        "--metrics",
        "metrics",
        callback=_address,
        metavar="HOST:PORT",
        help="Where to serve metrics and health  [default: nowhere]",
    ),
    click.option(
        "--log-level",
        "log__level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="What goes to stderr; info has a line a request  [default: info]",
    ),
    click.option(
        "--log-format",
        "log__format",
        type=click.Choice(["text", "json"]),
        help="How a line looks  [default: text]",
    ),
)
"""Flags that replace what file and environment say; ``tls__cert`` is the setting ``tls.cert``."""


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of ``SETTINGS``; they arrive as keyword arguments."""
    for option in reversed(SETTINGS):
        command = option(command)
    return command


def effective(app: App, file: Path | None, flags: dict[str, Any]) -> RegistryConfig:
    """The configuration of file, environment and flags.

    Raises:
        RegistryConfigError: something in it is wrong.
    """
    from registry.configuration.sources import load

    values = {name.replace("__", "."): value for name, value in flags.items()}
    for name, prefix in (("addr", ""), ("metrics", "metrics.")):
        host, port = values.pop(name) or (None, None)
        values |= {f"{prefix}host": host, f"{prefix}port": port}
    if app.debug:
        values["log.level"] = "debug"
    return load(
        RegistryConfig,
        file=file,
        environment=os.environ,
        flags=values,
        defaults={"root": app.root / "registry"},
    )


@registry.command()
@with_settings
@click.pass_obj
def serve(app: App, /, *, file: Path | None, **flags: Any) -> None:
    """Serve the OCI distribution API until SIGTERM, then finish what is under way.

    SIGHUP reads configuration, certificates and users again, without dropping a request.
    """
    from registry.cold_start import without_authorities
    from registry.logs import configure

    with without_authorities():
        from registry.serve import serve as run_server

    config = effective(app, file, flags)
    configure(config.log)
    run_server(
        config,
        ready=lambda bound: click.echo(f"serving {bound.url} from {config.root}"),
        reread=lambda: effective(app, file, flags),
    )
