"""TLS settings per registry, from the certificate folders that Docker and Podman use.

docker docs, "Verify repository client with certificates"; containers-certs.d(5):
``<dir>/<host:port>/*.crt`` are roots, ``*.cert`` with ``*.key`` are client pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from images.client.errors import TlsError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping


def default_directories(environ: Mapping[str, str], *, superuser: bool) -> tuple[Path, ...]:
    """Where certificates are looked for, most specific first."""
    config = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/") / ".config")
    personal = (config / "containers/certs.d", config / "docker/certs.d")
    system = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))
    return system if superuser else personal + system


def certificate_directory(host: str, directories: Iterable[Path]) -> Path | None:
    """The first existing folder for ``host[:port]``."""
    return next((path for base in directories if (path := base / host).is_dir()), None)


def has_roots(directory: Path | None) -> bool:
    """Whether the folder brings certificate authorities."""
    return directory is not None and any(directory.glob("*.crt"))


def context(directory: Path | None, *, verify: bool) -> ssl.SSLContext:
    """Build the context for one host; reads files, so call it in a thread.

    Raises:
        TlsError: a certificate or key in the folder is missing or unreadable.
    """
    import ssl

    if verify:
        settings = ssl.create_default_context()
    else:
        settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        settings.check_hostname = False
        settings.verify_mode = ssl.CERT_NONE
    settings.minimum_version = ssl.TLSVersion.TLSv1_2
    if directory is not None:
        _load(settings, directory)
    return settings


def _load(settings: ssl.SSLContext, directory: Path) -> None:
    import ssl

    for path in sorted(directory.iterdir()):
        try:
            if path.suffix == ".crt":
                settings.load_verify_locations(path)
            elif path.suffix == ".cert":
                settings.load_cert_chain(path, path.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"cannot use this certificate: {error}",
                where=str(path),
                fix="*.crt holds a CA in PEM; X.cert needs its key beside it as X.key",
            ) from error
