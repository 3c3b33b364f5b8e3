"""nf_tables objects as nfnetlink messages; everything here is pure but ``commit``.

linux/netfilter/nf_tables.h, nft(8). Numbers are in network byte order. Only what the ruleset of
this package and the two foreign accept rules need is here: tables, base and plain chains, sets and
maps, rules made of expressions, elements.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence

from records import Record
from runtime.network.expressions import ACCEPT, value
from runtime.network.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Message,
    NetlinkSocket,
    attribute,
    attributes,
    be32,
    nested,
    text,
)

NETLINK_NETFILTER = 12
FAMILY_INET = 1
FAMILY_IPV4 = 2
FAMILY_BRIDGE = 7

HOOK_PREROUTING = 0
HOOK_FORWARD = 2
HOOK_OUTPUT = 3
HOOK_POSTROUTING = 4

INTERVAL = 0x4
MAP = 0x8
CONCATENATED = 0x80

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = 0, 1, 2, 3, 4
_NEWRULE, _GETRULE, _DELRULE, _NEWSET = 6, 7, 8, 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14

_ELEM_KEY, _ELEM_DATA, _ELEM_KEY_END = 1, 2, 10
_CONCAT_BITS = 6
_ELEMENTS_PER_MESSAGE = 500
"""An attribute is at most 64 KiB long; an element of ours is below 100 bytes."""


class Field(Record):
    """A datatype of set keys and data: nft's number, length in bytes, and whether it is in host
    byte order.
    """

    number: int
    length: int
    host_order: bool = False


IPV4_ADDRESS = Field(7, 4)
PROTOCOL = Field(12, 1)
SERVICE = Field(13, 2)
INTERFACE = Field(41, 16, host_order=True)


class SetSpec(Record):
    """A set (no ``data``) or a map. Several key fields make a concatenated key."""

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    interval: bool = False


class ChainSpec(Record):
    """A plain chain, or a base chain when ``hook`` is given."""

    name: str
    kind: str = ""
    hook: int | None = None
    priority: int = 0


class Element(Record):
    """One element: key fields, the end of the interval where there is one, data fields of a map."""

    key: tuple[bytes, ...]
    end: tuple[bytes, ...] = ()
    data: tuple[bytes, ...] = ()


class BaseChain(Record):
    """What a dump tells of one base chain."""

    family: int
    table: str
    name: str
    hook: int
    accepts: bool


def _message(kind: int, flags: int, family: int, body: bytes, name: str) -> Message:
    return Message(_SUBSYSTEM | kind, flags, struct.pack(">BBH", family, 0, 0) + body, name)


def _comment(sentence: str) -> bytes:
    """User data in libnftnl's type-length-value form, with nft's comment as the only record."""
    data = sentence.encode() + b"\0"
    return struct.pack("BB", 0, len(data)) + data


def parse_comment(userdata: bytes) -> str:
    """The comment in a table's or a rule's user data; empty if there is none."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == 0:
            return userdata[offset + 2 : offset + 2 + length].rstrip(b"\0").decode(errors="replace")
        offset += 2 + length
    return ""


def new_table(family: int, name: str, comment: str) -> Message:
    """Create a table or leave an existing one as it is."""
    body = text(1, name) + be32(2, 0) + attribute(6, _comment(comment))
    return _message(_NEWTABLE, NLM_F_CREATE, family, body, f"create table {name}")


def delete_table(family: int, name: str) -> Message:
    """Delete a table with all it holds."""
    return _message(_DELTABLE, 0, family, text(1, name), f"delete table {name}")


def new_chain(family: int, table: str, chain: ChainSpec) -> Message:
    """Create a chain; base chains accept by default."""
    body = text(1, table) + text(3, chain.name)
    if chain.hook is not None:
        priority = struct.pack(">i", chain.priority)
        body += nested(4, be32(1, chain.hook), attribute(2, priority))
        body += be32(5, ACCEPT) + text(7, chain.kind)
    return _message(_NEWCHAIN, NLM_F_CREATE, family, body, f"create chain {chain.name}")


def new_set(family: int, table: str, spec: SetSpec, identifier: int) -> Message:
    """Create a set or map; ``identifier`` is unique in the batch."""
    flags = (INTERVAL if spec.interval else 0) | (MAP if spec.data else 0)
    concatenated = len(spec.key) > 1
    ranges = concatenated and spec.interval
    if ranges:
        flags |= CONCATENATED
    body = text(1, table) + text(2, spec.name) + be32(3, flags)
    body += be32(4, _type_number(spec.key)) + be32(5, _padded_length(spec.key))
    if spec.data:
        body += be32(6, _type_number(spec.data)) + be32(7, _padded_length(spec.data))
    if ranges:
        fields = b"".join(nested(1, be32(1, field.length)) for field in spec.key)
        body += nested(9, nested(2, fields))
    body += be32(10, identifier)
    if spec.key[0].host_order and not concatenated:
        # Without this byte-order record nft lists the elements as empty strings.
        body += attribute(13, struct.pack("=BBI", 0, 4, 1))
    return _message(_NEWSET, NLM_F_CREATE, family, body, f"create set {spec.name}")


