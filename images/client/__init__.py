"""The registry client: pull, push and look around on any OCI or Docker registry, asynchronously.

OCI distribution specification 1.1; Docker registry token authentication. Everything received is
bounded and verified before it becomes visible (design D6). Names load on first use, so that
importing an error class or a progress event costs no HTTP stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from images.client.options import ClientOptions
    from images.client.registry_client import RegistryClient

__all__ = ["ClientOptions", "RegistryClient"]


def __getattr__(name: str) -> object:
    if name == "RegistryClient":
        from images.client.registry_client import RegistryClient

        return RegistryClient
    if name == "ClientOptions":
        from images.client.options import ClientOptions

        return ClientOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
