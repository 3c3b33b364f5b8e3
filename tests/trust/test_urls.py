"""Rules by URL: no prefix that looks right covers another place."""

from __future__ import annotations

import pytest

from trust.errors import (
    PolicyFileError,
    RejectedByPolicyError,
    UnpinnedSourceError,
    VerificationError,
)
from trust.policy import Policy
from trust.urls import check_url, normal_url
from trust.verify import policy_of_key

RULES = b"""
default = "%s"
[[rule]]
name = "open"
scopes = ["https://example.com/pub/", "https://example.com/one.tgz"]
require = "accept"
[[rule]]
name = "closed"
scopes = ["https://example.com/pub/secret/"]
require = "reject"
[[rule]]
name = "checked"
scopes = ["https://files.example.com/"]
require = "checksum"
"""


def policy(default: str = "reject") -> Policy:
    return Policy.parse(RULES % default.encode(), source="p.toml")


def verdict(url: str, *, pinned: bool = False, default: str = "reject") -> str:
    try:
        check_url(policy(default), url, pinned=pinned)
    except UnpinnedSourceError:
        return "unpinned"
    except RejectedByPolicyError:
        return "rejected"
    return "accepted"


@pytest.mark.parametrize(
    ("url", "unpinned", "pinned"),
    [
        ("https://example.com/pub/a.tgz", "accepted", "accepted"),
        ("https://example.com/pub/a/b?c=/d", "accepted", "accepted"),
        ("HTTPS://Example.COM/pub/a", "accepted", "accepted"),
        ("https://example.com/one.tgz", "accepted", "accepted"),
        ("https://example.com/one.tgz?mirror=1", "accepted", "accepted"),
        ("https://example.com/one.tgz2", "unpinned", "accepted"),
        ("https://example.com/public", "unpinned", "accepted"),
        ("https://example.com/pub/secret/a", "rejected", "rejected"),
        ("https://files.example.com/a", "unpinned", "accepted"),
        ("http://example.com/pub/a", "unpinned", "accepted"),
        ("https://example.com.evil.org/pub/a", "unpinned", "accepted"),
        ("https://example.com:8443/pub/a", "unpinned", "accepted"),
        ("https://example.com@evil.org/pub/a", "unpinned", "accepted"),
        ("https://example.com/pub/../x", "unpinned", "accepted"),
        ("https://example.com/pub/%2e%2e/x", "unpinned", "accepted"),
        ("https://example.com/pub\\..\\x", "unpinned", "accepted"),
        ("https://[broken/pub/", "unpinned", "accepted"),
    ],
)
def test_scopes_cover_what_lies_below_them(url: str, unpinned: str, pinned: str) -> None:
    assert verdict(url) == unpinned
    assert verdict(url, pinned=True) == pinned


def test_the_default_decides_where_no_rule_does() -> None:
    assert verdict("https://elsewhere.org/a", default="accept") == "accepted"
    assert verdict("https://example.com/pub/secret/a", default="accept") == "rejected"
    closed = Policy.parse(b'{"default": [{"type": "reject"}]}')
    with pytest.raises(UnpinnedSourceError, match=r"policy\.json: default"):
        check_url(closed, "https://a.org/b", pinned=False)
    open_to_all = Policy.parse(b'{"default": [{"type": "insecureAcceptAnything"}]}')
    check_url(open_to_all, "https://a.org/b", pinned=False)
    with pytest.raises(VerificationError):
        check_url(policy_of_key(files=["a.pub"]), "https://a.org/b", pinned=False)


def test_an_import_decides_what_the_file_leaves_open() -> None:
    imported = policy("accept")
    file = Policy(None, source="top.toml", imports=(imported,))
    check_url(file, "https://elsewhere.org/a", pinned=False)
    with pytest.raises(RejectedByPolicyError, match=r'p\.toml: rule "closed"'):
        check_url(file, "https://example.com/pub/secret/a", pinned=True)


@pytest.mark.parametrize(
    "rule",
    [
        'scopes = ["https://example.com"]\nrequire = "accept"',
        'scopes = ["https://example.com/../"]\nrequire = "accept"',
        'scopes = ["ftp://example.com/"]\nrequire = "accept"',
        'scopes = ["https://example.com/"]\nrequire = "signed"\nkeys = ["a"]',
        'scopes = ["https://example.com/"]\nrequire = "checksum"\nkeys = ["a"]',
        'scopes = ["https://example.com/", "example.com/a"]\nrequire = "accept"',
        'scopes = ["example.com/a"]\nrequire = "checksum"',
        'scopes = ["https://a.b/", "https://A.b/"]\nrequire = "accept"',
    ],
)
def test_rules_that_cannot_be_meant_refuse_the_file(rule: str) -> None:
    with pytest.raises(PolicyFileError):
        Policy.parse(f'default = "reject"\n[[rule]]\n{rule}\n'.encode(), source="p.toml")


def test_a_url_is_compared_in_its_normal_form() -> None:
    assert normal_url("HTTP://A.b:80/C?D") == "http://a.b:80/C?D"
    assert normal_url("https://a.b") is None
