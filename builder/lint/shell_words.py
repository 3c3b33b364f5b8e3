"""Words of shell text: quotes, escapes, and where expansions end (POSIX XCU 2.2, 2.3 and 2.6)."""

from __future__ import annotations

import re
from typing import Final

from builder.lint.shell import Word

_PLAIN = re.compile(r"""[^\s\\'"`$&|;()<>]+""")
_QUOTED_PLAIN = re.compile(r"""[^"\\`$]+""")
_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_GLOB = re.compile(r"[*?\[~]")
NESTING_LIMIT: Final = 40
"""Substitutions, expansions and compound commands within one another, at most."""
_DOUBLE_ESCAPED: Final = frozenset('"\\$`')


class NotUnderstood(Exception):
    """Unclosed quotes, unexpected operators, or too deep; never leaves the reader."""


class WordScanner:
    """Reads words of a text; what is in a substitution is read by whoever extends this."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._braces = 0

    def substitution(self, position: int) -> int:
        """Read the commands that begin here; returns the position behind their parenthesis.

        Raises:
            NotUnderstood: it does not end.
        """
        raise NotUnderstood

    def read_word(self, start: int) -> Word:
        """The word that begins here.

        Raises:
            NotUnderstood: there is none, or a quote in it is not closed.
        """
        position, parts, literal = start, list[str](), True
        text = self.text
        while position < len(text):
            plain = _PLAIN.match(text, position)
            if plain is not None:
                literal = literal and _GLOB.search(plain[0]) is None
                parts.append(plain[0])
                position = plain.end()
                continue
            char = text[position]
            if char == "\\":
                following = text[position + 1 : position + 2]
                parts.append("" if following == "\n" else following)
                position = min(position + 2, len(text))
            elif char == "'":
                end = self._find("'", position + 1)
                parts.append(text[position + 1 : end])
                position = end + 1
            elif char == '"':
                position, value, plain_value = self._double(position + 1)
                literal = literal and plain_value
                parts.append(value)
            elif char in "$`" or (char in "<>" and text.startswith("(", position + 1)):
                end = self._expansion(position)
                literal = literal and end == position + 1
                parts.append(text[position:end])
                position = end
            else:
                break
        if position == start:
            raise NotUnderstood
        return Word(text[start:position], "".join(parts), start, position, literal)

    def _double(self, position: int) -> tuple[int, str, bool]:
        """The rest of a double-quoted part: where it ends, its value, whether it is literal."""
        text, parts, literal = self.text, list[str](), True
        while position < len(text):
            plain = _QUOTED_PLAIN.match(text, position)
            if plain is not None:
                parts.append(plain[0])
                position = plain.end()
                continue
            char = text[position]
            if char == '"':
                return position + 1, "".join(parts), literal
            if char == "\\":
                following = text[position + 1 : position + 2]
                kept = following if following in _DOUBLE_ESCAPED else char + following
                parts.append("" if following == "\n" else kept)
                position += 2
                continue
            end = self._expansion(position, quoted=True)
            literal = literal and end == position + 1
            parts.append(text[position:end])
            position = end
        raise NotUnderstood

    def _expansion(self, position: int, *, quoted: bool = False) -> int:
        """Where an expansion ends that begins here; right behind a ``$`` that is only itself."""
        text = self.text
        if text[position] == "`":
            return self._backquoted(position)
        if text.startswith("$((", position):
            return self.balanced(position + 1)
        if text.startswith("(", position + 1):
            return self.substitution(position + 2)
        if text.startswith("{", position + 1):
            self._braces += 1
            if self._braces > NESTING_LIMIT:
                raise NotUnderstood
            end = self._braced(position + 2)
            self._braces -= 1
            return end
        if text.startswith("'", position + 1) and not quoted:
            return self._ansi(position + 2)
        name = _NAME.match(text, position + 1)
        return position + 1 if name is None else name.end()

    def _backquoted(self, position: int) -> int:
        position += 1
        while position < len(self.text):
            if self.text[position] == "`":
                return position + 1
            position += 2 if self.text[position] == "\\" else 1
        raise NotUnderstood

    def _braced(self, position: int) -> int:
        while position < len(self.text):
            char = self.text[position]
            if char == "}":
                return position + 1
            if char == "\\":
                position += 2
            elif char == '"':
                position = self._double(position + 1)[0]
            elif char in "$`":
                position = self._expansion(position, quoted=True)
            else:
                position += 1
        raise NotUnderstood

    def _ansi(self, position: int) -> int:
        """``$'...'``, in which a backslash guards a quote."""
        while position < len(self.text):
            if self.text[position] == "'":
                return position + 1
            position += 2 if self.text[position] == "\\" else 1
        raise NotUnderstood

    def balanced(self, position: int) -> int:
        """Behind the parenthesis that closes the one at ``position``."""
        level = 0
        while position < len(self.text):
            char = self.text[position]
            if char == "\\":
                position += 1
            elif char == "'":
                position = self._find("'", position + 1)
            elif char == '"':
                position = self._double(position + 1)[0] - 1
            elif char == "(":
                level += 1
            elif char == ")":
                level -= 1
                if level == 0:
                    return position + 1
            position += 1
        raise NotUnderstood

    def _find(self, char: str, position: int) -> int:
        found = self.text.find(char, position)
        if found < 0:
            raise NotUnderstood
        return found
