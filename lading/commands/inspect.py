"""``lading inspect``."""

from __future__ import annotations

import json
import sys

import click

from images.platform import Platform
from lading.app import App
from lading.errors import render_error
from lading.render.gotemplate import Template


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--format", "template", metavar="TEMPLATE", help="Go template, or json")
@click.option("--platform", metavar="OS/ARCH", help="Which image of a multi-platform one")
@click.option("--type", "kind", type=click.Choice(["image"]), help="Look only at this kind")
@click.pass_obj
def inspect(
    app: App,
    names: tuple[str, ...],
    *,
    template: str | None,
    platform: str | None,
    kind: str | None,
) -> int:
    """Return low-level information on images."""
    del kind
    from engine.images import inspect as look
    from images.errors import ImageUnknownError

    wanted = None if platform is None else Platform.parse(platform)
    found, status = [], 0
    for name in names:
        try:
            found.append(look(app.store, name, platform=wanted))
        except ImageUnknownError as error:
            status = render_error(error, sys.stderr)
    if template is None:
        click.echo(json.dumps(found, indent=4, ensure_ascii=False))
        return status
    text = "{{json .}}" if template == "json" else template
    compiled = Template.parse(text)
    for item in found:
        click.echo(compiled.render(item))
    return status
