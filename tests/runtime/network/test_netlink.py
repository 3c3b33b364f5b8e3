"""The wire format of netlink messages, byte for byte, and what acknowledgements become."""

from __future__ import annotations

import errno
import struct

import pytest

from runtime.network import netlink, rtnetlink
from runtime.network.errors import NetlinkError
from runtime.network.netlink import NetlinkSocket
from runtime.network.rtnetlink import NETLINK_ROUTE

pytestmark = pytest.mark.skipif(
    struct.pack("=H", 1) != b"\1\0", reason="the golden bytes are little-endian"
)


@pytest.mark.parametrize(
    ("encoded", "wire"),
    [
        (netlink.attribute(3, b"ab"), "0600 0300 6162 0000"),
        (netlink.attribute(3, b""), "0400 0300"),
        (netlink.text(1, "lo"), "0700 0100 6c6f 0000"),
        (netlink.u32(4, 1400), "0800 0400 7805 0000"),
        (netlink.be32(4, 1400), "0800 0400 0000 0578"),
        (netlink.nested(18, netlink.u32(1, 2)), "0c00 1280 0800 0100 0200 0000"),
    ],
)
def test_attributes(encoded, wire):
    assert encoded == bytes.fromhex(wire)


def test_message_header_and_padding():
    message = netlink.Message(16, netlink.NLM_F_CREATE, b"abcde", "x")
    assert netlink.encode(message, 7) == bytes.fromhex(
        "15000000 1000 0104 07000000 00000000 6162636465 000000"
    )


def test_decode_walks_padded_messages():
    one = netlink.Message(16, 0, b"abcde", "x")
    two = netlink.Message(17, 0, b"", "y")
    data = netlink.encode(one, 1) + netlink.encode(two, 2)
    assert [(k, s, b) for k, _, s, b in netlink.decode(data)] == [(16, 1, b"abcde"), (17, 2, b"")]


def test_decode_and_attributes_stop_at_a_malformed_length():
    assert list(netlink.decode(struct.pack("=IHHII", 3, 1, 0, 1, 0))) == []
    assert list(netlink.attributes(struct.pack("=HH", 0, 1))) == []


def test_nested_flag_is_not_part_of_the_type():
    assert list(netlink.attributes(netlink.nested(18, b""))) == [(18, b"")]


def ack_body(number: int, sentence: str, *, capped: bool) -> bytes:
    original = struct.pack("=IHHII", 20, 16, 5, 1, 0)
    body = struct.pack("=i", -number) + original + (b"" if capped else b"abcd")
    return body + netlink.text(1, sentence)


@pytest.mark.parametrize("capped", [True, False])
def test_extended_acknowledgement(capped):
    flags = 0x200 | (0x100 if capped else 0)
    body = ack_body(errno.EINVAL, "Invalid prefix", capped=capped)
    assert netlink.acknowledgement(flags, body) == (errno.EINVAL, "Invalid prefix")


def test_plain_acknowledgement():
    assert netlink.acknowledgement(0, struct.pack("=i", 0) + bytes(16)) == (0, "")


def test_error_says_what_the_kernel_said():
    error = NetlinkError.from_ack(errno.EEXIST, "Address already assigned", "add address 10.0.0.1")
    assert str(error) == "add address 10.0.0.1: Address already assigned (EEXIST)"
    assert (error.code, error.errno) == ("netlink", errno.EEXIST)


def test_error_without_a_sentence_falls_back_to_the_errno():
    error = NetlinkError.from_ack(errno.EPERM, "", "create link x")
    assert error.what == "Operation not permitted"
    assert "root" in error.fix


def test_kernel_answers_a_lookup():
    with NetlinkSocket(NETLINK_ROUTE) as links:
        (link,) = rtnetlink.parse_links(links.query(rtnetlink.get_link("lo")))
    assert (link.index, link.name) == (1, "lo")


def test_kernel_refuses_an_unknown_link():
    with (
        NetlinkSocket(NETLINK_ROUTE) as links,
        pytest.raises(NetlinkError, match="no-such-link") as caught,
    ):
        links.query(rtnetlink.get_link("no-such-link"))
    assert caught.value.errno == errno.ENODEV


@pytest.mark.root
def test_first_refusal_of_a_batch_is_raised_with_the_kernels_sentence(empty_host):
    with NetlinkSocket(NETLINK_ROUTE) as links:
        first = rtnetlink.add_address(1, "10.9.9.9", 24)
        with pytest.raises(NetlinkError) as caught:
            links.execute([first, first, rtnetlink.add_default_route("10.8.8.8")])
        assert caught.value.where == "add address 10.9.9.9"
        assert caught.value.errno == errno.EEXIST
        assert caught.value.what.endswith("Address already assigned (EEXIST)")
        addresses = rtnetlink.parse_addresses(links.query(rtnetlink.dump_addresses()))
        assert "10.9.9.9" in [address.address for address in addresses]
