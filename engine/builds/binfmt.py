"""What this kernel can execute: its own programs, and those that binfmt_misc has interpreters for.

Linux Documentation/admin-guide/binfmt-misc.rst. With flag F the kernel opened the interpreter when
it was registered, so it works in every root; without it the file must be found in the container.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

from images.platform import Platform
from records import Record

PLACE: Final = Path("/proc/sys/fs/binfmt_misc")
CONFIGURATIONS: Final = tuple(
    Path(folder) for folder in ("/etc/binfmt.d", "/run/binfmt.d", "/usr/lib/binfmt.d")
)
"""binfmt.d(5): where packages describe their interpreters; the first file of a name counts."""

_CONTROL: Final = frozenset(("register", "status"))
_MACHINES: Final = {
    "386": (1, "<", 3),
    "amd64": (2, "<", 62),
    "arm": (1, "<", 40),
    "arm64": (2, "<", 183),
    "loong64": (2, "<", 258),
    "mips": (1, ">", 8),
    "mips64": (2, ">", 8),
    "mips64le": (2, "<", 8),
    "mipsle": (1, "<", 8),
    "ppc64": (2, ">", 21),
    "ppc64le": (2, "<", 21),
    "riscv64": (2, "<", 243),
    "s390x": (2, ">", 22),
}
"""ELF class, byte order and machine by GOARCH (elf(5), e_ident and e_machine)."""

ARCHITECTURES: Final = tuple(_MACHINES)

_EXIT: Final = {
    "386": bytes.fromhex("b801000000 31db cd80"),
    "arm": bytes.fromhex("0170a0e3 0000a0e3 000000ef"),
}
"""exit(0) for the machines that another one may execute by itself."""
_NATIVE: Final = {"amd64": "386", "arm64": "arm"}
_BASE: Final = 0x10000


class Interpreter(Record):
    """One entry. ``fixed`` is flag F; ``magic`` is compared at ``offset``, under ``mask``."""

    name: str
    path: str
    fixed: bool
    offset: int
    magic: bytes
    mask: bytes

    def takes(self, header: bytes) -> bool:
        """Whether programs that begin with ``header`` are given to it."""
        part = header[self.offset : self.offset + len(self.magic)]
        if not self.magic or len(part) < len(self.magic):
            return False
        mask = self.mask or b"\xff" * len(self.magic)
        return all(a & m == b & m for a, b, m in zip(part, self.magic, mask, strict=True))


def interpreter_of(platform: Platform, entries: tuple[Interpreter, ...]) -> Interpreter | None:
    """The entry that programs of a platform are given to."""
    header = elf_header(platform.architecture)
    return next((entry for entry in entries if header and entry.takes(header)), None)


def executes(platform: Platform, host: Platform) -> bool:
    """Whether the kernel executes a platform's programs without any interpreter."""
    if platform.os != host.os:
        return False
    if platform.architecture == host.architecture:
        return True
    return _NATIVE.get(host.architecture) == platform.architecture and _starts(
        platform.architecture
    )


def elf_header(architecture: str) -> bytes:
    """The first bytes of a static program, which entries are compared with; empty if unknown."""
    if architecture not in _MACHINES:
        return b""
    kind, order, machine = _MACHINES[architecture]
    ident = b"\x7fELF" + bytes((kind, 1 if order == "<" else 2, 1)) + bytes(9)
    return ident + struct.pack(f"{order}HHI", 2, machine, 1) + bytes(104)


def read_entries(folder: Path = PLACE) -> tuple[Interpreter, ...]:
    """The entries that are enabled; none where binfmt_misc is not mounted."""
    try:
        if (folder / "status").read_text().strip() != "enabled":
            return ()
    except OSError:
        return ()
    names = [entry for entry in sorted(folder.iterdir()) if entry.name not in _CONTROL]
    found = (parse_entry(entry.name, entry.read_text()) for entry in names)
    return tuple(entry for entry in found if entry is not None)


def parse_entry(name: str, text: str) -> Interpreter | None:
    """The text of an entry's file; None when it is disabled or compares extensions of names."""
    lines = text.splitlines()
    fields = dict(line.split(" ", 1) for line in lines if " " in line)
    if not lines or lines[0] != "enabled" or "magic" not in fields:
        return None
    flags = next((line[6:] for line in lines if line.startswith("flags:")), "")
    return Interpreter(
        name,
        fields.get("interpreter", ""),
        "F" in flags,
        int(fields.get("offset", "0")),
        bytes.fromhex(fields["magic"]),
        bytes.fromhex(fields.get("mask", "")),
    )


def parse_line(line: str) -> Interpreter:
    """What a line for the register file would make: ``:NAME:M:OFFSET:MAGIC:MASK:PATH:FLAGS``."""
    _, name, _, offset, magic, mask, path, flags = line.split(":")
    return Interpreter(
        name, path, "F" in flags, int(offset or "0"), _unescaped(magic), _unescaped(mask)
    )


def configured(folders: tuple[Path, ...] = CONFIGURATIONS) -> dict[str, str]:
    """What installed packages would have registered, by name: lines for the register file.

    Only those whose interpreter is there.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.conf")):
            files.setdefault(path.name, path)
    lines = (line for path in files.values() for line in path.read_text().splitlines())
    found = {}
    for line in lines:
        fields = line.split(":")
        # Escapes hide every other colon; type E goes by the extension of a name.
        if len(fields) == 8 and fields[2] == "M" and os.access(fields[6], os.X_OK):
            found[fields[1]] = line
    return found


def register(line: str) -> None:
    """Give the kernel one line of ``configured``; binfmt_misc is mounted in its place first.

    Entries live as long as some mount of it does (Linux 6.7).

    Raises:
        OSError: not root, or the kernel has no binfmt_misc.
    """
    if not (PLACE / "status").exists():
        from runtime import syscalls

        syscalls.mount("binfmt_misc", os.fspath(PLACE), "binfmt_misc", 0, None)
    (PLACE / "register").write_bytes(line.encode("ascii"))


def _unescaped(text: str) -> bytes:
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")


def _starts(architecture: str) -> bool:
    """Try it: a program of one call, from memory."""
    code = _EXIT[architecture]
    size = 52 + 32 + len(code)
    header = elf_header(architecture)[:24]
    header += struct.pack("<IIIIHHHHHH", _BASE + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    header += struct.pack("<IIIIIIII", 1, 0, _BASE, _BASE, size, size, 5, 0x1000)
    fd = os.memfd_create("probe", 0)
    try:
        os.write(fd, header + code)
        path = f"/proc/self/fd/{fd}"
        try:
            pid = os.posix_spawn(path, [path], {})
        except OSError:
            return False
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status) == 0
    finally:
        os.close(fd)
