"""A configuration that cannot work is refused, and the field is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.config import RegistryConfig
from registry.errors import RegistryConfigError


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"tls_cert": Path("c")}, "tls_key"),
        ({"tls_key": Path("k")}, "tls_cert"),
        ({"tls_cert": Path("/none"), "tls_key": Path("/none")}, "tls_cert"),
        ({"htpasswd": Path("/none")}, "htpasswd"),
        ({"anonymous_pull": True}, "anonymous_pull"),
        ({"realm": 'a"b'}, "realm"),
        ({"realm": "a\nb"}, "realm"),
        ({"manifest_limit": 0}, "manifest_limit"),
        ({"manifest_limit": (4 << 20) + 1}, "manifest_limit"),
        ({"upload_expiry": 0}, "upload_expiry"),
        ({"idle_timeout": -1}, "idle_timeout"),
        ({"blob_limit": 0}, "blob_limit"),
        ({"cache_bytes": -1}, "cache_bytes"),
    ],
)
def test_refused(tmp_path: Path, fields: dict[str, Any], where: str) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        RegistryConfig(root=tmp_path, **fields)
    assert caught.value.where == where
    assert caught.value.code == "registry-config"


def test_defaults_serve_loopback_without_tls(tmp_path: Path) -> None:
    config = RegistryConfig(root=tmp_path)
    assert (config.host, config.port, config.scheme) == ("127.0.0.1", 5000, "http")
