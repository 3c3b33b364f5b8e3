"""What the trust tests share: a name, a digest, two keys, and the fixtures folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.digest import Digest
from images.reference import Reference
from trust.keys import PrivateKey

FIXTURES = Path(__file__).parents[2] / "fixtures" / "trust"


@pytest.fixture(scope="session")
def alice() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture(scope="session")
def mallory() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture
def web() -> Reference:
    return Reference.parse("registry.example.com/demo/web:1")


@pytest.fixture
def digest() -> Digest:
    return Digest.of(b"the image")
