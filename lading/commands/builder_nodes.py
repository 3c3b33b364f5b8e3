"""``lading builder create|ls|use|rm|inspect``: machines to build at, and being one oneself."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lading.app import App
from lading.errors import UsageError
from lading.render.table import listing

if TYPE_CHECKING:
    from engine.remote.channel import Channel
    from engine.remote.nodes import Builder, Node

_HEADERS = {
    "Name": "NAME/NODE",
    "Endpoint": "ENDPOINT",
    "Platforms": "PLATFORMS",
}
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--append", is_flag=True, help="Add a node to a builder")
@click.option("--use", "chosen", is_flag=True, help="Build there from now on")
@click.option(
    "--platform", "platforms", multiple=True, metavar="OS/ARCH,...", help="What the node builds"
)
@click.option("--tls-ca", type=_FILE, help="The authority of the node's certificate")
@click.option("--tls-cert", type=_FILE, help="Our certificate")
@click.option("--tls-key", type=_FILE, help="Its key")
@click.option("--command", default="lading", help="With ssh: what runs lading there")
@click.argument("name")
@click.argument("endpoint")
@click.pass_obj
def create(
    app: App,
    /,
    *,
    name: str,
    endpoint: str,
    append: bool,
    chosen: bool,
    platforms: tuple[str, ...],
    command: str,
    **files: Path | None,
) -> None:
    """Set up the builder NAME with a node at ENDPOINT, or add a node to it.

    ENDPOINT is ssh://[user@]host[:port], tcp://host:port (`lading builder serve` there), or local.
    """
    from engine.remote.nodes import Builders, make_node

    wanted = tuple(text for value in platforms for text in value.split(",") if text)
    tls = {key: "" if path is None else str(path) for key, path in files.items()}
    node = make_node(endpoint, platforms=wanted, command=command, **tls)
    builders = Builders(app.root)
    builders.add(name, node, append=append)
    if chosen:
        builders.use(name)
    click.echo(name)


@click.command("ls")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("-q", "--quiet", is_flag=True, help="Only names")
@click.pass_obj
def list_builders(app: App, /, *, template: str | None, quiet: bool) -> None:
    """List builders and their nodes; a star marks the one that is used."""
    from engine.remote.nodes import Builders

    builders = Builders(app.root)
    if quiet:
        click.echo("\n".join(builder.name for builder in builders.all()))
        return
    rows: list[dict[str, Any]] = []
    for builder in builders.all():
        mark = "*" if builder.name == builders.current else ""
        rows += [_row(builder, node, mark) for node in builder.nodes]
    columns = ("Name", "Endpoint", "Platforms")
    click.echo(listing(rows, headers=_HEADERS, columns=columns, template=template), nl=False)


def _row(builder: Builder, node: Node, mark: str) -> dict[str, Any]:
    platforms = ", ".join(node.platforms)
    return {"Name": builder.name + mark, "Endpoint": node.endpoint, "Platforms": platforms}


@click.command("inspect")
@click.argument("name", required=False)
@click.pass_obj
def inspect_builder(app: App, /, *, name: str | None) -> None:
    """Ask the nodes of a builder whether they answer, and what they can build."""
    from engine.remote.nodes import Builders

    builders = Builders(app.root)
    builder = builders.get(name or builders.current)
    click.echo(f"Name: {builder.name}")
    for node in builder.nodes:
        status, platforms = _ask(node)
        click.echo(f"\nEndpoint:  {node.endpoint}\nStatus:    {status}")
        click.echo(f"Platforms: {', '.join(node.platforms or platforms)}")


def _ask(node: Node) -> tuple[str, tuple[str, ...]]:
    from engine.remote.building import platforms_of
    from engine.remote.errors import ChannelError
    from engine.remote.nodes import LOCAL
    from engine.remote.serving import platforms

    if node.endpoint == LOCAL:
        return "running", tuple(platforms())
    try:
        return "running", platforms_of(node)
    except ChannelError as error:
        return f"unreachable: {error.what}", ()


@click.command()
@click.argument("name")
@click.pass_obj
def use(app: App, /, *, name: str) -> None:
    """Build at the builder NAME from now on; `default` is this machine."""
    from engine.remote.nodes import Builders

    Builders(app.root).use(name)


@click.command("rm")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def remove(app: App, /, *, names: tuple[str, ...]) -> None:
    """Forget builders; nothing is removed at their nodes."""
    from engine.remote.nodes import Builders

    builders = Builders(app.root)
    for name in names:
        builders.remove(name)
        click.echo(name)


@click.command("dial-stdio", hidden=True)
@click.pass_obj
def dial_stdio(app: App, /) -> None:
    """Build for the client at the other end of stdin and stdout; what ssh starts."""
    from engine.remote.channel import Channel
    from engine.remote.errors import PeerGoneError

    with open(0, "rb", buffering=0, closefd=False) as stdin:
        try:
            _session(app)(Channel(stdin, sys.stdout.buffer, peer="the client"))
        except PeerGoneError as error:
            # ssh would show a message to the user, who has heard why: it is he that went.
            raise click.exceptions.Exit(1) from error


@click.command()
@click.option("--addr", required=True, metavar="HOST:PORT", help="Where to listen")
@click.option("--tls-cert", type=_FILE, required=True, help="Certificate of this machine")
@click.option("--tls-key", type=_FILE, required=True, help="Its key")
@click.option("--tls-client-ca", type=_FILE, required=True, help="Whose clients may build")
@click.pass_obj
def serve(app: App, /, *, addr: str, tls_cert: Path, tls_key: Path, tls_client_ca: Path) -> None:
    """Build for clients on other machines, over TLS with certificates of both sides.

    Whoever has a certificate of the client authority can run commands here as lading's user.
    """
    from engine.remote import listening

    host, _, port = addr.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{addr!r} is not HOST:PORT", where="--addr")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    context = listening.server_context(tls_cert, tls_key, tls_client_ca)

    def ready(host: str, port: int) -> None:
        click.echo(f"building at tcp://{host}:{port}")
        sys.stdout.flush()

    listening.serve((host.strip("[]"), int(port)), context, _session(app), ready=ready)


def _session(app: App) -> Any:
    """What a session does; the store is opened by the process that has the session."""

    def session(channel: Channel) -> None:
        from engine.builds.building import Yard
        from engine.remote.serving import serve_session

        serve_session(channel, Yard(app.store, app.access(), app.runtime))

    return session
