"""Placement of COPY and WORKDIR beyond the recorded cases; needs no root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.copying.owner import OwnerUnknownError
from builder.copying.plan import plan_copy, plan_workdir
from builder.copying.request import InlineSource
from builder.copying.selection import SourceUnknownError
from builder.copying.target import PlacementError
from builder.copying.tree import StageTree
from builder.errors import BuildInputError
from images.errors import ImagesError
from images.layers.merged import MergedTree
from tests.builder.copying_kit import (
    NOW,
    STANDARD,
    base,
    by_path,
    context,
    copied,
    lines,
    make,
    request,
)

PASSWD = "root:x:0:0::/:\n# note\nme:x:1001:1002::/:\nbroken:x\n77:x:88:99::/:\n"
GROUP = "root:x:0:\ngrp:x:2000:me\n"


def fault(
    kind: type[BuildInputError], root: Path, *args: object, **named: object
) -> BuildInputError:
    with pytest.raises(kind) as caught:
        copied(root, *args, **named)  # type: ignore[arg-type]
    return caught.value


class TestDestination:
    def test_relative_to_workdir(self, tmp_path: Path) -> None:
        assert copied(tmp_path, request("a.txt", to="x", workdir="/w")) == ["w/", "w/x=A"]

    @pytest.mark.parametrize("destination", ["/d/", "/d/.", "d/", "./d/"])
    def test_slash_or_dot_means_directory(self, tmp_path: Path, destination: str) -> None:
        assert copied(tmp_path, request("a.txt", to=destination)) == ["d/", "d/a.txt=A"]

    @pytest.mark.parametrize("destination", [".", "", "./"])
    def test_the_workdir_itself(self, tmp_path: Path, destination: str) -> None:
        wanted = request("a.txt", to=destination, workdir="/w")
        assert copied(tmp_path, wanted) == ["w/", "w/a.txt=A"]

    def test_above_the_root_is_the_root(self, tmp_path: Path) -> None:
        assert copied(tmp_path, request("a.txt", to="/../../x")) == ["x=A"]

    def test_links_are_followed_inside_the_root(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"l": "-> ../../../real/./deep", "m": "-> /l/n"})
        entries = plan_copy(request("a.txt", to="/m/f"), context(tmp_path), below)
        assert lines(entries) == ["real/", "real/deep/", "real/deep/n/", "real/deep/n/f=A"]

    def test_link_loops_are_an_error(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"a": "-> b", "b": "-> a"})
        with pytest.raises(PlacementError, match="too many levels"):
            plan_copy(request("a.txt", to="/a/f"), context(tmp_path), below)

    def test_existing_parents_keep_their_metadata(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"e/d/": None})
        os.chmod(f"{below.lowers[0]}/e", 0o2711)
        os.utime(f"{below.lowers[0]}/e/d", ns=(5, 5))
        entries = by_path(plan_copy(request("a.txt", to="/e/d/f"), context(tmp_path), below))
        assert list(entries) == ["e", "e/d", "e/d/f"]
        assert entries["e"].mode == 0o2711
        assert entries["e/d"].mtime == 5

    def test_new_parents_have_the_time_of_the_step(self, tmp_path: Path) -> None:
        entries = plan_copy(request("a.txt", to="/p/q/"), context(tmp_path), MergedTree([]))
        assert [entry.mtime for entry in entries][:2] == [NOW, NOW]

    def test_a_file_in_the_way_of_a_parent(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"f": ""})
        with pytest.raises(PlacementError, match="cannot create directory /f"):
            plan_copy(request("a.txt", to="/f/x"), context(tmp_path), below)

    def test_a_nested_link_is_not_followed(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"d/sub": "-> /etc", "etc/": None})
        with pytest.raises(PlacementError, match="non-directory: /d/sub"):
            plan_copy(request("dir", to="/d"), context(tmp_path), below)

    def test_a_nested_link_is_replaced_by_a_file(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"d/x": "-> /etc/passwd", "etc/passwd": "p"})
        entries = plan_copy(request("dir", to="/d"), context(tmp_path), below)
        assert "d/x=X" in lines(entries)
        assert "etc/passwd" not in by_path(entries)

    def test_a_file_onto_a_nested_directory(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"d/x/": None})
        with pytest.raises(PlacementError, match="cannot replace to directory /d/x with file"):
            plan_copy(request("dir", to="/d"), context(tmp_path), below)


class TestSources:
    def test_several(self, tmp_path: Path) -> None:
        wanted = request("dir", "a.txt", to="/d/")
        assert copied(tmp_path, wanted) == ["d/", "d/a.txt=A", "d/sub/", "d/sub/y=Y", "d/x=X"]

    def test_dot_dot_stops_at_the_root(self, tmp_path: Path) -> None:
        assert copied(tmp_path, request("../../../dir/../a.txt", to="/x")) == ["x=A"]

    def test_a_link_keeps_its_own_name(self, tmp_path: Path) -> None:
        assert copied(tmp_path, request("link", to="/d/")) == ["d/", "d/link=A"]

    def test_the_last_of_equal_names_wins(self, tmp_path: Path) -> None:
        files = {"p/f": "1", "q/f": "2"}
        assert copied(tmp_path, request("p", "q", to="/d"), files) == ["d/", "d/f=2"]

    @pytest.mark.parametrize("sources", [("a.txt", "b.txt"), ("*.txt",), ("a.txt", "a.txt")])
    def test_several_files_onto_one_name(self, tmp_path: Path, sources: tuple[str, ...]) -> None:
        error = fault(PlacementError, tmp_path, request(*sources, to="/d"))
        assert error.what.startswith("when using COPY with more than one source file, the dest")
        assert error.fix == "write /d/"

    def test_several_files_into_a_directory_without_slash(self, tmp_path: Path) -> None:
        wanted = request("a.txt", "b.txt", to="/d")
        entries = plan_copy(wanted, context(tmp_path), base(tmp_path, {"d/": None}))
        assert list(by_path(entries)) == ["d", "d/a.txt", "d/b.txt"]

    def test_one_heredoc_is_a_file(self, tmp_path: Path) -> None:
        wanted = request(to="/x", inline=(InlineSource("EOF", b"hi"),), chmod="600", chown="3:4")
        entry = plan_copy(wanted, context(tmp_path), MergedTree([]))[0]
        assert (entry.path, entry.mode, entry.uid, entry.gid, entry.size) == ("x", 0o600, 3, 4, 2)

    def test_heredocs_come_after_paths(self, tmp_path: Path) -> None:
        wanted = request("a.txt", to="/d/", inline=(InlineSource("a.txt", b"doc"),))
        assert copied(tmp_path, wanted) == ["d/", "d/a.txt=doc"]

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("*.txt", ["a.txt", "b.txt"]),
            ("[ab].txt", ["a.txt", "b.txt"]),
            ("[^a].txt", ["b.txt"]),
            ("?.txt", ["a.txt", "b.txt"]),
            ("**/x", ["x"]),
            ("di[r]/x", ["x"]),
            ("*/sub/*", ["y"]),
            ("dlink/*b", []),
            ("nope/*", []),
            ("li*", ["link"]),
        ],
    )
    def test_wildcards(self, tmp_path: Path, pattern: str, names: list[str]) -> None:
        files = {**STANDARD, "[x]": "W"}
        entries = plan_copy(request(pattern, to="/d/"), context(tmp_path, files), MergedTree([]))
        plain = [entry.path.removeprefix("d/") for entry in entries if entry.kind == "f"]
        if pattern == "dlink/*b":
            # The directory before the first wildcard is followed; "sub" is a directory of contents.
            names = ["y"]
        assert plain == names

    def test_escaped_wildcards_name_the_file(self, tmp_path: Path) -> None:
        files = {"w[0].txt": "W"}
        assert copied(tmp_path, request("w\\[0\\].txt", to="/x"), files) == ["x=W"]
        assert copied(tmp_path, request("w[[]0].txt", to="/d/"), files) == ["d/", "d/w[0].txt=W"]

    def test_a_malformed_wildcard(self, tmp_path: Path) -> None:
        assert (
            "syntax error in pattern: a["
            in fault(BuildInputError, tmp_path, request("a[", to="/")).what
        )

    def test_a_dangling_link_is_missing(self, tmp_path: Path) -> None:
        error = fault(SourceUnknownError, tmp_path, request("l", to="/"), {"l": "-> nope"})
        assert error.what.startswith('"/l": not found')

    def test_missing_in_a_stage(self, tmp_path: Path) -> None:
        stage = StageTree([make(tmp_path / "stage", {"usr/bin/app": ""})])
        with pytest.raises(SourceUnknownError) as caught:
            plan_copy(request("/usr/bin/apt", to="/"), stage, MergedTree([]))
        assert caught.value.what == '"/usr/bin/apt": not found in the stage or image'
        assert caught.value.fix == "did you mean /usr/bin/app?"

    def test_reserved_names_are_refused(self, tmp_path: Path) -> None:
        error = fault(PlacementError, tmp_path, request(".", to="/"), {"d/.wh.gone": ""})
        assert "mean deletions" in error.what

    def test_hard_links_of_one_source_stay_linked(self, tmp_path: Path) -> None:
        tree = context(tmp_path, {"d/one": "1", "d/three": "3"})
        os.link(f"{tree.root}/d/one", f"{tree.root}/d/two")
        entries = plan_copy(request("d", to="/d"), tree, MergedTree([]))
        assert lines(entries) == ["d/", "d/one=1", "d/three=3", "d/two => d/one"]

    def test_hard_links_of_different_sources_do_not(self, tmp_path: Path) -> None:
        tree = context(tmp_path, {"one": "1"})
        os.link(f"{tree.root}/one", f"{tree.root}/two")
        entries = plan_copy(request("one", "two", to="/d/"), tree, MergedTree([]))
        assert lines(entries) == ["d/", "d/one=1", "d/two=1"]

    def test_a_link_survives_the_loss_of_its_first_name(self, tmp_path: Path) -> None:
        tree = context(tmp_path, {"p/one": "1", "q/one": "other"})
        os.link(f"{tree.root}/p/one", f"{tree.root}/p/two")
        entries = plan_copy(request("p", "q", to="/d/"), tree, MergedTree([]))
        assert lines(entries) == ["d/", "d/one=other", "d/two=1"]


class TestFilters:
    def test_excluded_directory_with_an_exception(self, tmp_path: Path) -> None:
        wanted = request(".", to="/d", exclude=("dir", "!dir/sub/y", "*.txt", "*link", "empty"))
        assert copied(tmp_path, wanted) == ["d/", "d/dir/", "d/dir/sub/", "d/dir/sub/y=Y"]

    def test_waiting_directories_come_once(self, tmp_path: Path) -> None:
        files = {"a/b/1": "", "a/b/2": "", "a/c/3": ""}
        wanted = request(".", to="/", exclude=("a", "!a/b/*", "!a/c/3"))
        assert copied(tmp_path, wanted, files) == [
            "a/",
            "a/b/",
            "a/b/1=",
            "a/b/2=",
            "a/c/",
            "a/c/3=",
        ]

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("dir/sub/y", ["d/", "d/dir/", "d/dir/sub/", "d/dir/sub/y=Y"]),
            ("./dir/./sub/y", ["d/", "d/sub/", "d/sub/y=Y"]),
            ("dir/./sub", ["d/", "d/sub/", "d/sub/y=Y"]),
            ("**/y", ["d/", "d/dir/", "d/dir/sub/", "d/dir/sub/y=Y"]),
            ("*.txt", ["d/", "d/a.txt=A", "d/b.txt=B"]),
            ("nope/*", ["d/"]),
        ],
    )
    def test_parents(self, tmp_path: Path, source: str, expected: list[str]) -> None:
        assert copied(tmp_path, request(source, to="/d/", parents=True)) == expected

    @pytest.mark.parametrize("source", ["nope", "dir/nope", "nope/./x", "dir/./nope"])
    def test_parents_missing(self, tmp_path: Path, source: str) -> None:
        fault(SourceUnknownError, tmp_path, request(source, to="/d/", parents=True))

    def test_parents_leave_existing_directories_alone(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"dir/": None})
        os.chmod(f"{below.lowers[0]}/dir", 0o711)
        wanted = request("dir/sub/y", to="/", parents=True)
        assert by_path(plan_copy(wanted, context(tmp_path), below))["dir"].mode == 0o711


class TestMetadata:
    def test_chown_by_name(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"etc/passwd": PASSWD, "etc/group": GROUP})
        wanted = request("dir", to="/n/", chown="me:grp")
        entries = plan_copy(wanted, context(tmp_path), below)
        assert {(entry.uid, entry.gid) for entry in entries} == {(1001, 2000)}

    @pytest.mark.parametrize(
        "chown", ["ghost", "0:ghosts", "ghost:0", "-1", "4294967295", "1:x", "broken"]
    )
    def test_unknown_owners(self, tmp_path: Path, chown: str) -> None:
        below = base(tmp_path, {"etc/passwd": PASSWD, "etc/group": GROUP})
        with pytest.raises(OwnerUnknownError) as caught:
            plan_copy(request("a.txt", to="/n", chown=chown), context(tmp_path), below)
        assert "no matching entry in /etc/" in caught.value.what

    def test_passwd_through_a_link_stays_inside(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"etc/passwd": "-> ../../../../../../etc/passwd"})
        with pytest.raises(ImagesError, match="too many levels of symbolic links"):
            plan_copy(request("a.txt", to="/n", chown="daemon"), context(tmp_path), below)

    def test_linked_copies_know_no_names(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"etc/passwd": PASSWD})
        with pytest.raises(OwnerUnknownError, match="a linked copy cannot look up names"):
            plan_copy(request("a.txt", to="/n", chown="me", link=True), context(tmp_path), below)

    def test_linked_copies_do_not_see_the_base(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"real/": None, "l": "-> real", "d": "file"})
        wanted = request("a.txt", to="/l/f", link=True, chown="5")
        entries = plan_copy(wanted, context(tmp_path), below)
        assert [(entry.path, entry.uid, entry.gid) for entry in entries] == [
            ("l", 5, 5),
            ("l/f", 5, 5),
        ]

    def test_chmod_spares_links_and_the_destination(self, tmp_path: Path) -> None:
        entries = by_path(
            plan_copy(request(".", to="/n", chmod="700"), context(tmp_path), MergedTree([]))
        )
        assert entries["n"].mode == 0o755
        assert entries["n/dir"].mode == entries["n/a.txt"].mode == 0o700
        assert entries["n/link"].kind == "l"

    def test_the_top_directory_passes_its_time_only(self, tmp_path: Path) -> None:
        tree = context(tmp_path)
        os.chmod(f"{tree.root}/dir", 0o700)
        os.utime(f"{tree.root}/dir", ns=(7, 7))
        entry = by_path(plan_copy(request("dir", to="/o"), tree, MergedTree([])))["o"]
        assert (entry.mode, entry.mtime) == (0o755, 7)

    def test_entries_are_sorted_depth_first(self, tmp_path: Path) -> None:
        files = {"a/z": "", "a-b": "", "a.c": "", "a/b/c": ""}
        assert copied(tmp_path, request(".", to="/"), files) == [
            "a/",
            "a/b/",
            "a/b/c=",
            "a/z=",
            "a-b=",
            "a.c=",
        ]


class TestWorkdir:
    def test_missing_directories_belong_to_the_user(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"etc/passwd": PASSWD, "h/": None})
        entries = plan_workdir("/h/a/b", "me", below, created=NOW)
        assert [entry.path for entry in entries] == ["h", "h/a", "h/a/b"]
        assert {(entry.uid, entry.gid, entry.mode, entry.mtime) for entry in entries[1:]} == {
            (1001, 1002, 0o755, NOW)
        }

    @pytest.mark.parametrize(
        ("user", "owner"),
        [
            ("", (0, 0)),
            ("5", (5, 0)),
            ("1001", (1001, 1002)),
            ("5:6", (5, 6)),
            ("me:grp", (1001, 2000)),
        ],
    )
    def test_users(self, tmp_path: Path, user: str, owner: tuple[int, int]) -> None:
        below = base(tmp_path, {"etc/passwd": PASSWD, "etc/group": GROUP})
        entry = plan_workdir("/w", user, below, created=0)[0]
        assert (entry.uid, entry.gid) == owner

    def test_existing_directories_make_no_layer(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"e/": None, "l": "-> e"})
        assert plan_workdir("/l", "ghost", below, created=0) == []
        assert plan_workdir("/", "ghost", below, created=0) == []

    def test_dangling_links_are_filled(self, tmp_path: Path) -> None:
        below = base(tmp_path, {"l": "-> /new/place"})
        entries = plan_workdir("/l/w", "", below, created=0)
        assert lines(entries) == ["new/", "new/place/", "new/place/w/"]

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        with pytest.raises(PlacementError, match="cannot create directory /f"):
            plan_workdir("/f", "", base(tmp_path, {"f": ""}), created=0)
