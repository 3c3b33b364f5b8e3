"""``lading trust sign --format simple``: by gpg, through the registry's signature extension."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from registry.config import RegistryConfig
from tests.conftest import require_program
from tests.lading.conftest import Lading, ok
from tests.registry.running import Running


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """GnuPG's home with alice's key; her public key is in the file."""
    require_program("gpg")
    require_program("gpgv")
    # The agent's socket needs a short path.
    with TemporaryDirectory(prefix="gnupg-") as home:
        monkeypatch.setenv("GNUPGHOME", home)
        batch = ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        made = ["--quick-gen-key", "alice@example.com", "ed25519", "sign", "never"]
        subprocess.run([*batch, *made], check=True, capture_output=True)
        public = tmp_path / "alice.asc"
        export = [*batch, "--armor", "--export", "alice@example.com"]
        public.write_bytes(subprocess.run(export, check=True, capture_output=True).stdout)
        yield public
        subprocess.run(["gpgconf", "--kill", "all"], check=False)


@pytest.fixture
def name(tmp_path: Path, lading: Lading, rootfs: Path) -> Iterator[str]:
    with Running(RegistryConfig(root=tmp_path / "served", port=0, workers=1)) as bound:
        image = f"{bound.authority}/lib/app:v1"
        ok(lading("import", rootfs, image))
        ok(lading("push", image))
        yield image


def policy_of(tmp_path: Path, public: Path) -> Path:
    rule = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(public)}
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"default": [rule]}))
    return path


def test_what_gpg_signs_is_accepted(name, lading, keys, tmp_path):
    policy = policy_of(tmp_path, keys)
    assert lading("pull", "--policy", policy, name)[0] == 1
    said = ok(lading("trust", "sign", "--format", "simple", "--key", "gpg:alice@example.com", name))
    assert said.startswith("signed sha256:")
    assert said.endswith("(simple)\n")
    ok(lading("pull", "--policy", policy, name))
    ok(lading("trust", "verify", "--policy", policy, name))


@pytest.mark.peer
def test_skopeo_accepts_what_we_signed(name, lading, keys, tmp_path):
    skopeo = require_program("skopeo")
    ok(lading("trust", "sign", "--key", "gpg:alice@example.com", name))
    policy = policy_of(tmp_path, keys)
    settings = json.loads(policy.read_text())
    settings["default"][0]["signedIdentity"] = {"type": "matchRepository"}
    settings["default"][0] = {**settings["default"][0]}
    document = {
        "default": [{"type": "reject"}],
        "transports": {"docker": {"": settings["default"]}},
    }
    policy.write_text(json.dumps(document))
    copy = [skopeo, "--policy", str(policy), "copy", "--src-tls-verify=false"]
    copy += [f"docker://{name}", f"dir:{tmp_path}/out"]
    done = subprocess.run(copy, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mistakes(name, lading, keys, tmp_path):
    sign = ("trust", "sign", "--format", "simple")
    assert "gpg:ME@EXAMPLE.COM" in lading(*sign, name)[2]
    assert "gpg:ME@EXAMPLE.COM" in lading(*sign, "--key", "alice", name)[2]
    both = lading(*sign, "--format", "cosign", "--key", "gpg:alice@example.com", name)
    assert (both[0], "and no others" in both[2]) == (1, True)
    unknown = lading(*sign, "--key", "gpg:nobody@example.com", name)
    assert (unknown[0], "gpg does not sign" in unknown[2]) == (1, True)
    noted = lading(*sign, "-a", "a=b", "--key", "gpg:alice@example.com", name)
    assert "take no annotations" in noted[2]
