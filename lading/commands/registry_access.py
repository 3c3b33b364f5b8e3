"""``lading registry user|robot|access``: accounts, and why somebody may do something or may not."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lading.app import App
from lading.errors import FAILED_STATUS
from lading.render.table import tabulate
from registry.access.robots import Robot
from registry.access.snapshot import Places
from registry.config import RegistryConfig
from registry.errors import RegistryConfigError


@click.group()
def user() -> None:
    """Manage users."""


@click.group()
def robot() -> None:
    """Manage robot accounts."""


@click.group()
def access() -> None:
    """Explain rights; deny somebody; rotate the key that signs tokens."""


def _with_places(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that say which registry is meant."""
    for option in (
        click.option(
            "--htpasswd", type=click.Path(path_type=Path), help="Users file, where not the default"
        ),
        click.option(
            "--storage", type=click.Path(path_type=Path), help="Folder of the registry's state"
        ),
        click.option(
            "--config",
            "-c",
            "file",
            type=click.Path(path_type=Path),
            help="Configuration file (.toml, .yaml)",
        ),
    ):
        command = option(command)
    return command


def _places(app: App, file: Path | None, storage: Path | None, htpasswd: Path | None) -> Places:
    """Where the accounts of the registry that is meant are kept, until the command ends.

    Raises:
        RegistryConfigError: the configuration is wrong. DatabaseError: theirs cannot be used.
    """
    from registry.backing import open_backing
    from registry.configuration.sources import load

    config = load(
        RegistryConfig,
        file=file,
        environment=os.environ,
        flags={"root": storage, "access.htpasswd": htpasswd},
        defaults={"root": app.root / "registry"},
    )
    backing = open_backing(config)
    click.get_current_context().call_on_close(backing.close)
    return backing.places(config)


def _new_password(name: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    asked = click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    return str(asked)


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Take the password from stdin")
@_with_places
@click.pass_obj
def add(
    app: App, /, *, name: str, password_stdin: bool, htpasswd: Path | None, **where: Any
) -> None:
    """Add a user; the users file is made with its first one."""
    from registry.access.passwords import set_password

    password = _new_password(name, from_stdin=password_stdin)
    # Not through the configuration, which refuses a file that is yet to be made.
    users = htpasswd or _places(app, htpasswd=None, **where).users
    set_password(users, name, password, new=True)
    click.echo(name)


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Take the password from stdin")
@_with_places
@click.pass_obj
def passwd(app: App, /, *, name: str, password_stdin: bool, **where: Any) -> None:
    """Change a user's password; tokens given for the old one end."""
    from registry.access.passwords import set_password

    password = _new_password(name, from_stdin=password_stdin)
    set_password(_places(app, **where).users, name, password, new=False)
    click.echo(name)


@user.command()
@click.argument("name")
@_with_places
@click.pass_obj
def remove(app: App, /, *, name: str, **where: Any) -> None:
    """Remove a user; the user's tokens end."""
    from registry.access.passwords import remove_user

    places = _places(app, **where)
    remove_user(places.users, name)
    _end_logins(places, f"user:{name}")
    click.echo(name)


@user.command()
@click.argument("name")
@_with_places
@click.pass_obj
def logout(app: App, /, *, name: str, **where: Any) -> None:
    """End all logins of a user: every refresh token that docker login stored."""
    click.echo(_end_logins(_places(app, **where), f"user:{name}"))


@user.command("list")
@_with_places
@click.pass_obj
def list_users(app: App, /, **where: Any) -> None:
    """List the users."""
    from registry.access.passwords import load_htpasswd

    path = _places(app, **where).users
    for name in sorted(load_htpasswd(path)) if path.exists() else ():
        click.echo(name)


@robot.command()
@click.argument("name")
@click.option(
    "--allow",
    multiple=True,
    required=True,
    metavar="PATTERN:ACTIONS",
    help="What it may, for example 'team/**:pull,push'; may be repeated",
)
@click.option(
    "--expires", metavar="DURATION", help="When it ends, for example 90d  [default: never]"
)
@_with_places
@click.pass_obj
def create(
    app: App, /, *, name: str, allow: tuple[str, ...], expires: str | None, **where: Any
) -> None:
    """Create a robot and print its secret, which is shown this once."""
    from registry.access.robots import create_robot, parse_permission

    now = time.time()
    secret = create_robot(
        _places(app, **where).robots,
        name,
        [parse_permission(text) for text in allow],
        now=now,
        expires=None if expires is None else now + _seconds(expires),
    )
    click.echo(secret)


@robot.command()
@click.argument("name")
@_with_places
@click.pass_obj
def revoke(app: App, /, *, name: str, **where: Any) -> None:
    """Revoke a robot; its secret and its tokens end."""
    from registry.access.robots import revoke_robot

    places = _places(app, **where)
    revoke_robot(places.robots, name)
    _end_logins(places, f"robot:{name}")
    click.echo(name)


@robot.command("list")
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table")
@_with_places
@click.pass_obj
def list_robots(app: App, /, *, style: str, **where: Any) -> None:
    """List the robots with their end and what they may."""
    from registry.access.robots import load_robots

    robots = load_robots(_places(app, **where).robots)
    chosen = [robots[name] for name in sorted(robots)]
    if style == "json":
        click.echo(json.dumps([_described(one) for one in chosen]))
        return
    lines = [("NAME", "CREATED", "EXPIRES", "PERMISSIONS")]
    for one in chosen:
        fields = _described(one)
        permissions = " ".join(fields["permissions"])
        lines.append((one.name, fields["created"], fields["expires"] or "never", permissions))
    click.echo(tabulate(lines), nl=False)


@access.command()
@click.argument("who", metavar="USER|robot:NAME|outside:SOURCE/NAME|anonymous")
@click.argument("action", type=click.Choice(["pull", "push", "delete", "admin"]))
@click.argument("repository")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="SOURCE/NAME",
    help="A group that an outside source would say they are in; may be repeated",
)
@_with_places
@click.pass_obj
def explain(
    app: App, /, *, who: str, action: str, repository: str, groups: tuple[str, ...], **where: Any
) -> int:
    """Say whether somebody may do something, and which rule decides; exit status 1 means no."""
    from registry.access.explain import explain as explained

    decision = explained(_places(app, **where), who, action, repository, groups=groups)
    word = "allowed" if decision.allowed else "denied"
    click.echo(f"{word}: {decision.rule}")
    return 0 if decision.allowed else FAILED_STATUS


