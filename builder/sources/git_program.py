"""The ``git`` program, started so that neither the host's settings nor a repository run anything.

No configuration but ours is read, hooks have no directory, only the protocols that are asked for
may be spoken, nobody is asked for a password, and secrets are in the environment of the one command
that needs them: never in its arguments, never in what it prints.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from builder.errors import BuildCancelledError, BuildEnvironmentError, DownloadError
from builder.sources.public import public_url

if TYPE_CHECKING:
    from pathlib import Path

ASK_SECONDS: Final = 60.0
FETCH_SECONDS: Final = 3600.0
UMASK: Final = 0o022
"""Modes of what is checked out do not depend on who builds."""
LOOK_SECONDS: Final = 0.2
"""How often a cancelled build is noticed while git works."""
SHOWN: Final = 2000
"""Characters of git's complaint that an error repeats."""
PROTOCOLS: Final = "http:https:ssh:git"
LOCAL: Final = "file"
"""The protocol of repositories on this machine, which nobody is waited for."""

_SETTINGS: Final = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "credential.helper": "",
    "protocol.version": "2",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "init.defaultBranch": "main",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
}
_PASSED_ON: Final = (
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
)
"""How to reach servers is the host's business; nothing else of its environment is."""
_LEASH: Final = """\
import ctypes, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    quiet = [signal.SIGPIPE]
    child = os.posix_spawnp("git", sys.argv[2:], os.environ, setsigdef=quiet)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 128 - status)
"""
"""Stays above git and ends it, with the helpers that git leaves behind, when the process that asked
for it dies, however it dies (prctl(2), PR_SET_PDEATHSIG). A process with threads cannot arrange
that between fork and exec, so this is executed first.
"""
_SSH: Final = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o PermitLocalCommand=no"


class Git:
    """Runs commands for one remote; ``cancelled`` is asked while one works."""

    def __init__(
        self,
        remote: str,
        *,
        header: str | None = None,
        agent: Path | None = None,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """``header`` is the Authorization for the remote's own host, ``agent`` an ssh agent's
        socket. ``environment`` stands in for that of this process.
        """
        self._remote = remote
        self._header = header
        self._agent = agent
        self._host_environment = os.environ if environment is None else environment
        self._cancelled = cancelled

    def __call__(
        self,
        *words: str,
        directory: Path | None = None,
        files: Mapping[str, Path] | None = None,
        protocols: str = PROTOCOLS,
        seconds: float = ASK_SECONDS,
    ) -> bytes:
        """What ``git words`` prints, run in ``directory``.

        ``files`` are GIT_DIR and the like. Secrets are there only when protocols other than
        ``file`` may be spoken.

        Raises:
            DownloadError: it ended with an error, which is repeated, or took too long.
            BuildEnvironmentError: there is no git.
            BuildCancelledError: the build was cancelled.
        """
        environment = self._environment(protocols) | {
            name: str(path) for name, path in (files or {}).items()
        }
        if shutil.which("git", path=environment.get("PATH")) is None:
            raise BuildEnvironmentError(
                "git is not installed, and a source is a git repository",
                fix="install git (apt-get install git)",
            )
        command = ["git", *words]
        if protocols != LOCAL:
            command = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=UMASK,
        )
        with process:
            try:
                answer, complaint = self._wait(process, seconds)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode != 0:
            raise self._failed(complaint.decode("utf-8", "replace"))
        return answer

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bytes]:
        left = seconds
        while True:
            try:
                return process.communicate(timeout=LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                left -= LOOK_SECONDS
            if self._cancelled():
                raise BuildCancelledError("the build was cancelled")
            if left <= 0:
                raise DownloadError(
                    f"{public_url(self._remote)}: git took longer than {seconds:.0f} seconds",
                    fix="try again, or build from a clone",
                )

    def _environment(self, protocols: str) -> dict[str, str]:
        settings = dict(_SETTINGS)
        remote = protocols != LOCAL
        if remote and self._header is not None:
            parts = urlsplit(self._remote)
            site = f"{parts.scheme}://{parts.netloc}/"
            settings[f"http.{site}.extraHeader"] = f"Authorization: {self._header}"
            # A server that is trusted with a secret cannot pass it on to another one.
            settings[f"http.{site}.followRedirects"] = "false"
        passed = {name: self._host_environment.get(name) for name in _PASSED_ON}
        return {
            **{name: value for name, value in passed.items() if value is not None},
            "HOME": os.devnull,
            "XDG_CONFIG_HOME": os.devnull,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            **(self._ssh() if remote else {}),
            **_numbered(settings),
        }

    def _ssh(self) -> dict[str, str]:
        home = self._host_environment.get("HOME", "")
        known = f" -o UserKnownHostsFile={home}/.ssh/known_hosts" if home else ""
        found = {"GIT_SSH_COMMAND": _SSH + known}
        if self._agent is not None:
            found["SSH_AUTH_SOCK"] = str(self._agent)
        return found

    def _failed(self, complaint: str) -> DownloadError:
        said = " ".join(complaint.split())[-SHOWN:]
        fix = "check the URL, and that it may be read"
        if "could not read Username" in said or "Authentication failed" in said:
            fix = "pass a token: --secret id=GIT_AUTH_TOKEN,env=VARIABLE"
        elif "redirect" in said or " 301" in said or " 302" in said:
            fix = "name the address that it redirects to; secrets do not follow"
        elif "Permission denied (publickey)" in said:
            fix = "forward an agent: --ssh default"
        elif "Host key verification failed" in said:
            fix = "add the host to ~/.ssh/known_hosts"
        return DownloadError(f"{public_url(self._remote)}: git failed: {public_url(said)}", fix=fix)


def _numbered(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings as GIT_CONFIG_KEY_n and GIT_CONFIG_VALUE_n, which no listing of processes shows."""
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        found[f"GIT_CONFIG_KEY_{number}"] = name
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


def lines(answer: bytes) -> Sequence[str]:
    """The lines of an answer that holds names."""
    return answer.decode("utf-8", "surrogateescape").splitlines()
