"""``lading builder binfmt``: whose programs RUN can execute on this machine."""

from __future__ import annotations

import click

from lading.render.table import listing

_HEADERS = {"Platform": "PLATFORM", "State": "STATE", "Interpreter": "INTERPRETER"}


@click.command()
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("--register", is_flag=True, help="Tell the kernel of the installed ones; needs root")
@click.option("-q", "--quiet", is_flag=True, help="Only the platforms that can run")
def binfmt(*, template: str | None, register: bool, quiet: bool) -> None:
    """List the platforms whose RUN steps can be executed here.

    native: by the processor; emulated: by an interpreter that the kernel knows; installed: by one
    that it has not been told of yet, which --register does until the next boot.
    """
    from engine.builds.emulation import register_installed, survey

    if register:
        register_installed()
    found = survey()
    if quiet:
        found = tuple(item for item in found if item.state in ("native", "emulated"))
    rows = [
        {
            "Platform": str(item.platform),
            "State": item.state,
            "Interpreter": item.path + (" (F)" if item.fixed else ""),
        }
        for item in found
    ]
    text = listing(
        rows,
        headers=_HEADERS,
        columns=("Platform", "State", "Interpreter"),
        template=template,
        quiet_field="Platform" if quiet else None,
    )
    click.echo(text, nl=False)