@access.command()
@click.argument("who", metavar="outside:SOURCE/NAME|user:NAME|robot:NAME|token:SOURCE/JTI")
@_with_places
@click.pass_obj
def deny(app: App, /, *, who: str, **where: Any) -> None:
    """Let somebody in no more, within a second, whatever they show."""
    from registry.access.denials import deny as denied

    denied(_places(app, **where).denials, who)
    click.echo(who)


@access.command()
@click.argument("who", metavar="outside:SOURCE/NAME|user:NAME|robot:NAME|token:SOURCE/JTI")
@_with_places
@click.pass_obj
def permit(app: App, /, *, who: str, **where: Any) -> None:
    """Take back what deny did."""
    from registry.access.denials import permit as permitted

    if not permitted(_places(app, **where).denials, who):
        raise RegistryConfigError("the deny list does not name them", where=who)
    click.echo(who)


@access.command("rotate-key")
@_with_places
@click.pass_obj
def rotate_key(app: App, /, **where: Any) -> None:
    """Make a new key that signs tokens from now on; those of the old one stay good."""
    from registry.access.keys import rotate

    places = _places(app, **where)
    click.echo(rotate(places.keys, places.settings.tokens, now=time.time()))


def _described(one: Robot) -> dict[str, Any]:
    from registry.access.robots import written_permission

    return {
        "name": one.name,
        "created": _moment(one.created),
        "expires": None if one.expires is None else _moment(one.expires),
        "permissions": [written_permission(rule) for rule in one.permissions],
    }


def _end_logins(places: Places, subject: str) -> int:
    """End the refresh and access tokens of a user or robot; returns how many there were."""
    from registry.access.identity import Identity
    from registry.access.personal import PERSONAL_FILE, PersonalTokens
    from registry.access.refresh import RefreshTokens

    whose, count, path = Identity.parse(subject), 0, places.refresh_tokens
    if places.may_have(path):
        with closing(RefreshTokens(path, places.stores)) as refresh:
            count = refresh.revoke(whose)
    path = path.parent / PERSONAL_FILE
    if places.may_have(path):
        with closing(PersonalTokens.at(path, places.stores)) as personal:
            count += personal.revoke_all(whose)
    return count


def _seconds(text: str) -> float:
    from registry.configuration.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise RegistryConfigError(
            f"{text!r} is no duration", where="--expires", fix="write 12h, 90d or 1w"
        ) from error


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
