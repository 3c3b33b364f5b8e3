"""``lading image``: the commands on images under Docker's noun."""

from __future__ import annotations

import click

from lading.cli import LazyGroup

TABLE = {
    "build": ("build:build", "Build an image from a Dockerfile"),
    "history": ("history:history", "Show the history of an image"),
    "import": ("archives:import_", "Make an image of a root filesystem tarball"),
    "inspect": ("inspect:inspect", "Return low-level information on images"),
    "load": ("archives:load", "Load images from a tar archive or stdin"),
    "ls": ("images:images", "List images"),
    "packages": (
        "sbom:packages",
        "Show which step brought which package, and how many bytes each takes",
    ),
    "pull": ("transfer:pull", "Download an image from a registry"),
    "push": ("transfer:push", "Upload an image to a registry"),
    "rm": ("images:rmi", "Remove one or more images"),
    "save": ("archives:save", "Save one or more images to a tar archive"),
    "tag": ("images:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
}


@click.group(cls=LazyGroup, table=TABLE)
def image() -> None:
    """Manage images."""
