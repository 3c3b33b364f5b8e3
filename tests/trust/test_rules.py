"""lading's own policy file: thresholds, formats, age, imports, and notation's statements."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from images.digest import Digest
from images.reference import Reference
from tests.trust.notation_kit import NOW, TARGET, Identity, envelope, identity
from trust import bundle, cosign
from trust.errors import (
    PolicyFileError,
    StaleSignatureError,
    ThresholdError,
    UnsignedError,
    UntrustedChainError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.keys import PrivateKey
from trust.policy import Policy
from trust.policyfile import current_policy, load_policy
from trust.signature import NotationSignature, Signature, Signatures
from trust.verify import verify

IMAGE, DIGEST = Reference.parse("registry.example.com/team/web:1"), Digest.of(b"image")
RULE = 'scopes = ["registry.example.com/team"]\nrequire = "signed"\n'
ANN, BOB, EVE = (PrivateKey.generate() for _ in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the public keys of Ann and Bob."""
    (tmp_path / "ann.pub").write_bytes(ANN.public.pem)
    (tmp_path / "bob.pub").write_bytes(BOB.public.pem)
    return tmp_path


def rules(folder: Path, rule: str, *, default: str = "reject", head: str = "") -> Policy:
    """The policy of one rule for the team's repositories."""
    path = folder / "policy.toml"
    path.write_text(f'default = "{default}"\n{head}\n[[rule]]\nname = "team"\n{rule}')
    return load_policy(path)


def judge(policy: Policy, *signatures: Signature, now: datetime | None = NOW) -> None:
    verify(IMAGE, DIGEST, policy, Signatures(signatures), now=now)


def test_a_rule_decides_and_says_so(folder: Path) -> None:
    policy = rules(folder, RULE + 'keys = ["ann.pub"]')
    judge(policy, cosign.sign(ANN, IMAGE, DIGEST))
    judge(policy, bundle.sign(ANN, IMAGE, DIGEST))
    with pytest.raises(WrongKeyError, match='rule "team"'):
        judge(policy, cosign.sign(EVE, IMAGE, DIGEST))
    explained = policy.explain(IMAGE)
    assert 'rule "team"' in explained
    assert "'registry.example.com/team' is the most specific scope" in explained
    assert "everything is refused" in policy.explain(Reference.parse("debian"))


def test_keys_may_have_names(folder: Path) -> None:
    policy = rules(folder, RULE + 'keys = ["release"]', head='[keys]\nrelease = "ann.pub"')
    judge(policy, cosign.sign(ANN, IMAGE, DIGEST))


def test_a_threshold_counts_keys_and_not_signatures(folder: Path) -> None:
    policy = rules(folder, RULE + 'keys = ["ann.pub", "bob.pub"]\nthreshold = 2')
    anns = cosign.sign(ANN, IMAGE, DIGEST), bundle.sign(ANN, IMAGE, DIGEST)
    judge(policy, *anns, cosign.sign(BOB, IMAGE, DIGEST))
    with pytest.raises(ThresholdError, match="1 of the 2 keys"):
        judge(policy, *anns, cosign.sign(EVE, IMAGE, DIGEST))
    with pytest.raises(UnsignedError, match="2 of "):
        judge(policy)
    assert "2 of " in policy.explain(IMAGE)


def test_one_key_under_two_names_counts_once(folder: Path) -> None:
    (folder / "copy.pub").write_bytes(ANN.public.pem)
    policy = rules(folder, RULE + 'keys = ["ann.pub", "copy.pub"]\nthreshold = 2')
    with pytest.raises(ThresholdError):
        judge(policy, cosign.sign(ANN, IMAGE, DIGEST), bundle.sign(ANN, IMAGE, DIGEST))


def test_a_format_may_be_demanded(folder: Path) -> None:
    policy = rules(folder, RULE + 'keys = ["ann.pub"]\nformats = ["bundle"]')
    judge(policy, bundle.sign(ANN, IMAGE, DIGEST))
    with pytest.raises(UnsignedError, match="as bundle"):
        judge(policy, cosign.sign(ANN, IMAGE, DIGEST))


