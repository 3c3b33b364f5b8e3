"""Git URLs: any text is one, is none, or is a mistake that is told."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from builder.errors import BuildInputError
from builder.plan.sources import is_git
from builder.sources.credentials import Credentials
from builder.sources.git_url import parse_git_url
from builder.sources.public import public_url

NAMES = st.text("abcXYZ019-_.", min_size=1, max_size=8).filter(
    lambda text: not text.startswith(("-", ".")) and ".." not in text and text[-1] not in "./"
)
REFS = st.lists(NAMES.filter(lambda text: not text.endswith(".lock")), max_size=3).map("/".join)
SUBDIRS = st.lists(NAMES.filter(lambda text: text != ".git"), max_size=3).map("/".join)
ADDRESSES = st.sampled_from(
    ["https://h.example/a.git", "ssh://git@h.example:22/a", "git@h.example:a/b.git", "git://h/a"]
)


@given(ADDRESSES, REFS, SUBDIRS)
def test_what_is_written_is_what_is_read(address: str, ref: str, subdir: str) -> None:
    url = parse_git_url(f"{address}#{ref}:{subdir}")
    assert url is not None
    assert (url.remote, url.ref, url.subdir) == (address, ref, subdir)
    assert parse_git_url(str(url)) == url


@given(st.text(max_size=80))
@example("https://[::1/x.git")
@example("a@b:c?" + "&".join(["x"] * 99))
@example("https://h/a.git?" + "ref=a&" * 70)
def test_any_text_is_read_or_told(text: str) -> None:
    for candidate in (text, f"https://h.example/a.git{text}", f"git@h.example:{text}"):
        try:
            url = parse_git_url(candidate, local=True)
        except BuildInputError:
            continue
        if url is not None:
            assert not url.ref.startswith("-")
            assert ".." not in url.subdir.split("/")
            assert not url.subdir.startswith("/")


@given(st.text("abc:/@?#.git", max_size=40))
def test_the_planner_calls_git_what_is_parsed_as_git(text: str) -> None:
    try:
        parsed = parse_git_url(text) is not None
    except BuildInputError:
        parsed = True
    if parsed:
        assert is_git(text)


@given(st.text("ab12", min_size=1), st.text("cd34:", min_size=1))
def test_no_password_is_shown(user: str, password: str) -> None:
    secret = f"{user}:{password}pw"
    shown = public_url(f"https://{secret}@h.example/a.git#x@y")
    assert shown == "https://h.example/a.git#x@y"
    header = Credentials().for_git(f"https://{secret}@h.example/a.git")
    assert header is not None
    assert header.startswith("Basic ")
