"""The grammar of shell commands (POSIX XCU 2.10), read by recursive descent.

Reserved words count where a command may begin; bodies of here-documents are skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from builder.lint.shell import Command, Compound, Pipeline, Redirect, Word
from builder.lint.shell_words import NESTING_LIMIT, NotUnderstood, WordScanner

if TYPE_CHECKING:
    from collections.abc import Callable

_BLANKS = re.compile(r"(?:[ \t\r]|\\\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_REDIRECT = re.compile(r"(?:\d+|\{\w+\})?(<<<|<<-|<<|<>|<&|>&|>>|>\||<(?!\()|>(?!\())|&>>|&>")
_OPERATOR = re.compile(r"\n|;;&|;;|;&|&&|\|\||\|&|[;&|()]")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=")
_SEPARATORS: Final = frozenset({"&&", "||", ";", "&", "\n"})
_HERE: Final = frozenset({"<<", "<<-"})
_CLOSING: Final = frozenset({"then", "do", "done", "fi", "else", "elif", "esac", "}"})


def read(text: str) -> tuple[list[Command], list[Pipeline], bool]:
    """The commands and pipelines of a text, and whether all of it was understood."""
    found = _Found([], [])
    try:
        _Reader(text, 0, 0, found).script()
    except NotUnderstood:
        return *found, False
    return *found, True


class _Found(NamedTuple):
    commands: list[Command]
    pipelines: list[Pipeline]


class _Token(NamedTuple):
    kind: str
    """``word``, ``operator``, ``redirect`` or ``end``."""
    text: str
    start: int
    end: int
    word: Word | None = None


class _Reader(WordScanner):
    """Reads commands from a position on; substitutions get a reader of their own."""

    def __init__(self, text: str, position: int, depth: int, found: _Found) -> None:
        if depth > NESTING_LIMIT:
            raise NotUnderstood
        super().__init__(text)
        self.position = position
        self.depth = depth
        self.found = found
        self._bodies: list[tuple[str, bool]] = []
        self._missing = set[str]()
        self._ahead: _Token | None = None

    # Lists and pipelines.

    def script(self) -> None:
        self._list()
        if self._peek().kind != "end":
            raise NotUnderstood

    def substitution(self, position: int) -> int:
        """Its commands join those found so far, one level deeper."""
        inner = _Reader(self.text, position, self.depth + 1, self.found)
        inner._list()
        return inner._expect(")").end

    def _list(self, *, tested: bool = False) -> None:
        joined = ""
        while True:
            joined = self._separators(joined)
            token = self._peek()
            if self._ends_list(token):
                return
            self._pipeline(joined, tested=tested)
            token = self._peek()
            if token.kind != "operator" or token.text not in _SEPARATORS:
                return
            joined = self._take().text

    def _separators(self, joined: str) -> str:
        """Skip empty lines; a line break after an operator belongs to that operator."""
        while self._peek().text == "\n" and self._peek().kind == "operator":
            self._take()
            joined = joined or "\n"
        return joined

    def _ends_list(self, token: _Token) -> bool:
        if token.kind == "operator":
            if token.text in (")", ";;", ";&", ";;&"):
                return True
            if token.text != "(":
                raise NotUnderstood
        return token.kind == "end" or (token.kind == "word" and token.text in _CLOSING)

    def _pipeline(self, joined: str, *, tested: bool) -> None:
        while self._peek().kind == "word" and self._peek().text in ("!", "time"):
            tested = self._take().text == "!" or tested
        elements = [self._command()]
        while self._peek().kind == "operator" and self._peek().text in ("|", "|&"):
            self._take()
            self._separators("")
            elements.append(self._command())
        self.found.pipelines.append(Pipeline(tuple(elements), joined, self.depth, tested))

    # Commands.

    def _command(self) -> Command | Compound:
        token = self._peek()
        if token.kind == "operator" and token.text == "(":
            return self._compound(token, self._subshell)
        if token.kind == "word":
            reader = {
                "{": self._group,
                "if": self._if,
                "while": self._loop,
                "until": self._loop,
                "for": self._for,
                "select": self._for,
                "case": self._case,
                "[[": self._test,
                "function": self._function,
            }.get(token.text)
            if reader is not None:
                return self._compound(token, reader)
            if token.text in _CLOSING:
                raise NotUnderstood
        return self._simple()

    def _compound(self, first: _Token, reader: Callable[[], int]) -> Compound:
        self.depth += 1
        if self.depth > NESTING_LIMIT:
            raise NotUnderstood
        end = reader()
        self.depth -= 1
        while self._peek().kind == "redirect":
            end = self._redirect().target.end
        return Compound(first.text, first.start, end)

    def _subshell(self) -> int:
        start = self._take().start
        if self.text.startswith("((", start):
            self._ahead = None
            self.position = self.balanced(start)
            return self.position
        self._list()
        return self._expect(")").end

    def _group(self) -> int:
        self._take()
        self._list()
        return self._expect("}").end

    def _if(self) -> int:
        self._take()
        self._list(tested=True)
        self._expect("then")
        self._list()
        while self._peek().text == "elif":
            self._take()
            self._list(tested=True)
            self._expect("then")
            self._list()
        if self._peek().text == "else":
            self._take()
            self._list()
        return self._expect("fi").end

    def _loop(self) -> int:
        self._take()
        self._list(tested=True)
        return self._body()

    def _body(self) -> int:
        self._expect("do")
        self._list()
        return self._expect("done").end

    def _for(self) -> int:
        self._take()
        if self._peek().text == "(":
            self._subshell()
        else:
            self._word()
        while self._peek().text != "do" or self._peek().kind != "word":
            if self._peek().kind == "end" or self._peek().text in (")", "("):
                raise NotUnderstood
            self._take()
        return self._body()

    def _case(self) -> int:
        self._take()
        self._word()
        self._separators("")
        self._expect("in")
        self._separators("")
        while self._peek().text != "esac":
            if self._peek().text == "(":
                self._take()
            self._word()
            while self._peek().text == "|":
                self._take()
                self._word()
            self._expect(")")
            self._list()
            if self._peek().text in (";;", ";&", ";;&"):
                self._take()
                self._separators("")
        return self._expect("esac").end

    def _test(self) -> int:
        """``[[ ... ]]``, in which operators mean something else."""
        while True:
            token = self._take()
            if token.kind == "end":
                raise NotUnderstood
            if token.kind == "word" and token.text == "]]":
                return token.end

    def _function(self) -> int:
        self._take()
        self._word()
        if self._peek().text == "(":
            self._take()
            self._expect(")")
        self._separators("")
        return self._command().end

    def _simple(self) -> Command | Compound:
        words: list[Word] = []
        assignments: list[Word] = []
        redirects: list[Redirect] = []
        start = self._peek().start
        end = start
        while True:
            token = self._peek()
            if token.kind == "redirect":
                redirects.append(self._redirect())
                end = redirects[-1].target.end
                continue
            if token.word is None:
                break
            self._take()
            end = token.end
            if not words and _ASSIGNMENT.match(token.text):
                assignments.append(self._array(token.word))
                end = assignments[-1].end
            else:
                words.append(token.word)
            if len(words) == 1 and self._peek().text == "(" and self._peek().kind == "operator":
                return self._named(token)
        if not (words or assignments or redirects):
            raise NotUnderstood
        command = Command(
            tuple(words), tuple(assignments), tuple(redirects), start, end, self.depth
        )
        self.found.commands.append(command)
        return command

    def _named(self, name: _Token) -> Compound:
        """``name() command``."""
        self._take()
        self._expect(")")
        self._separators("")
        self.depth += 1
        end = self._command().end
        self.depth -= 1
        return Compound("function", name.start, end)

    def _array(self, word: Word) -> Word:
        """bash's ``name=(...)``; what is in it stays unread."""
        token = self._peek()
        if not word.text.endswith("=") or token.text != "(" or token.start != word.end:
            return word
        self._ahead = None
        self.position = end = self.balanced(token.start)
        text = self.text[word.start : end]
        return Word(text, text, word.start, end, literal=False)

    def _redirect(self) -> Redirect:
        token = self._take()
        target = self._word()
        if token.text in _HERE:
            self._bodies.append((target.value, token.text == "<<-"))
        return Redirect(token.text, target)

    # Tokens.

    def _word(self) -> Word:
        token = self._take()
        if token.word is None:
            raise NotUnderstood
        return token.word

    def _expect(self, text: str) -> _Token:
        token = self._take()
        if token.text != text or token.kind == "end":
            raise NotUnderstood
        return token

    def _peek(self) -> _Token:
        if self._ahead is None:
            self._ahead = self._token()
        return self._ahead

    def _take(self) -> _Token:
        token = self._peek()
        self._ahead = None
        if token.kind == "operator" and token.text == "\n":
            self._skip_bodies()
        return token

    def _token(self) -> _Token:
        text, start = self.text, self.position
        blanks = _BLANKS.match(text, start)
        if blanks is not None:
            start = blanks.end()
        comment = _COMMENT.match(text, start)
        if comment is not None:
            start = comment.end()
        if start >= len(text):
            self.position = start
            return _Token("end", "", start, start)
        for kind, pattern in (("redirect", _REDIRECT), ("operator", _OPERATOR)):
            match = pattern.match(text, start)
            if match is not None:
                self.position = match.end()
                written = match[1] or match[0] if kind == "redirect" else match[0]
                return _Token(kind, written, start, match.end())
        word = self.read_word(start)
        self.position = word.end
        return _Token("word", word.text, start, word.end, word)

    def _skip_bodies(self) -> None:
        """A line ends: the bodies of its here-documents follow; missing ones stand elsewhere."""
        for name, chomp in self._bodies:
            if name in self._missing:
                continue
            position = self.position
            while position < len(self.text):
                end = self.text.find("\n", position)
                end = len(self.text) if end < 0 else end
                line = self.text[position:end]
                position = end + 1
                if (line.lstrip("\t") if chomp else line) == name:
                    self.position = min(position, len(self.text))
                    break
            else:
                self._missing.add(name)
        self._bodies.clear()
