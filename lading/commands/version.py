"""``lading version``."""

from __future__ import annotations

import os
import platform

import click

from lading import __version__
from lading.render.gotemplate import Template

_TEXT = """\
lading:
 Version:     {Version}
 Python:      {PythonVersion}
 OS/Arch:     {Os}/{Arch}
 Kernel:      {KernelVersion}
"""


@click.command()
@click.option("-f", "--format", "template", metavar="TEMPLATE", help="Go template, or json")
def version(template: str | None) -> None:
    """Show version information."""
    from images.platform import Platform

    host = Platform.host()
    facts = {
        "Version": __version__,
        "PythonVersion": platform.python_version(),
        "Os": host.os,
        "Arch": host.architecture,
        "KernelVersion": os.uname().release,
    }
    if template is None:
        click.echo(_TEXT.format(**facts), nl=False)
    else:
        text = "{{json .}}" if template == "json" else template
        click.echo(Template.parse(text).render(facts))
