"""Upload sessions over HTTP as a state machine: any order of requests, restarts and other workers.

Beside the server a model: what each session took, and which blobs each repository has. Every answer
must be the one that the model predicts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.registry.crashmodel import exchange
from tests.registry.kit import digest_of
from tests.registry.nursery import Nursery

REPOSITORIES = st.sampled_from(["a", "a/b", "a-b"])
ALGORITHMS = st.sampled_from(["sha256", "sha512"])
CHUNKS = st.binary(max_size=200)


@dataclass
class Session:
    """One upload as the model sees it."""

    repository: str
    location: str
    data: bytes = b""
    open: bool = True

    @property
    def shown(self) -> str:
        """The Range that the server reports."""
        return f"0-{max(len(self.data) - 1, 0)}"

    def following(self, chunk: bytes) -> dict[str, str]:
        """The Content-Range of a chunk that continues here."""
        first = len(self.data)
        return {"Content-Range": f"{first}-{first + len(chunk) - 1}"} if chunk else {}


class SessionMachine(RuleBasedStateMachine):
    """Two servers on one store, as two workers; each request takes one of them."""

    nursery: Nursery
    sessions: Bundle[Session] = Bundle("sessions")

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="session-machine-"))
        self.blobs: dict[str, bytes] = {}
        self.tried: set[str] = set()
        self.stack = ExitStack()
        self.start_servers()
        self.turn = 0

    def start_servers(self) -> None:
        self.servers = [
            self.stack.enter_context(self.nursery.server(self.root / "r")) for _ in range(2)
        ]

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        self.turn += 1
        port = self.servers[self.turn % 2].port
        status, answered, content = exchange(port, method, path, body, headers)
        return status, answered.get("Range", ""), content

    @rule(target=sessions, repository=REPOSITORIES, algorithm=ALGORITHMS)
    def start(self, repository: str, algorithm: str) -> Session:
        path = f"/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}"
        status, answered, _ = exchange(self.servers[0].port, "POST", path)
        assert (status, answered["Range"]) == (202, "0-0")
        return Session(repository, answered["Location"])

    @rule(session=sessions, chunk=CHUNKS, ranged=st.booleans())
    def patch(self, session: Session, chunk: bytes, ranged: bool) -> None:
        headers = session.following(chunk) if ranged else {}
        status, shown, _ = self.send("PATCH", session.location, chunk, headers)
        if session.open:
            session.data += chunk
            assert (status, shown) == (202, session.shown)
        else:
            assert status == 404

    @rule(session=sessions, chunk=st.binary(min_size=1, max_size=50), off=st.integers(-9, 9))
    def patch_elsewhere(self, session: Session, chunk: bytes, off: int) -> None:
        first = len(session.data) + off
        if off == 0 or first < 0:
            return
        headers = {"Content-Range": f"{first}-{first + len(chunk) - 1}"}
        status, shown, _ = self.send("PATCH", session.location, chunk, headers)
        assert (status, shown) == ((416, session.shown) if session.open else (404, ""))

    @rule(session=sessions, chunk=st.binary(min_size=2, max_size=50))
    def patch_with_a_wrong_length(self, session: Session, chunk: bytes) -> None:
        headers = session.following(chunk[:-1])
        status, _, _ = self.send("PATCH", session.location, chunk, headers)
        assert status == (400 if session.open else 404)

    @rule(session=sessions)
    def status(self, session: Session) -> None:
        status, shown, _ = self.send("GET", session.location)
        assert (status, shown) == ((204, session.shown) if session.open else (404, ""))

    @rule(session=sessions, method=st.sampled_from(["GET", "PATCH", "PUT", "DELETE"]))
    def through_another_repository(self, session: Session, method: str) -> None:
        other = session.location.replace(f"/v2/{session.repository}/", "/v2/other/")
        digest = digest_of(session.data)
        status, _, _ = self.send(method, f"{other}?digest={digest}", b"")
        assert status == 404
        self.tried.add(f"/v2/other/blobs/{digest}")

    @rule(session=sessions, chunk=CHUNKS, algorithm=ALGORITHMS)
    def finish(self, session: Session, chunk: bytes, algorithm: str) -> None:
        whole = session.data + chunk
        digest = digest_of(whole, algorithm)
        where = f"{session.location}?digest={digest}"
        status, _, _ = self.send("PUT", where, chunk, session.following(chunk))
        self.tried.add(f"/v2/{session.repository}/blobs/{digest}")
        assert status == (201 if session.open else 404)
        if session.open:
            self.blobs[f"/v2/{session.repository}/blobs/{digest}"] = whole
        session.open = False

    @rule(session=sessions, chunk=st.binary(min_size=1, max_size=50))
    def finish_elsewhere(self, session: Session, chunk: bytes) -> None:
        first = len(session.data) + 7
        headers = {"Content-Range": f"{first}-{first + len(chunk) - 1}"}
        where = f"{session.location}?digest={digest_of(session.data + chunk)}"
        status, shown, _ = self.send("PUT", where, chunk, headers)
        assert (status, shown) == ((416, session.shown) if session.open else (404, ""))

    @rule(session=sessions, chunk=CHUNKS)
    def finish_with_a_wrong_digest(self, session: Session, chunk: bytes) -> None:
        digest = digest_of(session.data + chunk + b"!")
        status, _, _ = self.send("PUT", f"{session.location}?digest={digest}", chunk)
        assert status == (400 if session.open else 404)
        session.open = False
        self.tried.add(f"/v2/{session.repository}/blobs/{digest}")

    @rule(session=sessions)
    def finish_without_a_digest(self, session: Session) -> None:
        assert self.send("PUT", session.location)[0] == 400

    @rule(session=consumes(sessions))
    def cancel(self, session: Session) -> None:
        assert self.send("DELETE", session.location)[0] == (204 if session.open else 404)
        assert self.send("GET", session.location)[0] == 404

    @precondition(lambda self: self.blobs)
    @rule(data=st.data(), repository=REPOSITORIES)
    def mount(self, data: st.DataObject, repository: str) -> None:
        path = data.draw(st.sampled_from(sorted(self.blobs)))
        source, _, digest = path.removeprefix("/v2/").partition("/blobs/")
        where = f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}"
        assert self.send("POST", where)[0] == 201
        self.blobs[f"/v2/{repository}/blobs/{digest}"] = self.blobs[path]

    @rule()
    def kill_and_start_again(self) -> None:
        self.stack.close()
        self.start_servers()

    @rule()
    def blobs_are_as_promised(self) -> None:
        for path in self.tried | self.blobs.keys():
            status, _, content = self.send("GET", path)
            assert (status == 200) == (path in self.blobs)
            assert status != 200 or content == self.blobs[path]

    def teardown(self) -> None:
        self.blobs_are_as_promised()
        self.stack.close()
        shutil.rmtree(self.root)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def machine(nursery: Nursery) -> type[SessionMachine]:
    return type("Machine", (SessionMachine,), {"nursery": nursery})


def check(nursery: Nursery, examples: int, steps: int) -> None:
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine(nursery), settings=limits)  # type: ignore[no-untyped-call]


def test_sessions(nursery: Nursery) -> None:
    check(nursery, 10, 15)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_sessions_at_length(nursery: Nursery) -> None:
    check(nursery, 300, 40)
