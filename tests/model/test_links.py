"""Where links lead is told by paths alone, and as a file system would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestra.model.links import (
    CIRCLE,
    ENDLESS,
    HOLDER,
    NOWHERE,
    OUT,
    Tree,
    direct,
    folder_above,
    keep_links,
)


def tree(**links: str) -> Tree:
    made = Tree()
    made.add("d/e/file", "file")
    made.add("plain", "file")
    for name, target in links.items():
        made.add(name.replace("_", "/"), "link", target)
    return made


@pytest.mark.parametrize(
    ("path", "target", "place"),
    [
        ("l", "plain", "plain"),
        ("l", "d/e", "d/e"),
        ("l", "./d//e/../e/file", "d/e/file"),
        ("d/l", "../plain", "plain"),
        ("d/l", "e/", "d/e"),
        ("l", "to-e/file", "d/e/file"),
        ("l", "to-e/../../plain", "plain"),
    ],
)
def test_a_link_leads_where_a_file_system_finds_it(
    tmp_path: Path, path: str, target: str, place: str
) -> None:
    found = tree()
    found.add("to-e", "link", "d/e")
    found.add(path, "link", target)
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/file").touch()
    (tmp_path / "plain").touch()
    (tmp_path / "to-e").symlink_to("d/e")
    (tmp_path / path).symlink_to(target)

    assert found.follow(path) == (place, None)
    assert os.path.realpath(tmp_path / path, strict=True) == str(tmp_path.resolve() / place)


@pytest.mark.parametrize(
    ("path", "target", "fault"),
    [
        ("l", "/plain", OUT),
        ("l", "..", OUT),
        ("l", "../root/plain", OUT),
        ("l", "to-d/../../plain", OUT),
        ("l", "", HOLDER),
        ("l", ".", HOLDER),
        ("d/e/l", "..", HOLDER),
        ("d/e/l", "../../to-d", HOLDER),
        ("l", "missing", NOWHERE),
        ("l", "plain/", NOWHERE),
        ("l", "plain/../d", NOWHERE),
        ("l", "l", CIRCLE),
        ("l", "x" * 5000, ENDLESS),
    ],
)
def test_what_no_archive_may_have_is_told(path: str, target: str, fault: str) -> None:
    found = tree()
    found.add("to-d", "link", "d")
    found.add(path, "link", target)

    assert found.follow(path).fault == fault


def test_a_link_through_one_that_is_left_out_becomes_a_direct_one() -> None:
    kept = keep_links(
        tree(),
        {
            "d/here": (".", "d"),
            "through": ("d/here/e/file", "d/e/file"),
            "again": ("through", "d/e/file"),
            "up": ("../x/plain", "plain"),
            "gone": ("left", "left"),
            "to-gone": ("gone", "left"),
            "other": ("plain", "d/e"),
        },
    )

    assert dict(kept) == {"through": "d/e/file", "again": "d/e/file", "up": "plain", "other": "d/e"}


def test_links_that_hang_on_one_another_are_dropped_together() -> None:
    found = tree(a="b", b="c", c="nothing", fine="plain")
    found.drop_faulty()

    assert dict(found.links) == {"fine": "plain"}
    assert found.kind("a") is None


def test_nothing_lies_below_what_is_no_folder() -> None:
    found = tree(l="d")

    assert found.add("l/x", "file") == "l"
    assert found.add("plain/x", "file") == "plain"
    assert found.add("d/x/y", "file") is None
    assert found.kind("d/x") == "folder"


@pytest.mark.parametrize(
    ("path", "target", "place"),
    [
        ("l", ".", ""),
        ("a/b/l", "..", "a"),
        ("a/b/l", "../..", ""),
        ("a/b/l", "../x/..", "a"),
        ("a/b/l", "../x", None),
        ("a/b/l", "../../..", None),
        ("l", "..", None),
        ("l", "/", None),
        ("l", "../other", None),
    ],
)
def test_which_folder_above_a_link_leads_to(path: str, target: str, place: str | None) -> None:
    assert folder_above(path, target) == place
    if place is not None:
        assert folder_above(path, direct(path, place)) == place
