"""``lading pull`` and ``lading push``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from images.platform import Platform
from images.reference import Reference
from lading.app import App, default_platform
from lading.commands.declared import (
    TrustingCommand,
    access_options,
    content_trust_option,
    trust_options,
)
from lading.render.transfer import transfer_view


@click.command(cls=TrustingCommand)
@click.argument("image")
@click.option("--platform", metavar="OS/ARCH", help="Platform to take from a multi-platform image")
@click.option("--all-platforms", is_flag=True, help="Take every platform")
@click.option("-q", "--quiet", is_flag=True, help="Only print the reference")
@access_options
@trust_options
@content_trust_option
@click.pass_obj
def pull(
    app: App,
    image: str,
    *,
    platform: str | None,
    all_platforms: bool,
    quiet: bool,
    insecure_registry: tuple[str, ...],
    policy: Path | None,
    verify_key: tuple[Path, ...],
    disable_content_trust: str | None,
) -> None:
    """Download an image from a registry."""
    from engine import registries

    reference = Reference.parse(image)
    platform = platform or default_platform()
    if reference.tag == "latest" and ":" not in image.rpartition("/")[2] and not quiet:
        click.echo("Using default tag: latest")
    access = app.access(
        insecure_registry,
        policy=policy,
        verify_key=verify_key,
        disable_content_trust=disable_content_trust,
    )
    view = transfer_view("pull", sys.stdout, quiet=quiet)
    try:
        registries.pull(
            reference,
            app.store,
            access,
            platform=Platform.parse(platform) if platform else None,
            all_platforms=all_platforms,
            progress=view,
        )
    finally:
        view.close()
    click.echo(str(reference))


@click.command(cls=TrustingCommand)
@click.argument("image")
@click.option("--platform", metavar="OS/ARCH", help="Push only this platform")
@click.option("-q", "--quiet", is_flag=True, help="Only print the reference")
@access_options
@content_trust_option
@click.pass_obj
def push(
    app: App,
    image: str,
    *,
    platform: str | None,
    quiet: bool,
    insecure_registry: tuple[str, ...],
    disable_content_trust: str | None,
) -> None:
    """Upload an image to a registry."""
    from engine import registries

    reference = Reference.parse(image)
    access = app.access(insecure_registry, disable_content_trust=disable_content_trust)
    view = transfer_view("push", sys.stdout, quiet=quiet)
    try:
        pushed = registries.push(
            reference,
            app.store,
            access,
            platform=Platform.parse(platform) if platform else None,
            progress=view,
        )
    finally:
        view.close()
    if access.content_trust and reference.tag is not None:
        from lading.content_trust import sign_pushed

        sign_pushed(access, reference, pushed)
    if quiet:
        click.echo(str(reference))
