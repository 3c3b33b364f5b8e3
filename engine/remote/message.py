"""A message of the other end, whose fields are taken one by one, each of the type, length and range
that is expected: what it says was written by somebody else.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, TypeVar

from engine.remote.errors import ChannelError
from images.digest import Digest
from images.errors import ImagesError

_T = TypeVar("_T")

TEXT_LIMIT: Final = 64 << 10
"""Characters of a text, where nothing else is said."""


class Message(dict[str, Any]):
    """The fields by their names, ``kind`` among them."""

    @property
    def kind(self) -> str:
        """What it is about."""
        return str(self["kind"])

    def text(self, name: str, *, limit: int = TEXT_LIMIT) -> str:
        """A text.

        Raises:
            ChannelError: it is something else, or longer.
        """
        found = self.optional_text(name, limit=limit)
        if found is None:
            raise self._wrong(name, "no text")
        return found

    def optional_text(self, name: str, *, limit: int = TEXT_LIMIT) -> str | None:
        """A text or None; raises as ``text``."""
        found = self.get(name)
        if found is None:
            return None
        if not isinstance(found, str) or len(found) > limit:
            raise self._wrong(name, f"no text of {limit} characters at most")
        return found

    def number(self, name: str, *, low: int = 0, high: int) -> int:
        """A whole number from ``low`` to ``high``; raises as ``text``."""
        found = self.get(name)
        if type(found) is not int or not low <= found <= high:
            raise self._wrong(name, f"no number from {low} to {high}")
        return found

    def flag(self, name: str) -> bool:
        """True or false; raises as ``text``."""
        found = self.get(name)
        if not isinstance(found, bool):
            raise self._wrong(name, "neither true nor false")
        return found

    def many(self, name: str, *, most: int) -> list[Any]:
        """A list, whose items are still to be looked at; raises as ``text``."""
        found = self.get(name)
        if not isinstance(found, list) or len(found) > most:
            raise self._wrong(name, f"no list of {most} at most")
        return found

    def texts(self, name: str, *, most: int, limit: int = TEXT_LIMIT) -> list[str]:
        """A list of texts; raises as ``text``."""
        found = self.many(name, most=most)
        if not all(isinstance(item, str) and len(item) <= limit for item in found):
            raise self._wrong(name, f"no list of texts of {limit} characters at most")
        return found

    def numbers(self, name: str, *, below: int) -> list[int]:
        """Different whole numbers below a bound, in ascending order; raises as ``text``."""
        found = self.many(name, most=below)
        last = -1
        for item in found:
            if type(item) is not int or not last < item < below:
                raise self._wrong(name, f"no ascending numbers below {below}")
            last = item
        return found

    def digests(self, name: str, *, most: int) -> list[Digest]:
        """A list of digests; raises as ``text``."""
        try:
            return [Digest.parse(text) for text in self.texts(name, most=most, limit=200)]
        except ImagesError as error:
            raise self._wrong(name, error.what) from error

    def digest(self, name: str) -> Digest:
        """One digest; raises as ``text``."""
        try:
            return Digest.parse(self.text(name, limit=200))
        except ImagesError as error:
            raise self._wrong(name, error.what) from error

    def data(self, name: str, *, limit: int) -> bytes:
        """Bytes in base64, so many at most; raises as ``text``."""
        text = self.text(name, limit=limit * 4 // 3 + 4)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._wrong(name, "no base64") from error

    def _wrong(self, name: str, what: str) -> ChannelError:
        return ChannelError(
            f"the other end sent a {self.get('kind')!s:.40} whose {name} is {what}",
            fix="use the same release of lading on both sides",
        )


def as_text(data: bytes) -> str:
    """Bytes as ``Message.data`` reads them."""
    return base64.b64encode(data).decode()
