"""What names mean at an upstream, and who we are there."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from images.client.errors import ProtocolError
from images.credentials import Credentials
from images.digest import Digest
from registry.errors import RegistryConfigError
from registry.proxy.settings import ProxyRule
from registry.proxy.upstream import Upstream, credentials_of

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("upstream", "name", "there"),
    [
        ("docker.io", "alpine", "docker.io/library/alpine:1"),
        ("docker.io", "library/alpine", "docker.io/library/alpine:1"),
        ("docker.io", "grafana/grafana", "docker.io/grafana/grafana:1"),
        ("docker.io/grafana", "grafana", "docker.io/grafana/grafana:1"),
        ("quay.io", "app", "quay.io/app:1"),
        ("localhost:5000/a/b", "c/d", "localhost:5000/a/b/c/d:1"),
    ],
)
def test_names(upstream: str, name: str, there: str) -> None:
    assert str(Upstream(ProxyRule(upstream=upstream)).reference(name, "1")) == there


def test_a_password_is_for_its_registry_alone(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    rule = ProxyRule("example.com:5000", username="ada", password_file=tmp_path / "password")
    source = credentials_of(rule)
    assert source is not None
    assert source.get("example.com:5000", "app") == Credentials("ada", "s3cret")
    assert source.get("example.com", "app") is None


def test_a_file_of_credentials_is_asked_for_its_registry_alone(tmp_path: Path) -> None:
    secret = {"auth": base64.b64encode(b"ada:s3cret").decode()}
    auths = {"example.com": secret, "other.example": secret}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    source = credentials_of(ProxyRule("example.com", auth_file=tmp_path / "auth.json"))
    assert source is not None
    assert source.get("example.com") == Credentials("ada", "s3cret")
    assert source.get("other.example") is None


@pytest.mark.parametrize("length", [None, "", "-1", "1e9", "12, 12"])
def test_a_size_that_is_none_is_refused(length: str | None) -> None:
    with pytest.raises(ProtocolError):
        Upstream(ProxyRule(upstream="example.com")).stated_size(length, DIGEST)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"upstream": ""}, "upstream"),
        ({"upstream": "https://example.com"}, "upstream"),
        ({"upstream": "example.com/UPPER"}, "upstream"),
        ({"prefix": "/hub"}, "prefix"),
        ({"username": "ada"}, "password_file"),
        ({"auth_file": Path("/nowhere")}, "auth_file"),
        ({"realms": ("https://x",)}, "realms"),
        ({"allow": ("a//b",)}, "allow"),
        ({"deny": ("{user}/**",)}, "deny"),
        ({"timeout": 0.0}, "timeout"),
        ({"check_interval": -1.0}, "check_interval"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        ProxyRule(**{"upstream": "example.com", **fields})
    assert caught.value.where == where
