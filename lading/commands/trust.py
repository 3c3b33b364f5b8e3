"""``lading trust``: keys, signatures, policy."""

from __future__ import annotations

import click

from lading.cli import LazyGroup

TABLE = {
    "delegation": ("trust_delegation:delegation", "Manage the roles that sign for a repository"),
    "inspect": ("trust_images:inspect", "Show who signed an image, and the policy's verdict"),
    "key": ("trust_keys:key", "Manage signing keys"),
    "log": ("trust_log:log", "Watch a registry's transparency log"),
    "pin": ("trust_pin:pin", "Pin root keys of Notary repositories"),
    "policy": ("trust_images:policy", "Check the policy, or explain its decision"),
    "revoke": ("trust_revoke:revoke", "Remove signatures of an image from its registry"),
    "sign": ("trust_images:sign", "Sign an image in its registry"),
    "signer": ("trust_docker:signer", "Manage who may sign for a repository"),
    "verify": ("trust_images:verify", "Verify an image in its registry"),
    "witness": ("trust_delegation:witness", "Sign delegations again as they are"),
}


@click.group(cls=LazyGroup, table=TABLE)
def trust() -> None:
    """Manage keys, signatures and policies."""