@pytest.mark.parametrize("sign", [cosign.sign, bundle.sign])
def test_signatures_age(folder: Path, sign: Any) -> None:
    policy = rules(folder, RULE + 'keys = ["ann.pub"]\nmax-age = "30d"')
    stamp = str(int(NOW.timestamp()))
    signature = sign(ANN, IMAGE, DIGEST, annotations={"timestamp": stamp})
    judge(policy, signature)
    judge(policy, signature, now=NOW + timedelta(days=30))
    with pytest.raises(StaleSignatureError, match="too long ago"):
        judge(policy, signature, now=NOW + timedelta(days=30, seconds=1))
    with pytest.raises(StaleSignatureError, match="in the future"):
        judge(policy, signature, now=NOW - timedelta(hours=1))
    for now in (None, NOW):
        with pytest.raises(StaleSignatureError, match="does not say"):
            judge(policy, sign(ANN, IMAGE, DIGEST), now=now)
    with pytest.raises(StaleSignatureError, match="does not say"):
        judge(policy, signature, now=None)


@pytest.mark.parametrize("stamp", ["yesterday", "-5", "1e9", "٣", "9" * 30])
def test_a_time_that_is_none_is_no_time(folder: Path, stamp: str) -> None:
    policy = rules(folder, RULE + 'keys = ["ann.pub"]\nmax-age = "30d"')
    with pytest.raises(StaleSignatureError, match="does not say"):
        judge(policy, cosign.sign(ANN, IMAGE, DIGEST, annotations={"timestamp": stamp}))


def test_identities_as_in_policy_json(folder: Path) -> None:
    other = Reference.parse("registry.example.com/team/web:2")
    signature = cosign.sign(ANN, other, DIGEST)
    with pytest.raises(WrongIdentityError):
        judge(rules(folder, RULE + 'keys = ["ann.pub"]\nidentity = "exact"'), signature)
    judge(rules(folder, RULE + 'keys = ["ann.pub"]\nidentity = "repository"'), signature)
    moved = cosign.sign(ANN, Reference.parse("origin.example.com/team/web:1"), DIGEST)
    prefixes = '{ prefix = "registry.example.com", signed-prefix = "origin.example.com" }'
    judge(rules(folder, RULE + f'keys = ["ann.pub"]\nidentity = {prefixes}'), moved)


ACCEPT = '[[rule]]\nscopes = ["a"]\nrequire = "accept"\n'
SIGNED = '[[rule]]\nscopes = ["a"]\nrequire = "signed"\n'


@pytest.mark.parametrize(
    "text",
    [
        "default = 1",
        'default = "signed"',
        "extra = 1",
        'default = "reject"\ndefault = "accept"',
        '[[rule]]\nrequire = "accept"',
        '[[rule]]\nscopes = []\nrequire = "accept"',
        '[[rule]]\nscopes = ["a"]\nrequire = "maybe"',
        ACCEPT + 'keys = ["k"]',
        ACCEPT + '[[rule]]\nscopes = ["a"]\nrequire = "reject"',
        SIGNED,
        SIGNED + "keys = []",
        SIGNED + 'keys = ["k"]\nthreshold = 2',
        SIGNED + 'keys = ["k"]\nthreshold = 0',
        SIGNED + 'keys = ["k"]\nmax-age = "1y"',
        SIGNED + 'keys = ["k"]\nformats = ["gpg"]',
        SIGNED + 'keys = ["k"]\nidentity = "x"',
        '[[rule]]\nscopes = ["a"]\nrequire = "notation"\nstores = ["ca:a"]',
        pytest.param("extra = " + "{a=" * 2000, id="deep"),
    ],
)
def test_a_file_that_is_not_understood_is_refused_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text if text.startswith("default") else f'default = "reject"\n{text}')
    with pytest.raises(PolicyFileError) as caught:
        load_policy(path)
    assert caught.value.where == str(path)


