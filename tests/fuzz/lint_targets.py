"""What ``lading lint`` reads: shell text, and whole Dockerfiles that are looked at and mended."""

from __future__ import annotations

from random import Random

from builder.errors import BuildError
from builder.lint.check import check
from builder.lint.fixing import mend
from builder.lint.places import Locator
from builder.lint.report import LintReport
from builder.lint.selection import Selection
from builder.lint.shell import parse
from builder.request import BuildRequest
from images.errors import ImagesError
from tests.builder.plans import AMD64, StubResolver
from tests.fuzz.dockerfile_targets import DOCKERFILE_TOKENS, dockerfiles, generate_dockerfile
from tests.fuzz.harness import Target

SHELL_TOKENS = tuple(
    text.encode()
    for text in (
        *"\n\t #\\`\"'=${}[]();|&<>!*?~",
        *("&&", "||", ";;", "$(", "$((", "${", "<<E\n", "<<-'E'\n", "\nE\n", "2>&1", "<(", "$'"),
        *("if ", "then ", "fi", "for x in ", "do ", "done", "case x in ", "esac", "f() ", "[[ "),
    )
)
RUN_TOKENS = tuple(
    text.encode()
    for text in (
        *("RUN ", "\nRUN <<E\n", " && ", " | ", "sudo ", "cd /x", "mkdir -p /x && cd /x"),
        *("apt-get update", "apt install ", "apk add ", "pip install ", "npm i -g ", "curl u | sh"),
    )
)


def generate_run(random: Random) -> bytes:
    """A Dockerfile whose commands package managers would take."""
    runs = (
        b"RUN " + b" ".join(random.choice(RUN_TOKENS) for _ in range(3))
        for _ in range(random.randint(1, 6))
    )
    return b"\n".join([generate_dockerfile(random), *runs])


def _shell(data: bytes) -> None:
    text = data.decode(errors="replace")
    for command in parse(text).commands:
        assert all(text[word.start : word.end] == word.text for word in command.words)


def _look(source: bytes) -> LintReport:
    request = BuildRequest(None, source, build_args={"A": "base"})
    return check(request, resolver=StubResolver(), host=AMD64, selection=Selection.of("all"))


def _lint(data: bytes) -> None:
    mended = mend(data, _look, unsafe=True)
    if mended.report.fault is None or mended.report.fault.parsed:
        locator = Locator(mended.source)
        for finding in mended.report.findings:
            region = locator.region(finding)
            assert 1 <= region.start_line <= region.end_line <= len(locator.physical)


TARGETS = (
    Target(
        "shell",
        _shell,
        (),
        lambda: [
            b"set -eux; apt-get update && apt-get install -y \"$x\" 'a b' | tee /x; rm -rf /y/*",
            b"if ! a | b; then c; elif d; then e; else f; fi; while g; do h; done < i &",
            b"case $x in a|b) c;; (d) e ;; *) f; esac; f() { (g); }; x=$(y `z`) cat <<E\nE\n",
            b"${a:-" * 50,
        ],
        tokens=SHELL_TOKENS,
    ),
    Target(
        "lint",
        _lint,
        (BuildError, ImagesError),
        dockerfiles,
        generate_run,
        (*DOCKERFILE_TOKENS, *RUN_TOKENS),
    ),
)
