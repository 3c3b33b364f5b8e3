"""``lading login`` and ``lading logout``."""

from __future__ import annotations

import sys

import click

from images.reference import DEFAULT_REGISTRY
from lading.app import App
from lading.commands.declared import access_options


@click.command()
@click.argument("server", default=DEFAULT_REGISTRY)
@click.option("-u", "--username", help="Username")
@click.option("-p", "--password", help="Password (visible to other users: prefer --password-stdin)")
@click.option("--password-stdin", is_flag=True, help="Take the password from stdin")
@access_options
@click.pass_obj
def login(
    app: App,
    server: str,
    *,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """Log in to a registry."""
    from engine.registries import login as prove
    from images.credentials import Credentials

    if password_stdin:
        if password is not None:
            raise click.UsageError("--password and --password-stdin are mutually exclusive")
        if username is None:
            raise click.UsageError("Must provide --username with --password-stdin")
        password = sys.stdin.read().rstrip("\r\n")
    elif password is not None:
        click.echo(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.", err=True
        )
    if (username is None or password is None) and not sys.stdin.isatty():
        raise click.UsageError("Cannot perform an interactive login from a non TTY device")
    username = username or click.prompt("Username")
    password = password or click.prompt("Password", hide_input=True)
    prove(server, Credentials(username, password), app.access(insecure_registry))
    click.echo("Login Succeeded")


@click.command()
@click.argument("server", default=DEFAULT_REGISTRY)
def logout(server: str) -> None:
    """Log out from a registry."""
    from images.credentials import CredentialStore

    known = CredentialStore.from_environment().erase(server)
    click.echo(
        f"Removing login credentials for {server}" if known else f"Not logged in to {server}"
    )
