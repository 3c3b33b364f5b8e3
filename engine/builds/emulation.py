"""Commands of other platforms: whether they can run here, and what their root needs for that."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from builder.runner import BindMount
from engine.builds import binfmt
from images.errors import EnvironmentFault
from images.platform import Platform
from records import Record

if TYPE_CHECKING:
    from engine.builds.binfmt import Interpreter


class EmulatorMissingError(EnvironmentFault):
    """Nothing on this machine executes programs of a platform."""

    code = "emulator-missing"


class Ability(Record):
    """Whether a platform's commands run here: ``native``, ``emulated`` by ``path``, ``installed``
    and not known to the kernel yet, or ``missing``. ``fixed`` is flag F of the entry.
    """

    platform: Platform
    state: str
    path: str = ""
    fixed: bool = False


def survey(host: Platform | None = None) -> tuple[Ability, ...]:
    """What this machine can run, platform by platform."""
    host = host or Platform.host()
    entries, lines = binfmt.read_entries(), _emulators()
    found = []
    for architecture in binfmt.ARCHITECTURES:
        platform = Platform.normalised("linux", architecture)
        entry = binfmt.interpreter_of(platform, entries)
        if binfmt.executes(platform, host):
            found.append(Ability(platform, "native"))
        elif entry is not None:
            found.append(Ability(platform, "emulated", entry.path, entry.fixed))
        elif offered := binfmt.interpreter_of(platform, tuple(lines)):
            found.append(Ability(platform, "installed", offered.path, offered.fixed))
        else:
            found.append(Ability(platform, "missing"))
    return tuple(found)


def register_installed(host: Platform | None = None) -> tuple[Ability, ...]:
    """Tell the kernel about installed emulators that it does not know; returns what is new.

    Raises:
        OSError: not root, or the kernel has no binfmt_misc.
    """
    lines = _emulators()
    new = tuple(ability for ability in survey(host) if ability.state == "installed")
    for ability in new:
        entry = binfmt.interpreter_of(ability.platform, tuple(lines))
        assert entry is not None
        binfmt.register(lines[entry])
    return new


def _emulators() -> dict[Interpreter, str]:
    """What packages offer, and the line for the kernel of each."""
    return {binfmt.parse_line(line): line for line in binfmt.configured().values()}


class Emulation:
    """What the kernel can execute, looked up once; safe to use from several threads."""

    def __init__(self, host: Platform | None = None) -> None:
        self._host = host or Platform.host()

    @cached_property
    def _entries(self) -> tuple[Interpreter, ...]:
        return binfmt.read_entries()

    def check(self, platform: Platform) -> None:
        """Return if commands of ``platform`` can run here.

        Raises:
            EmulatorMissingError: they cannot; says what would help.
        """
        self._interpreter(platform)

    def mounts(self, platform: Platform) -> tuple[BindMount, ...]:
        """What a root needs besides its own files: the interpreter, unless the kernel has it open.

        Raises:
            EmulatorMissingError: as ``check``.
        """
        entry = self._interpreter(platform)
        if entry is None or entry.fixed:
            return ()
        return (BindMount(entry.path, Path(os.path.realpath(entry.path))),)

    def _interpreter(self, platform: Platform) -> Interpreter | None:
        """The entry for a platform; None where the kernel needs none."""
        if binfmt.executes(platform, self._host):
            return None
        entry = binfmt.interpreter_of(platform, self._entries)
        if platform.os != self._host.os or entry is None:
            raise EmulatorMissingError(
                f"RUN on {platform} needs an emulator, and this {self._host} kernel knows of none",
                fix=f"{self._remedy(platform)}, or move the RUN to a stage "
                "FROM --platform=$BUILDPLATFORM and cross-compile for $TARGETARCH",
            )
        if not entry.fixed and not os.access(entry.path, os.X_OK):
            raise EmulatorMissingError(
                f"RUN on {platform} needs {entry.path}, which is registered but not there",
                fix="install it again (Debian: qemu-user-static)",
            )
        return entry

    def _remedy(self, platform: Platform) -> str:
        if platform.os != self._host.os:
            return f"build where {platform.os} runs"
        if binfmt.interpreter_of(platform, tuple(_emulators())) is not None:
            return "run `lading builder binfmt --register` as root"
        return "install qemu-user-static and run `lading builder binfmt --register` as root"
