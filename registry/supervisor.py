"""Several workers behind one port, and the process that keeps them alive.

The supervisor opens sockets, TLS context and tally, forks the workers, and then only waits for
signals: no thread, no event loop, no connection to the index, so a fork is clean at any time.
SIGHUP is passed on when the new configuration is good; SIGTERM drains; a worker that dies is
replaced, at once the first time and ever later while it keeps dying. Workers end when their
supervisor does, by the pipe that only it holds open.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from images.errors import ImagesError
from registry.errors import RegistryError, RegistryStartError
from registry.systemd import Notifier
from registry.tally import Count, Tally

log = logging.getLogger("registry")

SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
_GRACE_SECONDS: Final = 5.0
_LONGEST_WAIT: Final = 10.0
_SETTLED_SECONDS: Final = 30.0
"""A worker that lived this long did not die of what is wrong at its start."""

Report = Callable[[str], object]
"""Tells the supervisor "" once requests are taken, else why they cannot be."""


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int = 0
    born: float = 0.0
    deaths: int = 0
    due: float = 0.0


class Supervisor:
    """Runs ``count`` workers. ``work`` is a worker's life: it gets its number, the descriptor to
    watch for the supervisor's end, and how to report; it returns when it is drained.

    ``reload`` reads the configuration again and raises ``RegistryError`` when that is no good;
    ``close`` closes the supervisor's own sockets; ``drain_seconds`` tells how long to wait.
    """

    def __init__(
        self,
        count: int,
        *,
        work: Callable[[int, int, Report], object],
        reload: Callable[[], object],
        close: Callable[[], object],
        drain_seconds: Callable[[], float],
        tally: Tally,
        notifier: Notifier,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._reload = reload
        self._close = close
        self._drain_seconds = drain_seconds
        self._tally = tally
        self._notifier = notifier
        self._clock = clock
        self._workers = [_Worker(number) for number in range(count)]
        self._lifeline, self._held = os.pipe2(os.O_CLOEXEC)

    def run(self, ready: Callable[[], object]) -> None:
        """Serve until SIGTERM or SIGINT; ``ready`` is called once all workers take requests.

        Raises:
            RegistryStartError: a worker could not start.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            # Pages of what is loaded by now stay shared, if no collection touches them.
            gc.freeze()
            for worker in self._workers:
                self._start_first(worker)
            ready()
            self._notifier.ready()
            self._watch()
        finally:
            self._end()
            gc.unfreeze()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _watch(self) -> None:
        while True:
            received = signal.sigtimedwait(SIGNALS, self._until_due())
            number = None if received is None else received.si_signo
            if number in (signal.SIGTERM, signal.SIGINT):
                return
            if number == signal.SIGHUP:
                self._reread()
            self._reap(restart=True)
            for worker in self._workers:
                if worker.pid == 0 and self._clock() >= worker.due:
                    self._fork(worker, _log_report)

    def _until_due(self) -> float:
        waiting = [worker.due for worker in self._workers if worker.pid == 0]
        return max(0.0, min(waiting) - self._clock()) if waiting else 3600.0

    def _start_first(self, worker: _Worker) -> None:
        """Start a worker and wait for its report, so that a bad start is the caller's error."""
        reader, writer = os.pipe2(os.O_CLOEXEC)

        def report(text: str) -> None:
            os.write(writer, text.encode() + b"\n")
            os.close(writer)

        self._fork(worker, report)
        os.close(writer)
        with os.fdopen(reader, "rb") as reports:
            said = reports.readline()
        if said == b"\n":
            return
        fields = json.loads(said) if said else {"what": "a worker died while it started"}
        raise RegistryStartError(fields["what"], where=fields.get("where"), fix=fields.get("fix"))

    def _fork(self, worker: _Worker, report: Report) -> None:
        worker.born = self._clock()
        worker.pid = os.fork()
        if worker.pid == 0:
            self._live(worker.number, report)

    def _live(self, number: int, report: Report) -> NoReturn:
        """The forked worker: nothing of the supervisor's stack may run on after it."""
        status = 1
        try:
            os.close(self._held)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._tally.begin(number, os.getpid())
            self._work(number, self._lifeline, report)
            status = 0
        except RegistryError as error:
            report(json.dumps({"what": error.what, "where": error.where, "fix": error.fix}))
        except BaseException:
            log.exception("worker %d failed", number)
        finally:
            logging.shutdown()
            os._exit(status)

    def _reread(self) -> None:
        self._notifier.reloading()
        try:
            self._reload()
        except (ImagesError, OSError) as error:
            tell_refused(error)
            self._tally.count(Count.RELOAD_FAILURES)
        else:
            self._signal(signal.SIGHUP)
        self._notifier.ready()

    def _reap(self, *, restart: bool) -> None:
        for worker in self._workers:
            if worker.pid == 0:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            worker.pid = 0
            self._tally.forget(worker.number)
            if restart:
                self._mourn(worker, os.waitstatus_to_exitcode(status))

    def _mourn(self, worker: _Worker, code: int) -> None:
        now = self._clock()
        worker.deaths = 1 if now - worker.born > _SETTLED_SECONDS else worker.deaths + 1
        wait = 0.0 if worker.deaths == 1 else min(0.1 * 2**worker.deaths, _LONGEST_WAIT)
        worker.due = now + wait
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        log.error("worker %d %s; another one starts in %.1f s", worker.number, how, wait)
        self._tally.count(Count.WORKER_DEATHS)

    def _end(self) -> None:
        """Drain all workers; whoever is not done in time is killed, as after a second signal."""
        self._notifier.stopping()
        self._close()
        self._signal(signal.SIGTERM)
        deadline = self._clock() + self._drain_seconds() + _GRACE_SECONDS
        while any(worker.pid for worker in self._workers):
            left = deadline - self._clock()
            received = signal.sigtimedwait(SIGNALS, max(0.0, left))
            again = received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT)
            if left <= 0 or again:
                self._signal(signal.SIGKILL)
                deadline = self._clock() + _GRACE_SECONDS
            self._reap(restart=False)
        os.close(self._held)
        os.close(self._lifeline)

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)


def _log_report(text: str) -> None:
    """What becomes of the report of a worker that replaces another: nobody waits for it."""
    if text:
        log.error("a worker cannot start: %s", text)


def tell_refused(error: Exception) -> None:
    """Log why a reload changed nothing."""
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    log.error("reload refused, the configuration is as it was: %s%s", error, notes)
