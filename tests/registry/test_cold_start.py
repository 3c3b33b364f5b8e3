"""A cold start of the server: what it is spared, and what is left as it was."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from registry.cold_start import without_authorities
from tests.registry.tls_kit import Authority

PROBE = """
import json, ssl, sys
from lading.main import main

status = main(["registry", "serve", "--workers", "-1"])
assert status == 1, status
assert "registry.serve" in sys.modules
from aiohttp import connector

own = ssl.create_default_context()
contexts = (connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED, own)
print(json.dumps([context.cert_store_stats()["x509"] for context in contexts]))
print(connector._SSL_CONTEXT_VERIFIED.verify_mode is ssl.CERT_REQUIRED)
"""


def test_aiohttp_reads_no_authorities_and_contexts_made_later_do(tmp_path: Path) -> None:
    environment = os.environ | {"SSL_CERT_FILE": str(Authority(tmp_path).file)}

    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True
    )

    counts, verifies = done.stdout.splitlines()
    assert json.loads(counts) == [0, 0, 1]
    assert verifies == "True"


@pytest.mark.parametrize("before", ["/etc/ssl/own.pem", None])
def test_the_environment_is_as_before(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    else:
        monkeypatch.setenv("SSL_CERT_FILE", before)

    with without_authorities():
        assert ssl.create_default_context().cert_store_stats()["x509"] == 0

    assert os.environ.get("SSL_CERT_FILE") == before
