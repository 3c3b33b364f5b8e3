"""Sizes, processors and limits."""

from __future__ import annotations

import pytest

from engine.options import numbers
from engine.options.errors import OptionError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("32", 32),
        ("32b", 32),
        ("32k", 32768),
        ("32K", 32768),
        ("32kb", 32768),
        ("32KiB", 32768),
        ("1.5g", 3 << 29),
        ("512 mb", 512 << 20),
        ("1t", 1 << 40),
        ("2p", 2 << 50),
    ],
)
def test_sizes(text, size):
    assert numbers.parse_size(text, "--x") == size


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1.2.3", "0x10", "1 2", "1kk", "١"])
def test_what_is_no_size(text):
    with pytest.raises(OptionError) as caught:
        numbers.parse_size(text, "--shm-size")
    assert caught.value.what == (
        f'invalid argument "{text}" for "--shm-size" flag: invalid size: \'{text}\''
    )


def test_memory_has_a_minimum():
    assert numbers.parse_memory("6m") == 6 << 20
    with pytest.raises(OptionError, match="Minimum memory limit allowed is 6MB"):
        numbers.parse_memory("5m")


def test_swap():
    assert numbers.parse_swap("-1", None) == -1
    assert numbers.parse_swap("64m", 32 << 20) == 64 << 20
    with pytest.raises(OptionError, match="larger than memory limit"):
        numbers.parse_swap("16m", 32 << 20)
    with pytest.raises(OptionError, match="always set the Memory limit"):
        numbers.parse_swap("16m", None)


def test_cpus():
    assert numbers.parse_cpus("1.5", 2) == 150_000
    assert numbers.parse_cpus(".01", 2) == 1000
    for text in ("0", "2.5", "-1", "inf", "nan"):
        with pytest.raises(OptionError, match="there are only 2 CPUs available"):
            numbers.parse_cpus(text, 2)
    with pytest.raises(OptionError, match="failed to parse as a rational number"):
        numbers.parse_cpus("many", 2)


def test_cpu_sets():
    assert numbers.parse_cpu_set("0-3,7", "--cpuset-cpus") == "0-3,7"
    with pytest.raises(OptionError, match="invalid value a for cpuset cpus"):
        numbers.parse_cpu_set("a", "--cpuset-cpus")


def test_integers():
    assert numbers.parse_integer("-5", "--oom-score-adj", low=-1000, high=1000) == -5
    with pytest.raises(OptionError, match="between -1000 and 1000, not 2000"):
        numbers.parse_integer("2000", "--oom-score-adj", low=-1000, high=1000)
    with pytest.raises(OptionError, match="invalid syntax"):
        numbers.parse_integer("1e3", "--oom-score-adj", low=0, high=10)


def test_ulimits():
    assert numbers.parse_ulimits(["nofile=1024:2048", "core=0", "nofile=5", "stack=1:-1"]) == {
        "nofile": (5, 5),
        "core": (0, 0),
        "stack": (1, -1),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nofile", "invalid ulimit argument: nofile"),
        ("speed=1", "invalid ulimit type: speed"),
        ("nofile=1:2:3", "too many limit value arguments"),
        ("nofile=a", "invalid limit in a"),
        ("nofile=", "invalid limit in "),
        ("nofile=2:1", "must be less than or equal to hard limit: 2 > 1"),
        ("nofile=-1:5", "must be less than or equal to hard limit: -1 > 5"),
    ],
)
def test_malformed_ulimits(text, words):
    with pytest.raises(OptionError, match="ulimit") as caught:
        numbers.parse_ulimits([text])
    assert words in caught.value.what
