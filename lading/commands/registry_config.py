"""``lading registry config``: what the configuration says, may say, and says wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lading.app import App
from lading.commands.registry import effective, with_settings
from lading.errors import FAILED_STATUS
from registry.config import RegistryConfig
from registry.errors import RegistryConfigError


@click.group()
def config() -> None:
    """Check, show and describe the configuration."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> int:
    """Say everything that is wrong with FILE; exit status 1 when anything is."""
    from registry.configuration.sources import load

    try:
        found = load(RegistryConfig, file=file, defaults={"root": Path("registry")})
        _check_policies(found)
        _check_webhooks(found)
    except RegistryConfigError as error:
        for problem in error.problems or (error,):
            fix = f"; {problem.fix}" if problem.fix else ""
            click.echo(f"{problem}{fix}", err=True)
        return FAILED_STATUS
    click.echo(f"{file}: nothing is wrong")
    return 0


def _check_policies(found: RegistryConfig) -> None:
    """Read the policies of the gates; raises ``RegistryConfigError``."""
    if found.gate:
        from registry.gate.policies import load

        for rule in found.gate:
            if rule.policy is not None:
                load(rule.policy)


def _check_webhooks(found: RegistryConfig) -> None:
    """Read the secrets and certificates of webhooks; raises ``RegistryConfigError``."""
    if found.webhook:
        from registry.events.receiver import Credentials

        for webhook in found.webhook:
            Credentials.read(webhook)


@config.command()
@with_settings
@click.option(
    "--format", "style", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)
@click.pass_obj
def show(app: App, /, *, file: Path | None, style: str, **flags: Any) -> None:
    """Print what would be served: file, environment and flags taken together."""
    from registry.configuration.schema import plain

    settings = plain(effective(app, file, flags))
    if style == "json":
        click.echo(json.dumps(settings, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(settings, sort_keys=False, default_flow_style=False), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of a configuration file."""
    from registry.configuration.schema import json_schema

    document = json_schema(RegistryConfig, title="Configuration of lading registry serve")
    click.echo(json.dumps(document, indent=2))


@config.command()
def reference() -> None:
    """Print all settings as a page of documentation (Markdown)."""
    from registry.configuration.reference import reference as page

    click.echo(page(RegistryConfig), nl=False)
