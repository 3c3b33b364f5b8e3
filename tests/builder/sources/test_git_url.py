"""Git URLs: what is one, and what each of its forms means."""

from __future__ import annotations

import pytest

from builder.errors import BuildInputError
from builder.sources.git_url import GitUrl, parse_git_url

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "https://example.com/foo.git"

ACCEPTED = [
    (REPO, GitUrl(REPO)),
    (f"{REPO}#", GitUrl(REPO)),
    (f"{REPO}#main", GitUrl(REPO, "main")),
    (f"{REPO}#release/1.2", GitUrl(REPO, "release/1.2")),
    (f"{REPO}#main:docker", GitUrl(REPO, "main", "docker")),
    (f"{REPO}#baz/qux:quux/quuz", GitUrl(REPO, "baz/qux", "quux/quuz")),
    (f"{REPO}#:folder", GitUrl(REPO, "", "folder")),
    (f"{REPO}#main:/folder/", GitUrl(REPO, "main", "folder")),
    (f"{REPO}#main:./a//b", GitUrl(REPO, "main", "a/b")),
    (f"{REPO}#{COMMIT}", GitUrl(REPO, COMMIT)),
    (f"{REPO}?ref=v1", GitUrl(REPO, "v1")),
    (f"{REPO}?ref=v1&subdir=/sub", GitUrl(REPO, "v1", "sub")),
    (f"{REPO}?subdir=/sub#v1", GitUrl(REPO, "v1", "sub")),
    (f"{REPO}?ref=v1#v1:sub", GitUrl(REPO, "v1", "sub")),
    (f"{REPO}?tag=v1", GitUrl(REPO, "refs/tags/v1")),
    (f"{REPO}?tag=refs/tags/v1", GitUrl(REPO, "refs/tags/v1")),
    (f"{REPO}?branch=v1", GitUrl(REPO, "refs/heads/v1")),
    (f"{REPO}?checksum=0123", GitUrl(REPO, checksum="0123")),
    (f"{REPO}?commit={COMMIT}&tag=v1", GitUrl(REPO, "refs/tags/v1", checksum=COMMIT)),
    (f"{REPO}?keep-git-dir=true", GitUrl(REPO, keep_git_dir=True)),
    (f"{REPO}?keep-git-dir", GitUrl(REPO, keep_git_dir=True)),
    (f"{REPO}?keep-git-dir=0", GitUrl(REPO, keep_git_dir=False)),
    (f"{REPO}?submodules=false", GitUrl(REPO, submodules=False)),
    (f"{REPO}?mtime=commit", GitUrl(REPO, mtime="commit")),
    (
        f"{REPO}?fetch-by-commit=true&checksum={COMMIT}",
        GitUrl(REPO, checksum=COMMIT, fetch_by_commit=True),
    ),
    ("http://example.com/foo.git", GitUrl("http://example.com/foo.git")),
    ("HTTPS://example.com/foo.git", GitUrl(REPO)),
    ("https://user:pw@example.com/foo.git", GitUrl("https://user:pw@example.com/foo.git")),
    ("git://example.com/foo", GitUrl("git://example.com/foo")),
    ("ssh://git@example.com:22/foo#x", GitUrl("ssh://git@example.com:22/foo", "x")),
    ("git@example.com:foo/bar", GitUrl("git@example.com:foo/bar")),
    ("git@example.com:foo/bar.git#v1:sub", GitUrl("git@example.com:foo/bar.git", "v1", "sub")),
    ("git@example.com:foo.git?subdir=sub#v1", GitUrl("git@example.com:foo.git", "v1", "sub")),
]
FOREIGN = [
    "https://example.com/",
    "https://example.com/foo",
    "https://example.com/foo.git/",
    "https://example.com/foo.git.bar",
    "https://example.com/foo?x=.git",
    "custom.example/foo/bar.git",
    "github.com/foo/bar",
    "file:///srv/foo.git",
    "ext::sh -c id",
    "./foo.git",
    "../foo.git",
    ".git",
    ".",
    "/srv/foo.git",
    "-",
    "host:path",
    "https://[bad/foo.git",
]
REFUSED = [
    (f"{REPO}?ref=v1#v2", 'ref conflicts: "v2" vs "v1"'),
    (f"{REPO}?ref=v1&tag=v2", "ref conflicts"),
    (f"{REPO}?tag=v1&branch=v1", "ref conflicts"),
    (f"{REPO}?ref=v1&ref=v2", 'query "ref" has multiple values'),
    (f"{REPO}?ref=", 'query "ref" has no value'),
    (f"{REPO}?subdir=a#v1:b", 'subdir conflicts: "b" vs "a"'),
    (f"{REPO}?unknown=x", 'unexpected query "unknown"'),
    (f"{REPO}?checksum=xyz", "is not a commit"),
    (f"{REPO}?checksum=12&commit=34", "checksum conflicts"),
    (f"{REPO}?submodules=maybe", "neither true nor false"),
    (f"{REPO}?mtime=now", 'unknown mtime "now"'),
    (f"{REPO}?fetch-by-commit=true", "needs checksum="),
    (f"{REPO}#main:../up", "is not a directory inside the repository"),
    (f"{REPO}#main:.git/hooks", "is not a directory inside the repository"),
    (f"{REPO}#--upload-pack=id", "is not a ref"),
    (f"{REPO}#a..b", "is not a ref"),
    (f"{REPO}#a b", "is not a ref"),
    (f"{REPO}#a%0ab", "is not a ref"),
    ("ssh://-oProxyCommand=id/x", "its address holds"),
    ("https://example.com/a b.git", "its address holds what no address does"),
]


def _index(rows: list[tuple[str, object]]) -> list[str]:
    return [str(number) for number in range(len(rows))]


@pytest.mark.parametrize(("text", "expected"), ACCEPTED, ids=_index([*ACCEPTED]))
def test_every_form_is_understood(text: str, expected: GitUrl) -> None:
    assert parse_git_url(text) == expected


@pytest.mark.parametrize("text", FOREIGN)
def test_the_rest_is_no_git_url(text: str) -> None:
    assert parse_git_url(text) is None


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=_index([*REFUSED]))
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(BuildInputError) as caught:
        parse_git_url(text)
    assert message in caught.value.what


def test_only_the_builder_may_use_short_forms_and_files() -> None:
    short = parse_git_url("github.com/foo/bar#main", local=True)
    assert short == GitUrl("https://github.com/foo/bar", "main")
    assert parse_git_url("file:///srv/a.git", local=True) == GitUrl("file:///srv/a.git")


def test_a_file_url_has_no_host() -> None:
    with pytest.raises(BuildInputError, match="begins with file:///"):
        parse_git_url("file://srv/a.git", local=True)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(BuildInputError) as caught:
        parse_git_url("https://user:hunter2@example.com/foo.git?x=1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "commit"),
    [
        (f"{REPO}#{COMMIT}", COMMIT),
        (f"{REPO}?commit={COMMIT}#main", ""),
        (f"{REPO}?commit={COMMIT}&fetch-by-commit=true", COMMIT),
        (f"{REPO}#main", ""),
    ],
)
def test_a_commit_that_the_url_settles(text: str, commit: str) -> None:
    url = parse_git_url(text)
    assert url is not None
    assert url.commit == commit
