"""IPv4 arithmetic against the standard library's, and the choice of a pool."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.network import addresses
from runtime.network.errors import AddressPoolError

NUMBERS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(1, 32)


@given(NUMBERS)
def test_numbers_round_trip(number):
    text = addresses.from_number(number)
    assert text == str(ipaddress.IPv4Address(number))
    assert addresses.to_number(text) == number


@given(NUMBERS, LENGTHS)
def test_network_of(number, length):
    expected = ipaddress.ip_network((number, length), strict=False).network_address
    assert addresses.network_of(addresses.from_number(number), length) == str(expected)


@given(NUMBERS, LENGTHS, NUMBERS, LENGTHS)
def test_overlaps(one, one_length, other, other_length):
    expected = ipaddress.ip_network((one, one_length), strict=False).overlaps(
        ipaddress.ip_network((other, other_length), strict=False)
    )
    first = (addresses.from_number(one), one_length)
    second = (addresses.from_number(other), other_length)
    assert addresses.overlaps(first, second) == expected


def test_pools_are_dockers_in_dockers_order():
    assert len(addresses.POOLS) == 31
    assert addresses.POOLS[0] == ("172.17.0.0", 16)
    assert addresses.POOLS[15] == ("192.168.0.0", 20)
    assert addresses.POOLS[-1] == ("192.168.240.0", 20)


def test_default_route_takes_no_pool():
    assert addresses.free_pool([("0.0.0.0", 0)]) == ("172.17.0.0", 16)


def test_pools_that_overlap_a_route_are_passed_over():
    assert addresses.free_pool([("172.17.3.0", 24), ("172.18.0.0", 15)]) == ("172.20.0.0", 16)


def test_no_pool_left():
    with pytest.raises(AddressPoolError, match="fully subnetted") as caught:
        addresses.free_pool([("172.16.0.0", 12), ("192.168.0.0", 16)])
    assert caught.value.where == "172.16.0.0/12, 192.168.0.0/16"
    assert caught.value.code == "address-pool"


def test_hardware_addresses_are_local_and_unicast():
    for _ in range(64):
        address = addresses.random_hardware_address()
        assert len(address) == 6
        assert address[0] & 0x03 == 0x02
