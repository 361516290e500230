"""Labels that are changed: the text, and what a restart with other flags makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from orchestra.model.label_edits import LabelEdit, edit_label, sync_label
from orchestra.model.labels import run_label
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, a_run

FLAGS: dict[str, Any] = {"lr": 0.1, "name": "x y"}


def labelled(template: str | None = None, *, tags: tuple[str, ...] = (), **flags: Any) -> Run:
    flags = flags or FLAGS
    return a_run(
        flags=flags, tags=tags, label_template=template, label=run_label(template, flags, tags, no_path)
    )


def no_path(_: str) -> bool:
    return False


def edited(run: Run, **edit: Any) -> Run:
    return edit_label(run, LabelEdit(**edit), no_path)


def restarted(run: Run, **flags: Any) -> str:
    """The label after a restart with other flags."""
    return run_label(run.label_template, {**run.flags, **flags}, run.tags, no_path)


@pytest.mark.parametrize(
    ("edit", "label", "later"),
    [
        ({"set": "best"}, "best", "best"),
        ({"set": "lr is ${lr}"}, "lr is 0.1", "lr is 0.5"),
        ({"set": "${lr|%.3f} ${name|unquote}"}, "0.100 x y", "0.500 x y"),
        ({"set": "[${label}]"}, "[lr=0.1 name='x y']", "[lr=0.5 name='x y']"),
        ({"set": "${default_label}"}, "lr=0.1 name='x y'", "lr=0.5 name='x y'"),
        ({"append": ("best",)}, "lr=0.1 name='x y' best", "lr=0.5 name='x y' best"),
        ({"prepend": ("a", "${lr}")}, "a 0.1 lr=0.1 name='x y'", "a 0.5 lr=0.5 name='x y'"),
        ({"remove": ("lr=0.1",)}, "name='x y'", "name='x y'"),
        ({"remove": ("lr=0.1 name='x y'",)}, "", ""),
        ({"remove": ("lr", "", "y")}, "lr=0.1 name='x y'", "lr=0.5 name='x y'"),
        ({"clear": True}, "", ""),
        ({"set": ""}, "", ""),
    ],
)
def test_a_label_is_changed_and_stays_so_when_flags_change(
    edit: dict[str, Any], label: str, later: str
) -> None:
    run = edited(labelled(), **edit)

    assert run.label == label
    assert restarted(run, lr=0.5) == later


def test_the_tags_of_a_default_label_stay_in_front() -> None:
    run = edited(labelled(tags=("a", "b"), lr=1), append=("z",))

    assert (run.label, restarted(run, lr=2)) == ("a b lr=1 z", "a b lr=2 z")


def test_words_are_removed_wherever_they_stand_as_a_whole() -> None:
    run = edited(labelled("one two onetwo one  two"), remove=("one two",))

    assert run.label == "onetwo"


def test_the_label_of_a_batch_is_not_that_of_its_trials() -> None:
    batch = a_run(kind="batch", batch_spec=a_batch(), label_template="trial ${lr}")

    assert edited(batch, set="sweep").label_template == "trial ${lr}"
    assert edited(batch, set="sweep").label == "sweep"
    assert edited(edited(batch, set="sweep"), clear=True).label is None


words = st.lists(st.sampled_from(["a", "b", "c", "lr=1", "${lr}"]), max_size=4).map(" ".join)


@given(template=st.none() | words, text=words, tags=st.lists(st.sampled_from(["a", "t"]), unique=True))
def test_what_was_appended_can_be_removed_and_a_restart_with_the_same_flags_changes_nothing(
    template: str | None, text: str, tags: list[str]
) -> None:
    run = labelled(template, tags=tuple(tags), lr=1)

    longer = edited(run, append=(f"<{text}>",))

    assert restarted(longer) == longer.label
    assert edited(longer, remove=(longer.label or "",)).label == ""
    assert edited(longer, remove=(f"<{text}>".replace("${lr}", "1"),)).label == " ".join(
        (run.label or "").split()
    )


# With tags


def test_a_default_label_gets_the_tags_that_a_run_would_have_begun_with() -> None:
    before = labelled(tags=("b",), lr=1)
    run = sync_label(structs.replace(before, tags=("a", "b")), before.tags, no_path)

    assert run.label == "a b lr=1"
    assert restarted(run, lr=2) == "a b lr=2"


def test_tags_are_put_before_a_chosen_label_and_taken_out_of_it() -> None:
    before = labelled("b my b label", tags=("b",))
    run = sync_label(structs.replace(before, tags=("a", "my")), before.tags, no_path)

    assert run.label == "a my label"
