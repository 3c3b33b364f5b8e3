"""binfmt_misc as the kernel and packages write it, compared with programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.builds import binfmt
from engine.builds.emulation import Emulation, EmulatorMissingError
from images.platform import Platform
from tests.engine.builds.programs import arm64_program

AARCH64 = (
    r":qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"
    r"\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    ":/bin/sh:OPF"
)
ENTRY = """\
enabled
interpreter /usr/libexec/qemu-binfmt/arm-binfmt-P
flags: POCF
offset 0
magic 7f454c4601010100000000000000000002002800
mask ffffffffffffff00fffffffffffffffffeffffff
"""
ARM64 = Platform.parse("linux/arm64")


def test_an_entry_of_the_kernel() -> None:
    entry = binfmt.parse_entry("qemu-arm", ENTRY)
    assert entry is not None
    assert (entry.path, entry.fixed) == ("/usr/libexec/qemu-binfmt/arm-binfmt-P", True)
    taken = [name for name in binfmt._MACHINES if entry.takes(binfmt.elf_header(name))]
    assert taken == ["arm"]


@pytest.mark.parametrize(
    "text",
    ["", ENTRY.replace("enabled", "disabled"), "enabled\ninterpreter /x\nflags: \nextension .py\n"],
)
def test_entries_that_take_no_programs(text: str) -> None:
    assert binfmt.parse_entry("x", text) is None


def test_a_line_of_a_package() -> None:
    entry = binfmt.parse_line(AARCH64)
    assert entry.fixed
    assert entry.takes(arm64_program(b"x"))
    assert entry.takes(binfmt.elf_header("arm64"))
    assert not entry.takes(binfmt.elf_header("amd64"))
    assert not entry.takes(b"#!/bin/sh\n")


def test_lines_of_packages(tmp_path: Path) -> None:
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    etc.mkdir()
    usr.mkdir()
    (usr / "a.conf").write_text(AARCH64 + "\n")
    (usr / "b.conf").write_text("# text\n\n" + AARCH64.replace("aarch64", "other") + "\n")
    (usr / "gone.conf").write_text(AARCH64.replace("/bin/sh", "/no/such/program") + "\n")
    (usr / "ext.conf").write_text(":py:E::py::/bin/sh:\n")
    (etc / "a.conf").write_text("")
    assert list(binfmt.configured((etc, usr))) == ["qemu-other"]


def test_the_machine_executes_its_own() -> None:
    host = Platform.host()
    assert binfmt.executes(host, host)
    assert not binfmt.executes(Platform.parse("linux/s390x"), Platform.parse("linux/amd64"))
    assert not binfmt.executes(Platform("windows", host.architecture), host)


def test_nothing_registered_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binfmt, "read_entries", tuple)
    monkeypatch.setattr(binfmt, "configured", dict)
    with pytest.raises(EmulatorMissingError) as caught:
        Emulation(Platform.parse("linux/amd64")).check(ARM64)
    assert caught.value.what == (
        "RUN on linux/arm64 needs an emulator, and this linux/amd64 kernel knows of none"
    )
    assert "qemu-user-static" in (caught.value.fix or "")
    assert "FROM --platform=$BUILDPLATFORM" in (caught.value.fix or "")


def test_only_an_interpreter_that_the_kernel_has_not_opened_is_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for flags, targets in (("OPF", []), ("OP", ["/bin/sh"])):
        entry = binfmt.parse_line(AARCH64.replace("OPF", flags))
        monkeypatch.setattr(binfmt, "read_entries", lambda entry=entry: (entry,))
        mounts = Emulation(Platform.parse("linux/amd64")).mounts(ARM64)
        assert [mount.target for mount in mounts] == targets
        assert all(mount.read_only and mount.source.is_absolute() for mount in mounts)


def test_a_registered_interpreter_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = binfmt.parse_line(AARCH64.replace("/bin/sh:OPF", "/no/such/program:"))
    monkeypatch.setattr(binfmt, "read_entries", lambda: (entry,))
    with pytest.raises(EmulatorMissingError, match="registered but not there"):
        Emulation(Platform.parse("linux/amd64")).check(ARM64)
