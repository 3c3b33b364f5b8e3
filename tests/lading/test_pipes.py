"""Readers that stop early: no error of a listing, one of a result; and pipes that are not ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from images.errors import EnvironmentFault
from lading.errors import status_of

def broken():
    reader, writer = os.pipe()
    os.close(reader)
    os.write(writer, b"x")

def cut():
    try:
        for _ in range(100_000):
            print("line")
    except BrokenPipeError as error:
        raise EnvironmentFault("cut") from error

def lines():
    for _ in range(100_000):
        print("line")

sys.exit(status_of({"broken": broken, "cut": cut, "lines": lines}[sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [("lines", 0, ""), ("cut", 1, "lading: cut\n"), ("broken", 1, "lading: Broken pipe\n")],
)
def test_readers_that_stop(what: str, status: int, said: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if what != "broken":
            process.stdout.read(10)
            process.stdout.close()
        assert process.stderr.read().decode() == said
    assert process.returncode == status
