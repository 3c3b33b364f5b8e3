"""A shell in a build step that failed: its root with all it wrote, its mounts, user and directory.

What is changed there is thrown away with the step. The terminal is the shell's until it ends.
"""

from __future__ import annotations

import os
import select
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.builds.steps import make_request, ssh_sockets
from engine.containers.terminal import raw, size_of
from records import replace as change
from runtime.client import run as start
from runtime.errors import RuntimeFault
from runtime.spec import Spec

if TYPE_CHECKING:
    from builder.runner import RunStep
    from runtime.client import Container
    from runtime.request import ContainerRequest

SHELL = "/bin/sh"
LOOK_SECONDS = 0.5
"""How often the terminal's size is compared; its signal goes to the main thread alone."""


class FailedStepShell:
    """A ``builder.runner.FailureInspector`` on the terminal of ``stdio``."""

    def __init__(
        self,
        runtime_dir: Path,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        term: str | None = None,
    ) -> None:
        """``term`` is the kind of terminal, None for this process's."""
        self._runtime_dir = runtime_dir
        self._stdio = stdio
        self._term = os.environ.get("TERM", "xterm") if term is None else term

    def __call__(self, step: RunStep, message: str) -> None:
        """Run the shell to its end; one that cannot be started is told and no error."""
        self._say(f"{message}\nThis is {SHELL} in the failed step; leave it to end the build.\n")
        # The kernel refuses the work directory of a volatile overlay a second time.
        work = step.work.with_name(f"{step.work.name}-{SHELL.rpartition('/')[2]}")
        work.mkdir(exist_ok=True)
        step = replace(step, args=(SHELL,), work=work)
        with ExitStack() as stack:
            request = make_request(step, ssh_sockets(step, self._runtime_dir, stack))
            request = _on_terminal(request, size_of(self._stdio[1]), self._term)
            try:
                stack.enter_context(raw(self._stdio[0]))
                container = start(
                    request,
                    stdin=self._stdio[0],
                    stdout=self._stdio[1],
                    stderr=self._stdio[2],
                    terminal=True,
                    runtime_dir=self._runtime_dir,
                )
                self._follow(stack.enter_context(container))
            except RuntimeFault as fault:
                self._say(f"no shell: {fault.what}\r\n")

    def _follow(self, container: Container) -> None:
        size = size_of(self._stdio[1])
        poller = select.poll()
        poller.register(container.fileno(), select.POLLIN)
        while not poller.poll(LOOK_SECONDS * 1000):
            now = size_of(self._stdio[1])
            if now is not None and now != size:
                container.resize(*now)
                size = now
        container.wait()

    def _say(self, text: str) -> None:
        os.write(self._stdio[2], text.encode("utf-8", "surrogateescape"))


def _on_terminal(
    request: ContainerRequest, size: tuple[int, int] | None, term: str
) -> ContainerRequest:
    """The same with a terminal of ``size``, rows and columns."""
    assert isinstance(request.spec, Spec)
    process = request.spec.process
    env = (*process.env, f"TERM={term}")
    process = replace(process, terminal=True, console_size=size, env=env)
    return change(request, spec=replace(request.spec, process=process))
