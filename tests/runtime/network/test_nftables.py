"""nfnetlink messages, byte for byte, and the parsing of dumps."""

from __future__ import annotations

from runtime.network import expressions as ex
from runtime.network import nftables as nft
from runtime.network.netlink import NLM_F_APPEND, NLM_F_CREATE, attribute, be32, nested, text


def test_rule_bytes():
    message = nft.new_rule(
        nft.FAMILY_IPV4,
        "filter",
        "FORWARD",
        (ex.meta_interface_in(), ex.verdict(ex.ACCEPT)),
        comment="x",
        head=True,
    )
    assert (message.kind, message.flags) == (0x0A06, NLM_F_CREATE)
    assert message.body == bytes.fromhex(
        "02 00 0000"  # nfgenmsg: NFPROTO_IPV4
        "0b000100 66696c74657200 00"  # table
        "0c000200 464f525741524400"  # chain
        "58000480"  # expressions
        "24000180 09000100 6d65746100 000000"  # meta
        "14000280 08000200 00000006 08000100 00000008"  # iifname into the first register
        "30000180 0e000100 696d6d65646961746500 0000"  # immediate
        "1c000280 08000100 00000000 10000280 0c000280 08000100 00000001"  # verdict accept
        "08000700 00027800"  # comment
    )


def test_rules_are_appended_unless_they_go_to_the_head():
    message = nft.new_rule(nft.FAMILY_INET, "t", "c", ())
    assert message.flags == NLM_F_CREATE | NLM_F_APPEND


def test_interval_set_of_a_concatenation_describes_its_fields():
    spec = nft.SetSpec("pub", (nft.IPV4_ADDRESS, nft.INTERFACE), interval=True)
    message = nft.new_set(nft.FAMILY_INET, "t", spec, 3)
    assert message.body == bytes.fromhex(
        "01 00 0000 06000100 7400 0000 08000200 70756200"
        "08000300 00000084"  # NFT_SET_INTERVAL | NFT_SET_CONCAT
        "08000400 000001e9 08000500 00000014"  # ipv4_addr . ifname, 20 bytes
        "20000980 1c000280 0c000180 08000100 00000004 0c000180 08000100 00000010"
        "08000a00 00000003"
    )


def test_map_element_bytes():
    element = nft.Element((b"\6", b"\x1f\x90"), data=(b"\x0a\0\0\2", b"\0P"))
    (message,) = nft.add_elements(nft.FAMILY_INET, "t", "pub", [element])
    assert message.body == bytes.fromhex(
        "01 00 0000 06000100 7400 0000 08000200 70756200"
        "28000380 24000180"  # elements, one
        "10000180 0c000100 06000000 1f900000"  # key: tcp . 8080, padded to registers
        "10000280 0c000100 0a000002 00500000"  # data: 10.0.0.2 . 80
    )


def test_many_elements_are_split_over_messages():
    elements = [nft.Element((number.to_bytes(4, "big"),)) for number in range(1201)]
    messages = nft.add_elements(nft.FAMILY_INET, "t", "s", elements)
    assert len(messages) == 3
    assert all(len(message.body) < 65536 for message in messages)


def test_interface_names_are_padded():
    assert ex.interface_name("lading0") == b"lading0" + bytes(9)


def test_comments_round_trip_and_foreign_user_data_is_skipped():
    message = nft.new_table(nft.FAMILY_INET, "t", "rules 1")
    assert nft.parse_table_comments([(0x0A00, message.body)]) == ["rules 1"]
    assert nft.parse_comment(b"\1\2ab\0\3hi\0") == "hi"
    assert nft.parse_comment(b"\1\2ab") == ""
    assert nft.parse_comment(b"") == ""


def chain(family: int, table: str, name: str, hook: int | None = None, policy: int = 1):
    body = bytes((family, 0, 0, 0)) + text(1, table) + text(3, name)
    if hook is not None:
        body += nested(4, be32(1, hook), attribute(2, bytes(4))) + be32(5, policy)
    return 0x0A03, body


def test_chains_of_a_dump():
    bases, names = nft.parse_chains(
        [
            chain(2, "filter", "FORWARD", hook=2, policy=0),
            chain(2, "filter", "DOCKER-USER"),
            chain(1, "lading", "forward", hook=2),
            (0x0A0F, b"new generation"),
        ]
    )
    assert bases == [
        nft.BaseChain(2, "filter", "FORWARD", 2, accepts=False),
        nft.BaseChain(1, "lading", "forward", 2, accepts=True),
    ]
    assert (2, "filter", "DOCKER-USER") in names
