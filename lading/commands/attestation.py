"""``lading attestation``: the in-toto statements that are attached to an image."""

from __future__ import annotations

import click

from lading.cli import LazyGroup

TABLE = {
    "list": ("attestation_reading:list_", "List the statements attached to an image"),
    "show": (
        "attestation_reading:show",
        "Show the statements attached to an image, as JSON, one after the other",
    ),
    "sign": ("attestation_signing:sign", "Sign statements about an image in its registry"),
    "verify": ("attestation_signing:verify", "Verify signed statements about an image"),
}


@click.group(cls=LazyGroup, table=TABLE)
def attestation() -> None:
    """Show statements attached to images: provenance, SBOMs and others."""
