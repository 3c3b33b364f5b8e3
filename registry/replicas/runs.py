"""Runs that one of all replicas makes at a time, each under an office of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from registry.election import Offices

_LOOK_SECONDS: Final = 1.0


class OfficeLocks:
    """As ``registry.proxy.flights.Locks``, between replicas."""

    def __init__(self, offices: Offices) -> None:
        self._offices = offices

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Have the office of ``key``, as soon as no other process has it."""
        office = await asyncio.to_thread(self._offices.stand_for, f"run:{key}")
        try:
            while not await asyncio.to_thread(office.holds):  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(_LOOK_SECONDS)
            yield
        finally:
            await asyncio.to_thread(office.close)

    def close(self) -> None:
        """Nothing is held beside the blocks."""
