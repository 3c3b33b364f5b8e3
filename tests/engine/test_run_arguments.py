"""The quick reading of `run`'s flags agrees with the full parser, or leaves the word to it."""

from __future__ import annotations

import pytest

from engine.run_arguments import parse
from engine.run_options import RunOptions
from lading.commands.run import run as command

LINES = [
    "debian",
    "debian sh -c echo",
    "--rm debian",
    "--rm -it debian bash",
    "-it --name web debian bash -l --name other",
    "-e A=1 -eB=2 --env C --env=D=4 debian",
    "-p 80:80 -p8080:80 --publish=81:81/udp -P debian",
    "-v /a:/b:ro --mount type=tmpfs,dst=/x --tmpfs /run --read-only debian",
    "-m 64m --memory-swap=-1 --cpus 1.5 -c 512 --pids-limit -1 debian",
    "-u 1000:1000 -w /x -h host --entrypoint= debian",
    "--net none --network host debian",
    "--cap-add NET_ADMIN --cap-drop ALL --security-opt no-new-privileges debian",
    "--pull never --platform linux/arm64 --cidfile /x debian",
    "-itde A debian",
]


def full(words: list[str]) -> RunOptions:
    context = command.make_context("run", words)
    others = ("insecure_registry", "policy", "verify_key")
    values = {name: value for name, value in context.params.items() if name not in others}
    return RunOptions(**values)


@pytest.mark.parametrize("line", LINES)
def test_agrees_with_the_full_parser(line):
    assert parse(line.split()) == full(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--rm",
        "--help",
        "-x debian",
        "-",
        "--",
        "-- debian",
        "--rm=true debian",
        "--sig-proxy=false debian",
        "--no-sig-proxy debian",
        "--policy p debian",
        "--image x debian",
        "--command x debian",
        "--cap_add x debian",
        "-e",
        "--name",
        "-iz debian",
    ],
)
def test_leaves_the_word_to_the_full_parser(line):
    assert parse(line.split()) is None
