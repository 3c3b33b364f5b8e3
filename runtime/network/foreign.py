"""Living beside other firewalls: their chains that drop what is forwarded, and two accept rules
where we know how.

An accept in our table cannot override another table's drop, and with br_netfilter even frames
between two containers of one bridge pass the forward hook. dockerd sets the policy of ``ip filter
FORWARD`` to drop; its documented place for others' rules is the chain ``DOCKER-USER``, which
iptables-nft shows as its own. Other droppers (ufw, firewalld with a drop policy) get the rules at
the head of the dropping chain. Chains that drop by a last rule instead of a policy, and legacy
xtables, are not seen here.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from records import Record
from runtime.network import expressions as ex
from runtime.network import nftables as nft
from runtime.network import ruleset
from runtime.network.errors import NetlinkError
from runtime.network.netlink import NetlinkSocket

_DOCKER_CHAIN = "DOCKER-USER"
_FAMILIES = (nft.FAMILY_INET, nft.FAMILY_IPV4, nft.FAMILY_BRIDGE)


class Blocker(Record):
    """A base chain of someone else that drops forwarded packets by policy, and the chain to put
    rules into.
    """

    family: int
    table: str
    chain: str
    entrance: str


def blockers(netlink: NetlinkSocket) -> list[Blocker]:
    """Every foreign base chain on the forward hook whose policy is drop.

    Raises:
        NetlinkError: the kernel refused.
    """
    bases, names = nft.parse_chains(netlink.query(nft.dump_chains()))
    found = []
    for base in bases:
        ours = base.family == nft.FAMILY_INET and base.table == ruleset.TABLE
        if ours or base.accepts or base.hook != nft.HOOK_FORWARD or base.family not in _FAMILIES:
            continue
        has_docker = (base.family, base.table, _DOCKER_CHAIN) in names
        entrance = _DOCKER_CHAIN if has_docker else base.name
        found.append(Blocker(base.family, base.table, base.name, entrance))
    return found


def let_pass(
    netlink: NetlinkSocket, bridge: str, uplinks: Callable[[], Sequence[str]]
) -> list[Blocker]:
    """See that every blocker accepts what comes from or goes to ``bridge``; returns the blockers.

    Our own forward chain still isolates the bridge. So that nothing passes into the other
    firewall's networks that it would have dropped, other bridges than ``uplinks`` (asked only when
    there is a blocker) are closed to it. A chain that vanishes meanwhile is no error.

    Raises:
        NetlinkError: the kernel refused.
    """
    found = blockers(netlink)
    if found:
        ruleset.guard(netlink, bridge, uplinks())
    for blocker in found:
        try:
            _insert_missing(netlink, blocker, bridge)
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
    return found


def _insert_missing(netlink: NetlinkSocket, blocker: Blocker, bridge: str) -> None:
    answers = netlink.query(nft.dump_rules(blocker.family, blocker.table, blocker.entrance))
    present = set(nft.parse_rule_comments(answers))
    name = ex.equal(ex.interface_name(bridge))
    accept = ex.verdict(ex.ACCEPT)
    wanted = {
        f"lading: from {bridge}": (ex.meta_interface_in(), name, accept),
        f"lading: to {bridge}": (ex.meta_interface_out(), name, accept),
    }
    messages = [
        nft.new_rule(
            blocker.family, blocker.table, blocker.entrance, rule, comment=comment, head=True
        )
        for comment, rule in wanted.items()
        if comment not in present
    ]
    if messages:
        nft.commit(netlink, messages)
