import errno
import os

import pytest

from images import syscalls
from images.errors import EnvironmentFault


def test_openat2_resolves_within_the_root(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/f").write_text("inside")
    (tmp_path / "root/l").symlink_to("/etc")
    root = os.open(tmp_path / "root", os.O_PATH)
    fd = syscalls.openat2(root, "l/../../etc/f", os.O_RDONLY, syscalls.RESOLVE_IN_ROOT)
    assert os.read(fd, 100) == b"inside"
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(OSError, match="symbolic links") as caught:
        syscalls.openat2(root, "l", os.O_RDONLY, syscalls.RESOLVE_NO_SYMLINKS)
    assert caught.value.errno == errno.ELOOP
    os.close(root)


def test_openat2_creates(tmp_path):
    root = os.open(tmp_path, os.O_PATH)
    flags = os.O_WRONLY | os.O_CREAT
    os.close(syscalls.openat2(root, "new", flags, syscalls.RESOLVE_BENEATH, 0o600))
    os.close(root)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_kernel_without_openat2(monkeypatch):
    monkeypatch.setattr(syscalls, "_SYS_OPENAT2", 999_999)
    with pytest.raises(EnvironmentFault, match="no openat2") as caught:
        syscalls.openat2(syscalls.AT_FDCWD, "/", os.O_PATH, 0)
    assert "5.6" in (caught.value.fix or "")


def test_syncfs(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    syscalls.syncfs(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        syscalls.syncfs(fd)


def test_sync_file_range(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.write(bytes(8192))
        file.flush()
        syscalls.sync_file_range(file.fileno(), 0, 8192, syscalls.SYNC_FILE_RANGE_WRITE)
    reader, writer = os.pipe()
    with pytest.raises(OSError, match="Illegal seek"):
        syscalls.sync_file_range(writer, 0, 1, syscalls.SYNC_FILE_RANGE_WRITE)
    os.close(reader)
    os.close(writer)
