"""The solver: from the target backwards, asking the cache before anything is done.

A step is answered by its definition key if possible. Otherwise its inputs are demanded, all at the
same time, and the step is answered by its content key or executed. Each step is solved once, by
whichever thread needs it first; the graph has no cycles, so waiting cannot deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from builder.errors import BuildCancelledError, blaming
from builder.plan.model import Step
from builder.plan.ops import Copy, SourceImage, SourceScratch, StepId
from builder.request import StepVerdict
from builder.solver.explain import DONE_ELSEWHERE, SAME_FILES, UNCHANGED
from builder.solver.locks import KeyLock
from builder.solver.records import StoredLayer
from builder.solver.results import Layer, PendingLayer, Result
from builder.solver.session import Session
from builder.solver.showing import Showing
from builder.solver.verdicts import Verdicts
from images.futures import Future, wait
from records import Record

if TYPE_CHECKING:
    from builder.solver.execute import Execution

CLIMB = 40
"""Steps on top of one another that are demanded by recursion; longer chains in such pieces."""

CLIMBERS = 32
"""Pieces of long chains that are worked on at the same time."""

WAKE_SECONDS = 0.2
"""How often the waiting main thread looks up, so that an interrupt is never missed."""


class Solution(Record):
    """The finished target: its layers, bottom first, and the names of the steps behind it."""

    layers: tuple[StoredLayer, ...]
    executed: int
    """Steps that had to be done."""
    verdicts: tuple[StepVerdict, ...] = ()


def solve(session: Session) -> Solution:
    """Bring about the plan's result.

    Raises:
        StepFailedError: a command failed; the other ones were stopped.
        BuildError, ImagesError: something else went wrong.
        KeyboardInterrupt: after every running step was killed.
    """
    return _Solver(session).solve()


class _Solver:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._steps = session.plan.steps
        self._lock = threading.Lock()
        self._results: dict[StepId, Future[Result]] = {}
        self._threads: list[threading.Thread] = []
        self._executions: list[Execution] = []
        self._executed = 0
        self._stood_on = session.plan.stood_on()
        self._renewed = session.plan.renewed()
        self._verdicts = Verdicts(
            session.plan, session.identities, session.values, session.options.slot
        )
        self._showing = Showing(session.plan, session.tracker, self._verdicts, session.sharing)

    def solve(self) -> Solution:
        target, _ = self._claim(self._session.plan.result)
        self._start(self._climb, self._session.plan.result, target)
        try:
            _wait(target)
            error = target.exception()
            if error is None:
                self._finish_packing()
        except BaseException:
            self._session.cancellation.cancel()
            raise
        finally:
            if not target.done() or target.exception() is not None:
                self._session.cancellation.cancel()
            self._join()
            self._settle()
        if error is not None:
            raise self._first_cause(error)
        return Solution(target.result().stored(), self._executed, self._verdicts.all())

    # Scheduling.

    def _demand_in_thread(self, step: StepId) -> Future[Result]:
        future, mine = self._claim(step)
        if mine:
            self._start(self._fulfil, step, future)
        return future

    def _start(
        self,
        work: Callable[[StepId, Future[Result]], None],
        step: StepId,
        future: Future[Result],
    ) -> None:
        thread = threading.Thread(
            target=work, args=(step, future), name=f"step-{step}", daemon=True
        )
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _climb(self, step: StepId, future: Future[Result]) -> None:
        """Fulfil the target; of long chains every so manieth step first, from the bottom."""
        try:
            for level in self._landings(step):
                for start in range(0, len(level), CLIMBERS):
                    group = [self._demand_in_thread(it) for it in level[start : start + CLIMBERS]]
                    for landing in group:
                        landing.result()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the target
            future.set_exception(error)
            self._session.cancellation.cancel()
            return
        self._fulfil(step, future)

    def _landings(self, target: StepId) -> Sequence[Sequence[StepId]]:
        """The steps to demand before the target, level by level; none where chains are short."""
        levels: dict[StepId, int] = {}
        for index in self._session.plan.closure(target):
            step = self._steps[index]
            below = (*step.inputs, *(() if step.parent is None else (step.parent,)))
            levels[index] = 1 + max((levels[it] for it in below), default=0)
        if levels[target] <= CLIMB:
            return ()
        step = self._steps[target]
        if target not in self._renewed and self._find(self._session.identities.definition(step)):
            return ()
        found: dict[int, list[StepId]] = {}
        for index, level in levels.items():
            if level % CLIMB == 0 and index != target:
                found.setdefault(level, []).append(index)
        return [found[level] for level in sorted(found)]

    def _demand(self, step: StepId) -> Result:
        future, mine = self._claim(step)
        if mine:
            self._fulfil(step, future)
        return future.result()

    def _demand_all(self, steps: Sequence[StepId]) -> list[Result]:
        """Solve several steps at the same time, the first one in this thread."""
        others = [self._demand_in_thread(step) for step in steps[1:]]
        first = [self._demand(step) for step in steps[:1]]
        return [*first, *(future.result() for future in others)]

    def _claim(self, step: StepId) -> tuple[Future[Result], bool]:
        with self._lock:
            future = self._results.get(step)
            if future is not None:
                return future, False
            future = self._results[step] = Future()
            return future, True

    def _fulfil(self, step: StepId, future: Future[Result]) -> None:
        try:
            future.set_result(self._solve(self._steps[step]))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the step
            future.set_exception(error)
            # Whatever failed, nothing that is still running can be of use.
            self._session.cancellation.cancel()

    def _join(self) -> None:
        while True:
            with self._lock:
                if not self._threads:
                    return
                thread = self._threads.pop()
            thread.join()

    def _finish_packing(self) -> None:
        for execution in self._executions:
            if isinstance(execution.layer, PendingLayer):
                _wait(execution.layer.future)
                execution.layer.future.result()

    def _settle(self) -> None:
        """Turn finished upper directories into snapshots and drop the rest."""
        wait([e.layer.future for e in self._executions if isinstance(e.layer, PendingLayer)])
        for execution in self._executions:
            execution.settle(self._session)

    def _first_cause(self, error: BaseException) -> BaseException:
        """The error that stopped the build, rather than one of those it caused."""
        with self._lock:
            futures = list(self._results.values())
        errors = [found for future in futures if future.done() and (found := future.exception())]
        real = [found for found in errors if not isinstance(found, BuildCancelledError)]
        return error if error in real or not real else real[0]

    # One step.

    def _solve(self, step: Step) -> Result:
        session = self._session
        session.check()
        match step.op:
            case SourceScratch():
                return Result()
            case SourceImage(base=base):
                self._showing.cached(step, UNCHANGED)
                pairs = zip(base.config.diff_ids, base.layers, strict=True)
                return Result(tuple(StoredLayer(diff_id, layer) for diff_id, layer in pairs))
        definition = session.identities.definition(step)
        found = None if step.id in self._renewed else self._find(definition)
        if found is not None:
            self._showing.cached(step, UNCHANGED, found)
            return Result(found)
        assert step.parent is not None
        parent, *inputs = self._demand_all((step.parent, *step.inputs))
        if not (isinstance(step.op, Copy) and step.op.link):
            return self._answer(step, definition, parent, inputs)
        # A linked copy does not depend on what is below, so its layer has a key of its own.
        own = self._answer(step, session.identities.linked(step), Result(), inputs)
        result = parent.on_top(own.layers[-1])
        if result.settled:
            session.records.save(definition, result.stored(), step.name)
        return result

    def _answer(self, step: Step, key: bytes, below: Result, inputs: Sequence[Result]) -> Result:
        """The result on top of ``below``: by ``key``, by content, or by doing it."""
        session = self._session
        keys = [key]
        if not session.anew(step) and below.settled:
            # Files that were made a moment ago cannot be in any record yet.
            keys.append(self._content_key(step, below, inputs))
        for known in self._believed(step, keys):
            found = self._find(known)
            if found is not None:
                session.records.save(key, found, step.name)
                self._showing.cached(step, UNCHANGED if known == key else SAME_FILES, found)
                return Result(found)
        return self._do_once(step, keys, below, inputs)

    def _believed(self, step: Step, keys: Sequence[bytes]) -> Sequence[bytes]:
        """Those of a step's keys that may answer it: by content alone above a step done anew."""
        if self._session.anew(step):
            return ()
        return keys[1:] if step.id in self._renewed else keys

    def _content_key(self, step: Step, below: Result, inputs: Sequence[Result]) -> bytes:
        """The key by what is read; waits for layers that are still being packed."""
        session = self._session
        with ExitStack() as stack:
            directories = [
                stack.enter_context(result.directories(session.store)) for result in inputs
            ]
            selections = session.identities.selections(step, directories)
        return session.identities.content(step, below.stored(), selections)

    def _do_once(
        self, step: Step, keys: Sequence[bytes], below: Result, inputs: Sequence[Result]
    ) -> Result:
        """Execute, unless another build is doing the same just now; then take its result."""
        session = self._session
        anew = session.anew(step) or step.id in self._renewed
        if anew and not session.common.several:
            return below.on_top(self._execute(step, keys, below, inputs))
        lock = KeyLock.acquire(session.locks, keys[0], session.cancellation)
        try:
            # Whoever had the lock may have given it back before it was asked for.
            found = self._found_fresh(keys[0]) if anew else self._find(keys[0])
            layer = self._execute(step, keys, below, inputs) if found is None else None
        except BaseException:
            lock.release()
            raise
        if isinstance(layer, PendingLayer):
            layer.future.when_done(lock.release)
        else:
            lock.release()
        if layer is not None:
            return below.on_top(layer)
        self._showing.cached(step, DONE_ELSEWHERE, found or ())
        return Result(found or ())

    def _found_fresh(self, key: bytes) -> tuple[StoredLayer, ...] | None:
        """What another build of this order made of a step that is to be done anew."""
        session = self._session
        return session.records.find(key) if key in session.common.fresh else None

    def _execute(
        self, step: Step, keys: Sequence[bytes], below: Result, inputs: Sequence[Result]
    ) -> Layer:
        from builder.solver.execute import Task, execute

        session = self._session
        session.check()
        with self._lock:
            self._executed += 1
        vertex = self._showing.begin(step, asked=not session.anew(step))

        def record(layer: StoredLayer) -> None:
            self._showing.stored(step, layer)
            layers = (*below.stored(), layer)
            # By now the layers below are packed, so what could not be asked for can be recorded.
            late = [self._content_key(step, below, inputs)] if len(keys) == 1 else []
            for key in (*keys, *late):
                session.records.save(key, layers, step.name)
            session.common.fresh.add(keys[0])
            if session.sharing is not None:
                session.sharing.known(step, layer)

        stood_on = step.id in self._stood_on
        needed = dict(zip(step.inputs, inputs, strict=True))
        try:
            with blaming(step.source):
                execution = execute(session, Task(step, below, needed, vertex, record, stood_on))
        except BaseException as error:
            vertex.failed(str(error), cancelled=isinstance(error, BuildCancelledError))
            raise
        self._showing.done(step, vertex)
        with self._lock:
            self._executions.append(execution)
        return execution.layer

    def _find(self, key: bytes) -> tuple[StoredLayer, ...] | None:
        return None if self._session.options.no_cache else self._session.records.find(key)


def _wait(future: Future[Any]) -> None:
    """Wait in slices, so that the main thread stays open to signals."""
    while not future.wait(WAKE_SECONDS):
        pass
