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

if TYPE_CHECKING:
    from engine.builds.binfmt import Interpreter


class EmulatorMissingError(EnvironmentFault):
    """Nothing on this machine executes programs of a platform."""

    code = "emulator-missing"


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
        header = binfmt.elf_header(platform.architecture)
        if header and any(
            binfmt.parse_line(line).takes(header) for line in binfmt.configured().values()
        ):
            return "run `lading builder binfmt --register` as root"
        return "install qemu-user-static and run `lading builder binfmt --register` as root"
