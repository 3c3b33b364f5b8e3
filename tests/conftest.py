"""What every test may rely on: markers that skip honestly, and a CI that refuses skips.

A test marked ``root``, ``network`` or ``peer`` is skipped where the machine cannot run it. With
``LADING_MUST_RUN="root network peer"`` in the environment such a skip fails the run. Of the tests
that `make test` tries again, no more than ``SECOND_TRIES`` may need it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

# The same examples every time, so that a failure is the change's own; soaks search for new ones.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("suite")

MARKS = ("root", "network", "peer")

# Traced for coverage, these and all that search take two to four times as long, and they cover
# next to nothing that others do not.
UNTRACED = {"e2e", "fuzz", "property", "soak"}

# Enough for a machine that stood still for a moment, too few to live with a test that is a lottery.
SECOND_TRIES = 5


@cache
def _missing(mark: str) -> str | None:
    if mark == "root" and os.geteuid() != 0:
        return "needs root"
    if mark == "network" and not _mirror_reachable():
        return "needs Debian's package mirror"
    return None


def _mirror_reachable() -> bool:
    """Whether a host that apt installs from has an address."""
    folder = Path("/etc/apt")
    files = [*folder.glob("sources.list"), *folder.glob("sources.list.d/*")]
    texts = (file.read_text(errors="replace") for file in files if file.is_file())
    hosts = {host for text in texts for host in re.findall(r"https?://([^/:\s]+)", text)}
    for host in hosts:
        with suppress(OSError):
            return bool(socket.getaddrinfo(host, 80))
    return False


def require_program(name: str) -> str:
    """The path of a peer program, or a skip that CI counts."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}")
    return path


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in MARKS:
        reason = _missing(mark) if item.get_closest_marker(mark) else None
        if reason is not None:
            pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        searches = is_hypothesis_test(getattr(item, "obj", None))
        folders = item.nodeid.partition("::")[0].split("/")
        if searches or item.get_closest_marker("slow") or UNTRACED.intersection(folders):
            item.add_marker("no_cover")


class MustRun:
    """Turns skips of tests that must run into a failed session."""

    def __init__(self, marks: list[str]) -> None:
        self._marks = set(marks)
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (
            report.skipped
            and not hasattr(report, "wasxfail")
            and self._marks & set(report.keywords)
        ):
            self._skipped.append(f"{report.nodeid}: {report.longreprtext or report.longrepr}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._skipped:
            terminalreporter.section("tests that must run were skipped", red=True)
            for line in self._skipped:
                terminalreporter.line(line)


class SecondTries:
    """Fails a session in which too many tests did not hold the first time."""

    def __init__(self) -> None:
        self._again: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome: str = report.outcome
        if outcome == "rerun":  # pytest-rerunfailures' own
            self._again[report.nodeid] = report.longreprtext

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if len(self._again) > SECOND_TRIES and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._again:
            many = len(self._again) > SECOND_TRIES
            title = f"tried again ({SECOND_TRIES} may be)"
            terminalreporter.section(title, red=many, yellow=not many)
            for name, failure in sorted(self._again.items()):
                terminalreporter.line(f"{name}\n{failure}\n")


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background job ignores it, and so would every command that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(SecondTries(), "lading-second-tries")
    marks = os.environ.get("LADING_MUST_RUN", "").split()
    if marks:
        config.pluginmanager.register(MustRun(marks), "lading-must-run")
