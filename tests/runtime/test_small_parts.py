"""Mount options, account of /etc, framing, privileges, environments, capabilities, faults."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from runtime import capabilities, etc_files, protocol, remains
from runtime import constants as k
from runtime.cgroups import Layout
from runtime.config import Capabilities, Process
from runtime.errors import RuntimeFault, from_oserror
from runtime.mount_options import MountOptions, parse
from runtime.process import Privileges, environment, narrow
from runtime.request import ContainerRequest, Port, Rootfs, SecretFile
from runtime.spec import default_spec
from runtime.state import Stubs, claim, clear_volatile, remove_created, remove_tree


class TestMountOptions:
    def test_attributes_set_and_clear(self) -> None:
        options = parse(("ro", "nosuid", "dev", "noatime", "rw"))
        assert options.attr_set == k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOATIME
        assert options.attr_clr == k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR__ATIME
        assert not options.recursive

    def test_recursion(self) -> None:
        assert parse(("rro",)).recursive
        assert parse(("rbind", "ro")).recursive
        assert not parse(("bind", "ro")).recursive
        assert not parse(("rbind", "nosuid")).recursive

    def test_propagation_and_parameters(self) -> None:
        options = parse(("rslave", "size=5m", "mode=755", "noswap", "newinstance"))
        assert (options.propagation, options.propagation_recursive) == (k.MS_SLAVE, True)
        assert options.data == (("size", "5m"), ("mode", "755"), ("noswap", None))
        assert parse(()) == MountOptions()


class TestEtcFiles:
    def test_hosts(self) -> None:
        text = etc_files.hosts(
            hostname="box",
            domainname="example",
            address="172.17.0.2",
            extra=[("db", "10.0.0.1"), ("up", "host-gateway"), ("six", "fd00::1")],
            gateway="172.17.0.1",
        )
        lines = text.splitlines()
        assert lines[0] == "127.0.0.1\tlocalhost"
        assert lines[-4:] == [
            "10.0.0.1\tdb",
            "172.17.0.1\tup",
            "fd00::1\tsix",
            "172.17.0.2\tbox.example box",
        ]

    @pytest.mark.parametrize(
        "pair", [("a b", "1.1.1.1"), ("a\nb", "1.1.1.1"), ("a", "1.1.1"), ("a", "x"), ("", "::1")]
    )
    def test_hosts_takes_no_smuggled_lines(self, pair: tuple[str, str]) -> None:
        with pytest.raises(RuntimeFault):
            etc_files.hosts(hostname="box", extra=[pair])

    def test_host_gateway_needs_one(self) -> None:
        with pytest.raises(RuntimeFault, match="host-gateway"):
            etc_files.hosts(hostname="box", extra=[("up", "host-gateway")])

    HOST = "# x\nnameserver 127.0.0.1\nnameserver 192.0.2.7\nsearch a b ; c\noptions ndots:2\n"

    def test_resolv_conf_leaves_loopback_out(self) -> None:
        assert etc_files.resolv_conf(self.HOST) == (
            "nameserver 192.0.2.7\nsearch a b\noptions ndots:2\n"
        )
        assert etc_files.resolv_conf("nameserver ::1\n").startswith("nameserver 8.8.8.8\n")
        assert etc_files.resolv_conf(self.HOST, shares_host_network=True) == self.HOST

    def test_resolv_conf_lists_replace(self) -> None:
        text = etc_files.resolv_conf(self.HOST, nameservers=["9.9.9.9"], search=["."])
        assert text == "nameserver 9.9.9.9\noptions ndots:2\n"
        with pytest.raises(RuntimeFault):
            etc_files.resolv_conf(self.HOST, search=["a\nnameserver 6.6.6.6"])

    def test_resolved_stub_is_recognised(self) -> None:
        assert etc_files.names_only_resolved("nameserver 127.0.0.53\noptions edns0\n")
        assert not etc_files.names_only_resolved(self.HOST)


class TestProtocol:
    def test_messages_and_descriptors_arrive_in_order(self) -> None:
        one, two = socket.socketpair()
        with one, two:
            reader, writer = os.pipe()
            protocol.send(one, {"n": 1}, [writer])
            protocol.send(one, {"n": 2, "text": "ü\udcff"})
            os.close(writer)
            receiver = protocol.Receiver(two)
            message, (fd,) = receiver.receive() or ({}, [])
            os.write(fd, b"through")
            os.close(fd)
            assert message == {"n": 1}
            assert os.read(reader, 99) == b"through"
            assert not os.get_inheritable(reader)
            os.close(reader)
            assert (receiver.receive() or ({}, []))[0] == {"n": 2, "text": "ü\udcff"}
            one.close()
            assert receiver.receive() is None

    def test_large_messages_do_not_need_one_read(self) -> None:
        one, two = socket.socketpair()
        with one, two:
            message = {"text": "x" * 3_000_000}
            sender = threading.Thread(target=protocol.send, args=(one, message))
            sender.start()
            assert (protocol.Receiver(two).receive() or ({}, []))[0] == message
            sender.join()

    @pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\1x"])
    def test_foreign_frames_are_refused(self, frame: bytes) -> None:
        one, two = socket.socketpair()
        with one, two:
            one.sendall(frame)
            with pytest.raises(ValueError):  # noqa: PT011 - json's own subclasses included
                protocol.Receiver(two).receive()

    def test_descriptors_nobody_asked_for_are_closed(self) -> None:
        one, two = socket.socketpair()
        reader, writer = os.pipe()
        with one, two:
            one.sendall(b"\0\0")
            socket.send_fds(one, [b"\0"], [writer])
            os.close(writer)
            one.close()
            assert protocol.Receiver(two).receive() is None
        assert os.read(reader, 1) == b""
        os.close(reader)


class TestProcess:
    def test_privileges_are_narrowed_to_what_we_hold(self) -> None:
        wanted = Capabilities(
            bounding=("CAP_KILL", "CAP_CHOWN"),
            effective=("CAP_KILL", "CAP_CHOWN"),
            permitted=("CAP_KILL",),
            inheritable=("CAP_KILL",),
            ambient=("CAP_KILL", "CAP_CHOWN"),
        )
        kill = capabilities.to_mask(["CAP_KILL"])
        held = capabilities.to_mask(["CAP_KILL", "CAP_SYS_TIME"])
        assert narrow(wanted, held) == Privileges(kill, kill, kill, kill, kill)
        assert narrow(wanted, 0) == Privileges(0, 0, 0, 0, 0)

    def test_environment(self) -> None:
        process = Process(("x",), env=("A=1", "B", "=c", "A=2", "E=", "U=\udcff"))
        assert environment(process, "/home") == {
            b"A": b"2",
            b"E": b"",
            b"U": b"\xff",
            b"HOME": b"/home",
        }
        assert environment(Process(("x",), env=("HOME=/h",)), "/x") == {b"HOME": b"/h"}
        assert environment(Process(("x",), env=("HOME=",)), "/x") == {b"HOME": b"/x"}

    def test_capability_masks(self) -> None:
        assert capabilities.to_mask(["CAP_CHOWN", "CAP_KILL", "CAP_NEW"]) == 0b100001
        assert capabilities.from_mask(0b100001) == ("CAP_CHOWN", "CAP_KILL")
        assert len(capabilities.NAMES) == 41


class TestState:
    def test_a_directory_has_one_owner(self, tmp_path: Path) -> None:
        first = claim(str(tmp_path), "box", [0])
        with pytest.raises(RuntimeFault, match="is running") as caught:
            claim(str(tmp_path), "box", [])
        assert caught.value.code == "busy"
        first.remove()
        assert not (tmp_path / "containers/box").exists()
        claim(str(tmp_path), "box", []).remove()

    def test_the_remains_of_a_dead_owner_are_taken_over(self, tmp_path: Path) -> None:
        dead = claim(str(tmp_path), "box", [3])
        (tmp_path / "containers/box/odd").mkdir()
        os.close(dead.lock)
        again = claim(str(tmp_path), "box", [])
        again.remove()
        assert not (tmp_path / "containers/box").exists()

    def test_a_sweep_that_has_the_lock_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        swept = claim(str(tmp_path), "box", [])

        def finish(_: float) -> None:
            remove_tree(swept.path)
            os.close(swept.lock)

        monkeypatch.setattr(time, "sleep", finish)
        again = claim(str(tmp_path), "box", [])
        assert os.path.samestat(os.fstat(again.lock), os.stat(f"{again.path}/lock"))
        again.remove()

    def test_a_lock_that_a_sweep_removed_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flock, calls = fcntl.flock, []

        def late(fd: int, operation: int) -> None:
            calls.append(fd)
            if len(calls) == 1:
                remove_tree(f"{tmp_path}/containers/box")
            flock(fd, operation)

        monkeypatch.setattr(fcntl, "flock", late)
        made = claim(str(tmp_path), "box", [])
        assert len(calls) == 2
        assert os.path.samestat(os.fstat(made.lock), os.stat(f"{made.path}/lock"))
        made.remove()

    def test_what_follows_the_last_note_is_not_believed(self, tmp_path: Path) -> None:
        dead = claim(str(tmp_path), "box", [])
        victim = tmp_path / "victim"
        victim.mkdir()
        remains.note(dead.path, groups=["lading/box"])
        with Path(dead.path, "remains").open("a") as file:
            file.write(f"tubs /a\nstubs {victim}\n")
        os.close(dead.lock)
        assert remains.clear(dead.path, Layout())
        assert not os.path.exists(dead.path)
        assert victim.exists()

    def test_a_shorter_note_replaces_a_longer_one(self, tmp_path: Path) -> None:
        remains.note(str(tmp_path), groups=["lading/one", "lading/another"], work="/work")
        remains.note(str(tmp_path), groups=["lading/x"])
        assert (tmp_path / "remains").read_text() == "group lading/x\nend\n"

    def test_stubs_hold_exactly_the_mount_points(self, tmp_path: Path) -> None:
        (tmp_path / "work").mkdir()
        rootfs = Rootfs(lower=("/x",), upper=str(tmp_path / "up"), work=str(tmp_path / "work"))
        points = [("a/b/c", True), ("a/b", True), ("etc/hosts", False), ("etc", True)]
        for _ in range(2):  # the second time over the remains of a dead shim
            stubs = Stubs.make(rootfs, "box", points)
        assert stubs is not None
        found = {str(p.relative_to(stubs.path)): p.is_dir() for p in Path(stubs.path).rglob("*")}
        assert found == {"a": True, "a/b": True, "a/b/c": True, "etc": True, "etc/hosts": False}
        stubs.remove()
        assert not Path(stubs.path).exists()
        assert Stubs.make(Rootfs(path="/x"), "box", points) is None

    def test_only_untouched_stubs_are_removed(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        root = tmp_path / "root"
        (root / "empty/inner").mkdir(parents=True)
        (root / "full").mkdir()
        (root / "full/kept").write_text("")
        (root / "written").write_text("text")
        (root / "blank").write_text("")
        (root / "way").symlink_to(outside)
        (outside / "victim").write_text("")
        created = ["empty", "empty/inner", "full", "written", "blank", "gone", "way/victim", "way"]
        remove_created(str(root), created)
        left = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        assert left == ["full", "full/kept", "way", "written"]
        assert (outside / "victim").exists()

    def test_the_volatile_mark(self, tmp_path: Path) -> None:
        clear_volatile(str(tmp_path))
        mark = tmp_path / "work/incompat/volatile"
        mark.mkdir(parents=True)
        (mark / "dirty").touch()
        clear_volatile(str(tmp_path))
        assert list((tmp_path / "work").iterdir()) == []


class TestRequest:
    def test_round_trip(self) -> None:
        spec = default_spec(["true"]).to_json()
        request = ContainerRequest(
            "box",
            spec,
            Rootfs(("/a", "/b"), "/up", "/work", volatile=True),
            extra_hosts=(("a", "::1"),),
            ports=(Port(80, host_port=8080),),
            secrets=(SecretFile("/s", b"\0\xff", 0o400, 1, 2),),
        )
        assert ContainerRequest.from_json(request.to_json()) == request
        assert "content" not in repr(request.secrets[0])

    @pytest.mark.parametrize(
        "rootfs", [Rootfs(), Rootfs(("/a",), upper="/u"), Rootfs(("/a",), work="/w")]
    )
    def test_unusable_roots(self, rootfs: Rootfs) -> None:
        with pytest.raises(RuntimeFault) as caught:
            ContainerRequest("box", {}, rootfs).checked()
        assert caught.value.code == "request-invalid"


def test_faults_travel_whole() -> None:
    fault = RuntimeFault("what", where="here", fix="so", code="busy", errno=5)
    again = RuntimeFault.from_json(fault.to_json())
    assert vars(again) == vars(fault)
    assert str(again) == "here: what"
    assert [RuntimeFault("", code=code).exit_code for code in ("command-not-found", "x")] == [
        127,
        125,
    ]
    refusal = from_oserror(OSError(2, "No such file or directory", "/gone"), "open it")
    assert refusal.what == "cannot open it: no such file or directory (/gone)"
    assert refusal.errno == 2


class TestRehearsal:
    """The pages that a start writes to are found, and found where the heap is."""

    def test_a_part_of_the_heap_is_hot(self) -> None:
        from runtime import rehearsal
        from runtime.cgroups import Layout
        from runtime.warm import Warm, heap_ranges

        warm = Warm("/run", Layout(), 0, {}, (0, 0))
        rehearsal._rehearse(warm)
        memory = heap_ranges()
        hot = rehearsal.learn(warm, memory)
        assert 0 < sum(length for _, length in hot) < sum(length for _, length in memory)
        for first, length in hot:
            assert any(start <= first and first + length <= start + size for start, size in memory)

    def test_a_failed_rehearsal_means_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from runtime import rehearsal
        from runtime.cgroups import Layout
        from runtime.warm import Warm

        def broken(warm: Warm) -> None:
            os._exit(1)

        monkeypatch.setattr(rehearsal, "_rehearse", broken)
        memory = ((4096, 4096),)
        assert rehearsal.learn(Warm("/run", Layout(), 0, {}, (0, 0)), memory) == memory
