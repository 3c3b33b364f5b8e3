"""SIGHUP reads policies and keys again; what cannot be used leaves the old gate in place."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.mediatype import OCI_MANIFEST
from lading.main import main
from tests.registry.events.test_service import refused
from tests.registry.gate.gatekit import HOST, REPOSITORY, image, new_key, policy
from tests.registry.kit import digest_of
from tests.registry.service_kit import call, service
from tests.registry.test_reload import reload
from tests.waiting import eventually

PATH = f"/v2/{REPOSITORY}/manifests/1"


def test_a_bad_policy_keeps_the_old_gate(tmp_path: Path) -> None:
    path = policy(tmp_path, new_key())
    good = path.read_text()
    rule = f'[[gate]]\nrepositories = "prod/**"\npolicy = "{path}"\nname = "{HOST}"\n'
    with service(tmp_path, rule) as found:
        port = found.port
        assert call(
            port, "POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(b'{}')}", b"{}"
        )
        assert call(port, "PUT", PATH, image(), {"Content-Type": OCI_MANIFEST})[0] == 201
        assert call(port, "GET", PATH)[0] == 403
        for broken in ('default = "perhaps"\n', good.replace("release.pub", "missing.pub")):
            path.write_text(broken)
            refused(found)
            assert call(port, "GET", PATH)[0] == 403
        eventually(lambda: "reload refused, the configuration is as it was" in found.logged())
        path.write_text('default = "accept"\n')
        reload(found)
        assert call(port, "GET", PATH)[0] == 200
        path.write_text('default = "reject"\n')
        reload(found)
        status, _, body = call(port, "GET", PATH)
        assert status == 403
        assert b"the policy refuses this image (policy.toml: default)" in body


def test_a_check_of_the_configuration_reads_policies_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = policy(tmp_path, new_key())
    file = tmp_path / "registry.toml"
    file.write_text(f'[[gate]]\npolicy = "{path}"\nname = "{HOST}"\n')
    words = ["registry", "config", "check", str(file)]
    assert main(words) == 0
    path.write_text('default = "perhaps"\n')
    assert main(words) == 1
    assert "policy.toml" in capsys.readouterr().err