def test_a_file_without_default_decides_nothing(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("")
    with pytest.raises(PolicyFileError, match="neither a default"):
        load_policy(tmp_path / "policy.toml")


def test_imports_come_after_own_rules_and_before_defaults(folder: Path) -> None:
    containers = {
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {
            "docker": {
                "registry.example.com/team": [{"type": "insecureAcceptAnything"}],
                "other.example.com": [{"type": "reject"}],
            }
        },
    }
    (folder / "policy.json").write_text(json.dumps(containers))
    path = folder / "policy.toml"
    path.write_text(f'import = ["policy.json"]\n[[rule]]\n{RULE}keys = ["ann.pub"]')
    policy = load_policy(path)
    assert policy.decide(IMAGE).source == str(path)
    assert policy.decide(Reference.parse("other.example.com/a")).scope == "other.example.com"
    assert policy.decide(Reference.parse("debian")).rule == f"{folder}/policy.json: default"
    path.write_text('default = "reject"\n' + path.read_text())
    assert load_policy(path).decide(Reference.parse("debian")).rule == f"{path}: default"


def test_an_import_may_not_import(folder: Path) -> None:
    (folder / "inner.toml").write_text('import = ["policy.toml"]')
    path = folder / "policy.toml"
    path.write_text('default = "reject"\nimport = ["inner.toml"]')
    with pytest.raises(PolicyFileError, match="may not import"):
        load_policy(path)
    path.write_text('default = "reject"\nimport = ["nothing.json"]')
    with pytest.raises(PolicyFileError, match="cannot read"):
        load_policy(path)


def _notation(folder: Path, signer: Identity) -> None:
    store = folder / "notation" / "truststore" / "x509" / "ca" / "acme"
    store.mkdir(parents=True)
    (store / "root.pem").write_bytes(signer.root.public_bytes(Encoding.PEM))


def test_a_rule_may_ask_for_notation(folder: Path) -> None:
    signer = identity()
    _notation(folder, signer)
    policy = rules(
        folder,
        'scopes = ["registry.example.com"]\nrequire = "notation"\nstores = ["ca:acme"]\n'
        'identities = ["x509.subject: C=DE, ST=Hamburg, O=Acme"]\nconfig = "notation"',
    )
    good = NotationSignature(envelope(signer))
    assert TARGET.digest == DIGEST
    judge(policy, good, cosign.sign(EVE, IMAGE, DIGEST))
    with pytest.raises(UntrustedChainError, match='rule "team"'):
        judge(policy, NotationSignature(envelope(identity())))
    with pytest.raises(UnsignedError, match=r"notation, strict"):
        judge(policy, cosign.sign(ANN, IMAGE, DIGEST))
    with pytest.raises(StaleSignatureError, match="without the time"):
        judge(policy, good, now=None)


def test_notations_own_policy_is_imported(folder: Path) -> None:
    signer = identity()
    _notation(folder, signer)
    statement = {
        "name": "acme",
        "registryScopes": ["registry.example.com/team/web"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme"],
        "trustedIdentities": ["*"],
    }
    document = {"version": "1.0", "trustPolicies": [statement]}
    (folder / "notation" / "trustpolicy.json").write_text(json.dumps(document))
    path = folder / "policy.toml"
    path.write_text('default = "reject"\nimport = ["notation/trustpolicy.json"]')
    policy = load_policy(path)
    judge(policy, NotationSignature(envelope(signer)))
    assert 'trustpolicy.json: rule "acme"' in policy.explain(IMAGE)
    assert policy.decide(Reference.parse("registry.example.com/x")).source == str(path)
    statement["registryScopes"] = ["*"]
    (folder / "notation" / "trustpolicy.json").write_text(json.dumps(document))
    path.write_text('import = ["notation/trustpolicy.json"]')
    assert load_policy(path).decide(Reference.parse("debian")).name == "acme"


def test_what_no_import_speaks_of_is_refused(folder: Path) -> None:
    (folder / "trustpolicy.json").write_text('{"version": "1.0", "trustPolicies": []}')
    path = folder / "policy.toml"
    path.write_text('import = ["trustpolicy.json"]')
    assert "everything is refused" in load_policy(path).explain(IMAGE)


def test_our_own_file_is_found_before_the_json_one(tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "policy.json").write_text('{"default": [{"type": "reject"}]}')
    (tmp_path / "trust" / "policy.toml").write_text('default = "accept"')
    policy = current_policy(tmp_path, environ={}, system=tmp_path / "none")
    assert policy.source.endswith("policy.toml")


def test_the_time_of_a_payload_is_containers_number() -> None:
    from trust.signature import Claim

    claim = Claim("cosign", frozenset(), None, {"timestamp": 1_000_000_000})
    assert claim.signed_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert Claim("cosign", frozenset(), None, {"timestamp": True}).signed_at is None