def new_rule(
    family: int,
    table: str,
    chain: str,
    expressions: Sequence[bytes],
    *,
    comment: str = "",
    head: bool = False,
) -> Message:
    """Append a rule, or put it at the ``head`` of the chain."""
    body = text(1, table) + text(2, chain) + nested(4, *expressions)
    if comment:
        body += attribute(7, _comment(comment))
    flags = NLM_F_CREATE | (0 if head else NLM_F_APPEND)
    return _message(_NEWRULE, flags, family, body, f"add rule to {table} {chain}")


def add_elements(family: int, table: str, name: str, elements: Sequence[Element]) -> list[Message]:
    """Add elements; EEXIST if a map has the key with other data."""
    return _elements(_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, family, table, name, elements)


def put_elements(family: int, table: str, name: str, elements: Sequence[Element]) -> list[Message]:
    """Add elements that may be there already."""
    return _elements(_NEWSETELEM, NLM_F_CREATE, family, table, name, elements)


def delete_elements(
    family: int, table: str, name: str, elements: Sequence[Element]
) -> list[Message]:
    """Delete elements; ENOENT if one is missing."""
    return _elements(_DELSETELEM, 0, family, table, name, elements)


def get_element(family: int, table: str, name: str, element: Element) -> Message:
    """Ask for one element; ENOENT if it, the set or the table is missing."""
    return _elements(_GETSETELEM, 0, family, table, name, [element])[0]


def get_table(family: int, name: str) -> Message:
    """Ask for one table; ENOENT if it is missing."""
    return _message(_GETTABLE, 0, family, text(1, name), f"look up table {name}")


def dump_chains(family: int = 0) -> Message:
    """Ask for every chain, of one family or of all."""
    return _message(_GETCHAIN, NLM_F_DUMP, family, b"", "list chains")


def dump_rules(family: int, table: str, chain: str) -> Message:
    """Ask for the rules of a chain."""
    return _message(
        _GETRULE,
        NLM_F_DUMP,
        family,
        text(1, table) + text(2, chain),
        f"list rules of {table} {chain}",
    )


def _elements(
    kind: int, flags: int, family: int, table: str, name: str, elements: Sequence[Element]
) -> list[Message]:
    messages = []
    for start in range(0, len(elements), _ELEMENTS_PER_MESSAGE):
        part = elements[start : start + _ELEMENTS_PER_MESSAGE]
        encoded = nested(3, *(_element(element) for element in part))
        body = text(1, table) + text(2, name) + encoded
        messages.append(_message(kind, flags, family, body, f"change set {name}"))
    return messages


def _element(element: Element) -> bytes:
    parts = nested(_ELEM_KEY, value(_padded(element.key)))
    if element.end:
        parts += nested(_ELEM_KEY_END, value(_padded(element.end)))
    if element.data:
        parts += nested(_ELEM_DATA, value(_padded(element.data)))
    return nested(1, parts)


def _padded(fields: Sequence[bytes]) -> bytes:
    """Concatenated fields take whole registers; a single one keeps its length."""
    if len(fields) == 1:
        return fields[0]
    return b"".join(field + bytes(-len(field) % 4) for field in fields)


def _padded_length(fields: Sequence[Field]) -> int:
    if len(fields) == 1:
        return fields[0].length
    return sum((field.length + 3) & ~3 for field in fields)


def _type_number(fields: Sequence[Field]) -> int:
    number = 0
    for field in fields:
        number = number << _CONCAT_BITS | field.number
    return number


# talking to the kernel


def commit(netlink: NetlinkSocket, messages: Sequence[Message]) -> None:
    """Apply ``messages`` as one transaction.

    Raises:
        NetlinkError: the first refusal; nothing was changed.
    """
    header = struct.pack(">BBH", socket.AF_UNSPEC, 0, 10)
    netlink.transact(
        Message(_BATCH_BEGIN, 0, header, "nftables transaction"),
        messages,
        Message(_BATCH_END, 0, header, "nftables transaction"),
    )


def parse_table_comments(answers: Iterable[tuple[int, bytes]]) -> list[str]:
    """The comment of each table in an answer."""
    return [
        parse_comment(dict(attributes(body[4:])).get(6, b""))
        for kind, body in answers
        if kind == _SUBSYSTEM | _NEWTABLE
    ]


def parse_rule_comments(answers: Iterable[tuple[int, bytes]]) -> list[str]:
    """The comment of each rule in a dump."""
    return [
        parse_comment(dict(attributes(body[4:])).get(7, b""))
        for kind, body in answers
        if kind == _SUBSYSTEM | _NEWRULE
    ]


def parse_chains(
    answers: Iterable[tuple[int, bytes]],
) -> tuple[list[BaseChain], set[tuple[int, str, str]]]:
    """The base chains, and (family, table, name) of every chain, in a dump."""
    bases: list[BaseChain] = []
    names: set[tuple[int, str, str]] = set()
    for kind, body in answers:
        if kind != _SUBSYSTEM | _NEWCHAIN:
            continue
        family, found = body[0], dict(attributes(body[4:]))
        table, name = found[1].rstrip(b"\0").decode(), found[3].rstrip(b"\0").decode()
        names.add((family, table, name))
        if 4 in found and 5 in found:
            (hook,) = struct.unpack(">I", dict(attributes(found[4]))[1])
            (policy,) = struct.unpack(">I", found[5])
            bases.append(BaseChain(family, table, name, hook, policy == ACCEPT))
    return bases, names
