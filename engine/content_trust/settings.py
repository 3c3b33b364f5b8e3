"""What docker's environment says about content trust; light to import, since ``run`` asks it."""

from __future__ import annotations

import os

from images.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Final

ENABLED: Final = "DOCKER_CONTENT_TRUST"
SERVER: Final = "DOCKER_CONTENT_TRUST_SERVER"
ROOT_PASSPHRASE: Final = "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE"  # noqa: S105 -- a name
REPOSITORY_PASSPHRASE: Final = "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE"  # noqa: S105
HUB_SERVER: Final = "notary.docker.io"

_FALSE: Final = ("0", "f", "false")


class TrustServerError(InputError):
    """``$DOCKER_CONTENT_TRUST_SERVER`` is not the address of a trust server."""

    code = "trust-server"


def enabled(environ: Mapping[str, str]) -> bool:
    """Whether content trust is on; as with docker, what is no boolean turns it on."""
    value = environ.get(ENABLED, "")
    return bool(value) and value.lower() not in _FALSE


def server_of(registry: str, environ: Mapping[str, str]) -> str:
    """host[:port] of the trust server for a registry: its own, unless the environment names one.

    Raises:
        TrustServerError: what it names is no https address.
    """
    named = environ.get(SERVER)
    if named:
        from urllib.parse import urlsplit

        parts = urlsplit(named)
        if parts.scheme != "https" or not parts.netloc or "@" in parts.netloc:
            raise TrustServerError(
                f"valid https URL required for trust server, got {named}", where=f"${SERVER}"
            )
        return parts.netloc
    return HUB_SERVER if registry == "docker.io" else registry


def trust_folder(environ: Mapping[str, str]) -> Path:
    """Docker's folder of keys and trust data."""
    from pathlib import Path

    config = environ.get("DOCKER_CONFIG")
    home = environ.get("HOME") or os.path.expanduser("~")
    return (Path(config) if config else Path(home) / ".docker") / "trust"
