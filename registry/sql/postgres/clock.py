"""This machine's clock beside the database's, which all replicas see.

Leases, tokens, expiries and retention compare moments that other replicas wrote. A replica whose
clock is hours ahead would collect what was pushed a minute ago.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from registry.errors import RegistryStartError
from registry.sql.connection import Connection

log = logging.getLogger("registry")

_TOLD: Final = 5.0
_REFUSED: Final = 300.0
"""Seconds. Tokens bear 60 of them, a collection an eighth of ``collection.lease`` (an hour)."""


def check_clock(
    connection: Connection, where: str, *, clock: Callable[[], float] = time.time
) -> None:
    """Warn of a difference of seconds, refuse one of minutes.

    Raises:
        RegistryStartError: the clocks are more than five minutes apart.
    """
    before = clock()
    sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
    (moment,) = connection.execute(sql).fetchone()
    after = clock()
    # The answer is from some moment between the two.
    apart = max(before - moment, moment - after, 0.0)
    if apart <= _TOLD:
        return
    said = f"this machine's clock is {apart:.0f} s {'ahead of' if before > moment else 'behind'}"
    if apart > _REFUSED:
        raise RegistryStartError(
            f"{said} the database's",
            where=where,
            fix="set the clocks of both by NTP: leases, tokens and expiries are judged by them",
        )
    log.warning("%s the database's; replicas need clocks that agree", said)
