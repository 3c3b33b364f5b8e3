"""Questions that the end that builds has for its client while it builds, and the answers.

Several threads may ask at the same time. An answer is what was asked for, or an error of the
client's, which the build then has.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from itertools import count
from typing import TYPE_CHECKING, Any

from engine.remote.errors import ClientError, PeerGoneError
from engine.remote.message import Message

if TYPE_CHECKING:
    from engine.remote.channel import Channel


class Calls:
    """The asking end; whoever reads the channel hands over the answers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._waiting: dict[int, Future[Message]] = {}
        self._gone = False

    def ask(self, about: str, **fields: Any) -> Message:
        """Ask the client and wait.

        Raises:
            ClientError: it cannot do or allow that.
            PeerGoneError: it is gone.
        """
        future: Future[Message] = Future()
        with self._lock:
            if self._gone:
                raise PeerGoneError("the client went away")
            number = next(self._numbers)
            self._waiting[number] = future
        self._channel.send("ask", call=number, about=about, **fields)
        return future.result()

    def answer(self, message: Message) -> None:
        """Hand over what came; an answer to no question is dropped: who asked may have given up.

        Raises:
            ChannelError: it is no answer.
        """
        number = message.number("call", high=1 << 62)
        refusal = None
        if message.kind == "refusal":
            refusal = ClientError(
                message.text("what"),
                where=message.optional_text("where"),
                fix=message.optional_text("fix"),
                code=message.text("code", limit=100),
            )
        with self._lock:
            future = self._waiting.pop(number, None)
        if future is None:
            return
        if refusal is None:
            future.set_result(message)
        else:
            future.set_exception(refusal)

    def end(self) -> None:
        """The client is gone: nobody will answer."""
        with self._lock:
            self._gone = True
            waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            future.set_exception(PeerGoneError("the client went away"))
