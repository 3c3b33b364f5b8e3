"""Where passphrases come from: the environment, a file descriptor, or a prompt on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from images.errors import InputError

VARIABLES = ("LADING_PASSPHRASE", "COSIGN_PASSWORD")
LIMIT = 4096


class NoPassphraseError(InputError):
    """A passphrase is needed and there is nobody to ask."""

    code = "passphrase-missing"


def passphrase(
    what: str, *, confirm: bool = False, descriptor: int | None = None
) -> Callable[[], bytes]:
    """A callable that gets the passphrase for ``what`` when it is needed, and then keeps it.

    Order: ``descriptor`` (first line), $LADING_PASSPHRASE, $COSIGN_PASSWORD, a prompt.

    Raises (when called):
        NoPassphraseError: none of them is there.
    """
    known: list[bytes] = []

    def get() -> bytes:
        if not known:
            known.append(_find(what, confirm=confirm, descriptor=descriptor))
        return known[0]

    return get


def _find(what: str, *, confirm: bool, descriptor: int | None) -> bytes:
    if descriptor is not None:
        return os.read(descriptor, LIMIT).split(b"\n", 1)[0].rstrip(b"\r")
    for name in VARIABLES:
        value = os.environb.get(name.encode())
        if value is not None:
            return value
    if not sys.stdin.isatty():
        raise NoPassphraseError(
            f"a passphrase is needed for {what}",
            fix=f"set ${VARIABLES[0]}, or pass --passphrase-fd",
        )
    text: str = click.prompt(
        f"Passphrase for {what}", hide_input=True, confirmation_prompt=confirm, err=True
    )
    return text.encode()
