r"""Variable expansion: what a word means once its variables, quotes and escapes are resolved.

Dockerfile reference, "Environment replacement"; POSIX shell 2.6.2 for the operators. Forms:
``$name``, ``${name}``, the operators ``- + ?`` with and without colon, ``# ## % %%`` and ``/ //``.
Words inside an operator are expanded in turn. Single quotes keep everything, double quotes unescape
only ``\" \$ \\``, elsewhere an escape keeps its character.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from dockerfile_grammar import glob
from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.quoting import quoted
from records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

NESTING_LIMIT = 100
"""How deep ``${a:-${b:-...}}`` may nest."""

VALUE_LIMIT = 1 << 20
"""Characters that the variables of one word may bring in, so that ``a=$a$a`` repeated stays small.
"""

BODY_LIMIT = 16 << 20
"""The same for the body of a here-document."""

QUOTED_LIMIT = 1000
"""Characters of a word that a message repeats."""

_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
# unicode.IsSpace of Go; Python's \s would add the separators U+001C to U+001F.
_SPACES = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACE = re.compile(f"[{_SPACES}]+")
_END = "\ufffd"


class Expansion(Record):
    """A word's value and how it came about.

    ``unmatched`` names every variable that was not set, in order of use; ``guarded`` those of them
    that an operator (``-``, ``+``, ``?``) provides for, which lint need not report.
    """

    text: str
    words: tuple[str, ...]
    matched: tuple[str, ...]
    unmatched: tuple[str, ...]
    guarded: tuple[str, ...]


def expand(word: str, env: Mapping[str, str], *, escape: str = "\\") -> str:
    """The value of a word; one written word stays one word even when its value has blanks.

    Raises:
        ExpansionError: malformed substitution, unclosed quote, or ``${name?}`` with name unset.
    """
    if not _is_active(word, escape):
        return word
    return _Expander(word, env, escape).run().text


def expand_words(word: str, env: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """The value of a word, split at unquoted blanks after expansion (EXPOSE).

    Raises:
        ExpansionError: as ``expand``.
    """
    return list(_Expander(word, env, escape).run().words)


def expand_heredoc(body: str, env: Mapping[str, str]) -> str:
    r"""The value of an unquoted heredoc's body: quotes are literal and the escape is always ``\``.

    Raises:
        ExpansionError: as ``expand``.
    """
    return _Expander(body, env, "\\", quotes=False, limit=BODY_LIMIT).run().text


def expansion(
    word: str, env: Mapping[str, str], *, escape: str = "\\", heredoc: bool = False
) -> Expansion:
    """The value of a word with the names that were looked up, for lint.

    Raises:
        ExpansionError: as ``expand``.
    """
    limit = BODY_LIMIT if heredoc else VALUE_LIMIT
    return _Expander(word, env, escape, quotes=not heredoc, limit=limit).run()


def raw_words(text: str) -> list[str]:
    """Split at unquoted blanks, leaving quotes, escapes and variables as they are written.

    Raises:
        ExpansionError: an unclosed quote or substitution.
    """
    return list(_Expander(text, {}, "\\", raw=True).run().words)


def _is_active(word: str, escape: str) -> bool:
    return "$" in word or escape in word or '"' in word or "'" in word


@lru_cache(maxsize=16)
def _plain(escape: str, quotes: bool, stop: str) -> re.Pattern[str]:  # noqa: FBT001 - a cache key
    """Runs of characters that mean only themselves."""
    active = re.escape("$" + escape + stop) + ("'\"" if quotes else "")
    return re.compile(f"[^{active}]+")


class _Expander:
    """One walk over one text, from left to right, each character read once."""

    def __init__(
        self,
        source: str,
        env: Mapping[str, str],
        escape: str,
        *,
        quotes: bool = True,
        raw: bool = False,
        limit: int = VALUE_LIMIT,
    ) -> None:
        self._source = source
        self._env = env
        self._escape = escape
        self._quotes = quotes
        self._raw = raw
        self._limit = limit
        self._brought = 0
        self._position = 0
        self._depth = 0
        self._matched: list[str] = []
        self._unmatched: list[str] = []
        self._guarded: list[str] = []

    def run(self) -> Expansion:
        try:
            parts = self._until("", keep_escapes=self._raw)
        except ExpansionError as error:
            word = self._source
            shown = word if len(word) <= QUOTED_LIMIT else f"{word[:QUOTED_LIMIT]}..."
            raise ExpansionError(
                f"failed to process {quoted(shown)}: {error.what}", offset=self._position
            ) from error
        return Expansion(
            "".join(text for text, _ in parts),
            tuple(_split(parts)),
            tuple(dict.fromkeys(self._matched)),
            tuple(self._unmatched),
            tuple(self._guarded),
        )

    def _peek(self) -> str:
        return self._source[self._position : self._position + 1]

    def _next(self) -> str:
        char = self._source[self._position : self._position + 1]
        self._position += 1
        return char

    def _ended(self) -> bool:
        return self._position >= len(self._source)

    def _until(self, stop: str, *, keep_escapes: bool) -> list[tuple[str, bool]]:
        """Read up to and including ``stop`` (empty: the end); parts are (text, may be split at
        blanks).
        """
        parts: list[tuple[str, bool]] = []
        plain = _plain(self._escape, self._quotes, stop)
        while not self._ended():
            run = plain.match(self._source, self._position)
            if run is not None:
                parts.append((run.group(), True))
                self._position = run.end()
                continue
            char = self._peek()
            if char == stop:
                self._position += 1
                return parts
            if char == "$":
                parts.append((self._dollar(), True))
            elif char == "'" and self._quotes:
                parts.append((self._single(), False))
            elif char == '"' and self._quotes:
                parts.append((self._double(keep_escapes=keep_escapes), False))
            else:
                self._position += 1
                kept = char if keep_escapes else ""
                parts.append((kept + self._next(), False))
        if stop:
            raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")
        return parts

    def _single(self) -> str:
        begin = self._position + 1
        end = self._source.find("'", begin)
        if end < 0:
            self._position = len(self._source)
            raise ExpansionError(
                "unexpected end of statement while looking for matching single-quote"
            )
        self._position = end + 1
        return self._source[begin - 1 : end + 1] if self._raw else self._source[begin:end]

    def _double(self, *, keep_escapes: bool) -> str:
        self._position += 1
        out = ['"' if self._raw else ""]
        while not self._ended():
            char = self._peek()
            if char == "$":
                out.append(self._dollar())
                continue
            self._position += 1
            if char == '"':
                out.append(char if self._raw else "")
                return "".join(out)
            if char == self._escape:
                out.append(char if keep_escapes else "")
                following = self._peek()
                if following in ('"', "$", self._escape):
                    char = self._next()
                elif not following:
                    continue
            out.append(char)
        raise ExpansionError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._position += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._lookup(name)
            return f"${name}" if self._raw and value is None else value or ""
        self._position += 1
        following = self._peek()
        if not following:
            raise ExpansionError("syntax error: missing '}'")
        if following in "{}:":
            raise ExpansionError("syntax error: bad substitution")
        self._depth += 1
        if self._depth > NESTING_LIMIT:
            raise ExpansionError(f"substitutions nest deeper than {NESTING_LIMIT}")
        begin = self._position - 2
        value = self._substitution()
        self._depth -= 1
        return self._source[begin : self._position] if self._raw else value

    def _substitution(self) -> str:
        """What follows ``${``, up to and including ``}``."""
        name = self._name()
        operator = self._next()
        if operator == "}":
            return self._lookup(name) or ""
        if operator == "/":
            return self._replacement(name)
        colon = operator == ":"
        modifier = operator
        if colon:
            operator = self._next()
            modifier += operator or _END
        if not colon and (not operator or operator not in "+-?#%"):
            raise ExpansionError(f"unsupported modifier ({operator or _END}) in substitution")
        word = self._word("}", keep_escapes=operator in ("#", "%"))
        if operator in ("#", "%") and not colon:
            return self._trimmed(self._lookup(name) or "", operator, word)
        if operator not in ("-", "+", "?"):
            raise ExpansionError(f"unsupported modifier ({modifier}) in substitution")
        return self._conditional(name, operator, word, colon=colon)

    def _conditional(self, name: str, operator: str, word: str, *, colon: bool) -> str:
        """``-``, ``+`` and ``?``; with the colon an empty value counts as unset."""
        value = self._lookup(name)
        if value is None:
            self._guarded.append(name)
        missing = value is None or (colon and value == "")
        if operator == "-":
            return word if missing else value or ""
        if operator == "+":
            return "" if missing else word
        if missing:
            state = "unset" if value is None else "empty"
            raise ExpansionError(f"{name}: {word or f'is not allowed to be {state}'}")
        return value or ""

    def _trimmed(self, value: str, operator: str, word: str) -> str:
        longest = word.startswith(operator)
        pattern = word[1:] if longest else word
        remove = glob.remove_prefix if operator == "#" else glob.remove_suffix
        return remove(value, pattern, longest=longest)

    def _replacement(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._position += 1
        pattern = self._word("/", keep_escapes=True)
        replacement = self._word("}", keep_escapes=True)
        value = self._lookup(name) or ""
        room = self._limit - self._brought
        replaced = glob.replace(value, pattern, replacement, every=every, limit=room)
        self._count(replaced)
        return replaced

    def _word(self, stop: str, *, keep_escapes: bool) -> str:
        """An operator's word, expanded."""
        try:
            parts = self._until(stop, keep_escapes=keep_escapes)
        except ExpansionError as error:
            if not self._ended():
                raise
            what = "missing '}'" if stop == "}" else "missing '/' in ${}"
            raise ExpansionError(f"syntax error: {what}") from error
        return "".join(text for text, _ in parts)

    def _name(self) -> str:
        """A name, a run of digits, or one special parameter; empty where none stands."""
        source = self._source
        begin = end = self._position
        first = source[begin : begin + 1]
        if first.isdecimal():
            while end < len(source) and source[end].isdecimal():
                end += 1
        elif first and first in _SPECIAL_PARAMETERS:
            end += 1
        else:
            while end < len(source) and (source[end].isalnum() or source[end] == "_"):
                end += 1
        self._position = end
        return source[begin:end]

    def _lookup(self, name: str) -> str | None:
        value = self._env.get(name)
        (self._unmatched if value is None else self._matched).append(name)
        self._count(value or "")
        return value

    def _count(self, text: str) -> None:
        self._brought += len(text)
        if self._brought > self._limit:
            raise ExpansionError(glob.too_long(self._limit))


def _split(parts: list[tuple[str, bool]]) -> list[str]:
    """Join neighbouring parts, ending words at blanks in those that may be split."""
    words: list[str] = []
    current: list[str] = []
    for text, splittable in parts:
        pieces = _SPACE.split(text) if splittable else [text]
        current.append(pieces[0])
        for piece in pieces[1:]:
            words.append("".join(current))
            current = [piece]
    words.append("".join(current))
    return [word for word in words if word]
