"""Which policy file decides, and what happens when it or a key cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.reference import Reference
from trust.errors import KeyFileError, PolicyFileError
from trust.keyfile import MAX_KEY_FILE
from trust.policyfile import current_policy, find_policy, load_policy, read_key

REJECT = '{"default":[{"type":"reject"}]}'


def test_first_of_four_places_decides(tmp_path: Path) -> None:
    system, own = tmp_path / "system.json", tmp_path / "root" / "trust" / "policy.json"
    named, explicit = tmp_path / "named.json", tmp_path / "explicit.json"
    root = tmp_path / "root"
    own.parent.mkdir(parents=True)

    def found(**options: Path | None) -> Path | None:
        environ = {"LADING_TRUST_POLICY": str(named)} if named.exists() else {}
        return find_policy(root, environ=environ, system=system, **options)

    assert found() is None
    for path in (system, own, named):
        path.write_text(REJECT)
        assert found() == path
    assert found(explicit=explicit) == explicit


def test_empty_variable_is_no_setting(tmp_path: Path) -> None:
    environ = {"LADING_TRUST_POLICY": ""}
    assert find_policy(tmp_path, environ=environ, system=tmp_path / "none") is None


def test_named_file_that_is_missing_is_an_error_not_a_pass(tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    for options in ({"explicit": missing}, {"environ": {"LADING_TRUST_POLICY": str(missing)}}):
        with pytest.raises(PolicyFileError) as caught:
            current_policy(tmp_path, **{"environ": {}, **options})  # type: ignore[arg-type]
        assert caught.value.where == str(missing)


def test_no_file_accepts_anything(tmp_path: Path) -> None:
    policy = current_policy(tmp_path, environ={}, system=tmp_path / "none")
    assert "accepted" in policy.explain(Reference.parse("debian"))


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("{}")
    with pytest.raises(PolicyFileError) as caught:
        load_policy(path)
    assert caught.value.where == str(path)


def test_endless_policy_is_not_read_to_the_end() -> None:
    with pytest.raises(PolicyFileError, match="limit"):
        load_policy(Path("/dev/zero"))


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "k.pub"
    path.write_bytes(b"pem")
    assert read_key(str(path)) == b"pem"
    with pytest.raises(KeyFileError, match="cannot read"):
        read_key(str(tmp_path / "none.pub"))
    with pytest.raises(KeyFileError, match=str(MAX_KEY_FILE)):
        read_key("/dev/zero")
