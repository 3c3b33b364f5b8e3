"""user[:group] against account files, good and hostile."""

from __future__ import annotations

import pytest

from runtime.errors import RuntimeFault
from runtime.users import Identity, home_of, resolve

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# comment:x:7:7::/no:/no
bob:x:1000:1000::/home/bob:/bin/sh
short:x:5
1001:x:2000:2001::/numeric-name:/bin/sh
nohome:x:6:6
broken:x:abc:1::/:/
"""
GROUP = b"""root:x:0:
wheel:x:10:bob,alice
staff:x:50:alice,bob
own:x:1000:bob
broken:x
huge:x:99999999999:bob
"""


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("", Identity(0, 0, (0,), "/root")),
        ("root", Identity(0, 0, (0,), "/root")),
        ("bob", Identity(1000, 1000, (1000, 10, 50), "/home/bob")),
        ("1000", Identity(1000, 1000, (1000, 10, 50), "/home/bob")),
        ("bob:", Identity(1000, 1000, (1000, 10, 50), "/home/bob")),
        ("bob:staff", Identity(1000, 50, (50,), "/home/bob")),
        ("bob:77", Identity(1000, 77, (77,), "/home/bob")),
        ("4242", Identity(4242, 0, (0,), "/")),
        ("4242:4243", Identity(4242, 4243, (4243,), "/")),
        ("nohome", Identity(6, 6, (6,), "/")),
        ("1001", Identity(2000, 2001, (2001,), "/numeric-name")),
        (":staff", Identity(0, 50, (50,), "/root")),
    ],
)
def test_lookups(text: str, identity: Identity) -> None:
    assert resolve(text, PASSWD, GROUP) == identity


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("alice", "unable to find user alice: no matching entries in passwd file"),
        ("short", "unable to find user short"),
        ("broken", "unable to find user broken"),
        ("bob:nobody", "unable to find group nobody: no matching entries in group file"),
        ("-1", "unable to find user -1"),
        ("+5", r"unable to find user \+5"),
        ("４２", "unable to find user"),
        ("4294967295", "must be in range"),
        ("4294967296:0", "must be in range"),
        ("1:4294967295", "must be in range"),
    ],
)
def test_refusals(text: str, what: str) -> None:
    with pytest.raises(RuntimeFault, match=what) as caught:
        resolve(text, PASSWD, GROUP)
    assert caught.value.code == "user-unknown"


def test_an_image_without_account_files() -> None:
    assert resolve("", None, None) == Identity(0, 0, (0,), "/")
    assert resolve("5:6", None, None) == Identity(5, 6, (6,), "/")
    with pytest.raises(RuntimeFault):
        resolve("bob", None, None)


def test_extra_groups_come_on_top_once() -> None:
    identity = resolve("bob", PASSWD, GROUP, extra_groups=["staff", "99", "10"])
    assert identity.groups == (1000, 10, 50, 99)
    with pytest.raises(RuntimeFault):
        resolve("bob", PASSWD, GROUP, extra_groups=["nobody"])


def test_home_by_number() -> None:
    assert home_of(1000, PASSWD) == "/home/bob"
    assert home_of(1, PASSWD) == home_of(1, None) == "/"


def test_hostile_bytes_do_not_raise() -> None:
    assert resolve("5", b"\xff\xfe:\0:::\n" * 3 + b"a:b:c:d:e:f:g:h\n", b"\xff:::\n").uid == 5
