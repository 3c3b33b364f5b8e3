"""A configuration that cannot work is refused, and the field is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.config import AccessSettings, RegistryConfig
from registry.errors import RegistryConfigError
from registry.settings import LimitSettings, MetricsSettings, TlsSettings


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"workers": -1}, "workers"),
        ({"tls": TlsSettings(Path("/none"), Path(__file__))}, "tls.cert"),
        ({"access": AccessSettings(Path("/none"))}, "access.htpasswd"),
    ],
)
def test_refused(tmp_path: Path, fields: dict[str, Any], where: str) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        RegistryConfig(root=tmp_path, **fields)
    assert caught.value.where == where
    assert caught.value.code == "registry-config"


@pytest.mark.parametrize(
    ("section", "fields", "where"),
    [
        (TlsSettings, {"cert": Path(__file__)}, "key"),
        (TlsSettings, {"key": Path(__file__)}, "cert"),
        (AccessSettings, {"realm": 'a"b'}, "realm"),
        (AccessSettings, {"realm": "a\nb"}, "realm"),
        (LimitSettings, {"manifest_size": 0}, "manifest_size"),
        (LimitSettings, {"manifest_size": (4 << 20) + 1}, "manifest_size"),
        (LimitSettings, {"upload_expiry": 0}, "upload_expiry"),
        (LimitSettings, {"idle_timeout": -1}, "idle_timeout"),
        (LimitSettings, {"blob_size": 0}, "blob_size"),
        (LimitSettings, {"cache": -1}, "cache"),
        (MetricsSettings, {"port": 70000}, "port"),
    ],
)
def test_a_section_is_refused(section: type[Any], fields: dict[str, Any], where: str) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        section(**fields)
    assert caught.value.where == where


def test_everything_wrong_with_a_section_is_said_at_once() -> None:
    with pytest.raises(RegistryConfigError) as caught:
        LimitSettings(cache=-1, idle_timeout=0)
    assert [problem.where for problem in caught.value.problems] == ["idle_timeout", "cache"]
    assert caught.value.__notes__ == [
        "idle_timeout: idle_timeout must be positive",
        "cache: cache must not be negative",
    ]


def test_defaults_serve_loopback_without_tls(tmp_path: Path) -> None:
    config = RegistryConfig(root=tmp_path)
    assert (config.host, config.port, config.scheme) == ("127.0.0.1", 5000, "http")
