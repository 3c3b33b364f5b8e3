"""Orders that run together: order, results passed on, one failure for all, and labels."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from builder.contexts import ImageContext, LocalContext, TargetContext
from builder.errors import BuildCancelledError, BuildInputError
from builder.request import BuildRequest
from engine.bake.errors import BakeValueError
from engine.baking import bake
from engine.builds.order import BuildOrder
from images.descriptor import Descriptor
from images.digest import Digest


class Display:
    def __init__(self) -> None:
        self.closed = 0

    def emit(self, event) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


class Store:
    """Counts its leases."""

    def __init__(self) -> None:
        self.held = 0

    def lease(self, description):
        return self

    def __enter__(self):
        self.held += 1

    def __exit__(self, *error):
        self.held -= 1


def order(**contexts) -> BuildOrder:
    return BuildOrder(BuildRequest(".", contexts=contexts))


def outcome(name: str):
    digest = Digest.of(name.encode())
    media_type = "application/vnd.oci.image.manifest.v1+json"
    return SimpleNamespace(root=Descriptor(media_type, digest, 2), name=name)


YARD = SimpleNamespace(store=Store())


def test_a_target_gets_the_result_of_another_as_a_context_and_the_lease_ends() -> None:
    seen = {}

    def fulfilling(order, yard, tracker, *, cancellation):
        assert yard.store.held == 1
        name = threading.current_thread().name.removeprefix("bake-")
        seen[name] = order.request.contexts
        return outcome(name)

    display = Display()
    orders = {
        "app": order(base=TargetContext("Base"), src=LocalContext("/src")),
        "Base": order(),
    }
    found = bake(orders, YARD, display, fulfilling=fulfilling)
    assert list(found) == ["app", "Base"]
    assert seen["app"]["src"] == LocalContext("/src")
    context = seen["app"]["base"]
    assert isinstance(context, ImageContext)
    assert context.stored == outcome("Base").root
    assert (display.closed, YARD.store.held) == (1, 0)


def test_targets_that_need_nothing_of_each_other_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)

    def fulfilling(order, yard, tracker, *, cancellation):
        meeting.wait()
        return outcome("x")

    assert len(bake({n: order() for n in "abc"}, YARD, Display(), fulfilling=fulfilling)) == 3


def test_the_first_failure_stops_the_rest_and_is_what_is_told() -> None:
    started = threading.Event()
    ran = []

    def fulfilling(order, yard, tracker, *, cancellation):
        name = threading.current_thread().name.removeprefix("bake-")
        ran.append(name)
        if name == "bad":
            started.wait(60)
            raise BuildInputError("broken")
        started.set()
        while not cancellation.cancelled:
            threading.Event().wait(0.01)
        raise BuildCancelledError("stopped")

    orders = {"slow": order(), "bad": order(), "after": order(x=TargetContext("slow"))}
    with pytest.raises(BuildInputError, match="broken") as caught:
        bake(orders, YARD, Display(), fulfilling=fulfilling)
    assert caught.value.__notes__ == ["while building the target bad"]
    assert sorted(ran) == ["bad", "slow"]


@pytest.mark.parametrize(
    ("orders", "says"),
    [
        ({"a": order(x=TargetContext("b"))}, "a: there is no target b"),
        (
            {"a": order(x=TargetContext("b")), "b": order(x=TargetContext("a"))},
            "lead back to it",
        ),
    ],
)
def test_what_cannot_be_ordered_is_refused_before_anything_runs(orders, says: str) -> None:
    display = Display()
    with pytest.raises(BakeValueError, match=says):
        bake(orders, YARD, display, fulfilling=None)
    assert display.closed == 1
