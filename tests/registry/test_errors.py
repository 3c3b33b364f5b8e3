"""The table of wire codes, and the bodies made from it."""

from __future__ import annotations

import json

import pytest

from registry.errors import CODES, ApiError

SPECIFIED = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}


def test_every_code_of_the_specification_is_there() -> None:
    assert set(CODES) >= SPECIFIED
    assert all(400 <= row.status < 600 and row.message for row in CODES.values())


@pytest.mark.parametrize("code", sorted(CODES))
def test_bodies(code: str) -> None:
    error = {"code": code, "message": CODES[code].message}
    assert json.loads(ApiError(code).body()) == {"errors": [error]}
    with_detail = ApiError(code, detail={"a": 1}, status=499, message="other")
    assert with_detail.status == 499
    assert json.loads(with_detail.body()) == {
        "errors": [{"code": code, "message": "other", "detail": {"a": 1}}]
    }


def test_unknown_codes_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        ApiError("NO_SUCH_CODE")
