"""``lading manifest``: lists of images, put together by hand as with ``docker manifest``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options
from lading.errors import render_error

if TYPE_CHECKING:
    from engine.access import Access
    from engine.manifests.drafts import Drafts
    from images.descriptor import Descriptor


@click.group()
def manifest() -> None:
    """Put lists of images together, and push them.

    A list is begun here and pushed when it is complete; its images stay at their registries.
    """


def _registry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    switch = click.option("--insecure", is_flag=True, help="The registries may speak plain HTTP")
    return switch(access_options(command))


@manifest.command()
@click.argument("name", metavar="MANIFEST_LIST")
@click.argument("images", metavar="MANIFEST...", nargs=-1, required=True)
@click.option("-a", "--amend", is_flag=True, help="Add to a list that was begun already")
@_registry_options
@click.pass_obj
def create(
    app: App,
    name: str,
    images: tuple[str, ...],
    *,
    amend: bool,
    insecure: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """Begin a list of images that are at registries, or in oci-layout://PATH:TAG."""
    from engine.manifests import lists
    from engine.manifests.layouts import parse_place

    listed = Reference.parse(name)
    wanted = [parse_place(image) for image in images]
    access = _access(app, (listed, *wanted), insecure_registry, insecure=insecure)
    lists.create(access, _drafts(app), listed, wanted, amend=amend)
    click.echo(f"Created manifest list {listed}")


@manifest.command()
@click.argument("name", metavar="MANIFEST_LIST")
@click.argument("image", metavar="MANIFEST")
@click.option("--arch", default="", help="Architecture")
@click.option("--os", "system", default="", help="Operating system")
@click.option("--os-features", multiple=True, help="Feature of the operating system that it needs")
@click.option("--os-version", default="", help="Version of the operating system")
@click.option("--variant", default="", help="Variant of the architecture")
@click.pass_obj
def annotate(
    app: App,
    name: str,
    image: str,
    *,
    arch: str,
    system: str,
    os_features: tuple[str, ...],
    os_version: str,
    variant: str,
) -> None:
    """Change what a list says of the platform of an image."""
    from engine.manifests.layouts import parse_place
    from engine.manifests.lists import Annotations
    from engine.manifests.lists import annotate as change

    features = tuple(part for text in os_features for part in text.split(",") if part)
    changes = Annotations(system, arch, variant, os_version, features)
    change(_drafts(app), Reference.parse(name), parse_place(image), changes)


@manifest.command()
@click.argument("name", metavar="MANIFEST_LIST")
@click.option("-p", "--purge", is_flag=True, help="Forget the list when it is pushed")
@_registry_options
@click.pass_obj
def push(
    app: App, name: str, *, purge: bool, insecure: bool, insecure_registry: tuple[str, ...]
) -> None:
    """Push a list, and the images that its repository lacks."""
    from engine.manifests import lists
    from engine.manifests.layouts import WithLayouts
    from engine.registries import call

    drafts, listed = _drafts(app), Reference.parse(name)
    with drafts.locked(listed):
        draft = drafts.get(listed)
        named = (listed, *(item.name for item in draft.entries))
        access = _access(app, named, insecure_registry, insecure=insecure)
        pushed = call(access, lambda client: lists.push(WithLayouts(client), draft, told=_tell))
        if purge:
            drafts.remove(listed)
    click.echo(pushed.digest)


@manifest.command()
@click.argument("names", metavar="[MANIFEST_LIST] MANIFEST", nargs=-1, required=True)
@click.option("-v", "--verbose", is_flag=True, help="Also names, descriptors and layers")
@_registry_options
@click.pass_obj
def inspect(
    app: App,
    names: tuple[str, ...],
    *,
    verbose: bool,
    insecure: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """Show a list or an image: one that was begun here, else a registry's."""
    from engine.manifests import lists
    from engine.manifests.layouts import WithLayouts, parse_place
    from engine.registries import call

    if len(names) > 2:
        raise click.UsageError("'manifest inspect' takes one or two names")
    drafts, image = _drafts(app), parse_place(names[-1])
    if len(names) == 2:
        item = lists.find_image(drafts, Reference.parse(names[0]), image)
        click.echo(lists.entry_text(item, verbose=verbose))
        return
    draft = drafts.load(image)
    if draft is not None:
        click.echo(lists.draft_text(draft, verbose=verbose))
        return
    access = _access(app, (image,), insecure_registry, insecure=insecure)
    click.echo(
        call(access, lambda client: lists.remote_text(WithLayouts(client), image, verbose=verbose))
    )


@manifest.command()
@click.argument("names", metavar="MANIFEST_LIST...", nargs=-1, required=True)
@click.pass_obj
def rm(app: App, names: tuple[str, ...]) -> int:
    """Forget lists that were begun here."""
    from engine.manifests.errors import ListUnknownError

    drafts, status = _drafts(app), 0
    for name in names:
        listed = Reference.parse(name)
        try:
            with drafts.locked(listed):
                drafts.remove(listed)
        except ListUnknownError as error:
            status = render_error(error, sys.stderr)
    return status


def _drafts(app: App) -> Drafts:
    from engine.manifests.drafts import Drafts

    return Drafts(app.store.root / "manifest-lists")


def _access(
    app: App, names: tuple[Reference, ...], hosts: tuple[str, ...], *, insecure: bool
) -> Access:
    """``insecure`` means the registries of these names."""
    from engine.manifests.layouts import is_layout

    named = tuple(name.registry for name in names if insecure and not is_layout(name))
    return app.access((*hosts, *named))


def _tell(target: Reference, pushed: Descriptor) -> None:
    click.echo(f"Pushed ref {target} with digest: {pushed.digest}")
