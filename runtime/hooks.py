"""Programs of the host that put the last hand to a root before the container enters it.

Runtime-spec 1.2, config.md, "POSIX-platform Hooks": those of ``createContainer`` are found in the
host's tree and run in the container's namespaces, before the pivot, with the state on standard
input. The bundle that it names is the container's state directory with a config.json.
"""

from __future__ import annotations

import json
import os
import select
import signal
from contextlib import suppress

from records import Record, replace
from runtime.config import Hook, Root, Spec
from runtime.config_json import VERSION, write_spec
from runtime.errors import RuntimeFault, from_oserror
from runtime.operations import Stage

TELL_LIMIT = 2000
"""Bytes of a hook's last words that its failure tells."""
_FAILED = "hook-failed"


class Hooks(Record):
    """The hooks of ``spec``, one after another; ``state`` is the container's state directory."""

    spec: Spec
    state: str

    def describe(self) -> str:
        """The step in one line."""
        return f"run hooks {' '.join(hook.path for hook in self.spec.hooks)}"

    def execute(self, stage: Stage) -> None:
        """Run each to its end.

        Raises:
            RuntimeFault: ``hook-failed``; one cannot be started, fails or takes too long.
        """
        state = {
            "ociVersion": VERSION,
            "id": os.path.basename(self.state),
            "status": "creating",
            "pid": int(os.readlink("/proc/self")),
            "bundle": self.state,
        }
        config = f"{self.state}/config.json"
        root = Root(f"{self.state}/rootfs", self.spec.root.readonly)
        # The directory may serve another container after this one, so nothing is left there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(config, flags, 0o600), "w") as file:
            json.dump(write_spec(replace(self.spec, root=root)), file)
        try:
            for hook in self.spec.hooks:
                _run(hook, json.dumps(state).encode())
        finally:
            os.unlink(config)


def _run(hook: Hook, state: bytes) -> None:
    said = os.memfd_create("hook-output", os.MFD_CLOEXEC)
    told = os.memfd_create("hook-state", os.MFD_CLOEXEC)
    try:
        os.pwrite(told, state, 0)
        actions = [(os.POSIX_SPAWN_DUP2, told, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, said, number) for number in (1, 2)]
        variables = dict(pair.partition("=")[::2] for pair in hook.env)
        try:
            child = os.posix_spawn(
                hook.path,
                hook.args or (hook.path,),
                variables,
                file_actions=actions,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM),
            )
        except OSError as error:
            fault = from_oserror(error, f"run the hook {hook.path}")
            fault.code = _FAILED
            raise fault from error
        status = _wait(child, hook.timeout)
        if status is None:
            raise RuntimeFault(
                f"the hook {hook.path} takes longer than {hook.timeout} s", code=_FAILED
            )
        if status != 0:
            length = os.fstat(said).st_size
            words = os.pread(said, TELL_LIMIT, max(0, length - TELL_LIMIT))
            last = words.decode("utf-8", "replace").strip() or "it says nothing"
            raise RuntimeFault(
                f"the hook {hook.path} failed with status {status}: {last}", code=_FAILED
            )
    finally:
        os.close(said)
        os.close(told)


def _wait(child: int, timeout: int | None) -> int | None:
    """The exit status, negative for a signal; None when ``timeout`` seconds were not enough."""
    if timeout:
        handle = os.pidfd_open(child)
        try:
            waiting = select.poll()
            waiting.register(handle, select.POLLIN)
            if not waiting.poll(timeout * 1000):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
        finally:
            os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
