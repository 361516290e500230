"""Options that Guild or a verb like this one has: refused with what to do instead, never read as something else."""

from __future__ import annotations

import pytest

from orchestra.cli import app
from orchestra.cli.not_here import instead_of
from tests.cli.conftest import Call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "--tool", "hiplot"), "runs are compared by no other tool"),
        (("runs", "info", "--plugins"), "runs have no data of plugins"),
        (("tag", "--remove", "x", "1"), "tags are taken away with --delete"),
        (("runs", "comment", "--remove", "1"), "comments are deleted with --delete, by their number"),
        (("label", "--delete", "x"), "words are taken out of a label with --remove"),
        (("archive", "old", "-c"), "-c stood for two options"),
        (("run", "train.py", "--remote", "gpu", "-y"), "there are no remotes"),
        (("run", "train.py", "-y", "--break", "12"), "there is no option to set breakpoints"),
        (
            ("check", "--tensorflow"),
            "what can be checked always is: 'orchestra check' has no option for parts of it",
        ),
    ],
)
def test_an_option_that_is_elsewhere_is_refused_with_what_to_do_instead(
    call: Call, arguments: tuple[str, ...], message: str
) -> None:
    refused = call(*arguments)

    assert (refused.code, refused.output) == (2, "")
    assert refused.error.splitlines()[0] == f"orchestra: {message}"


def test_any_other_unknown_option_is_told_as_such(call: Call) -> None:
    assert call("runs", "--nonsense").error.startswith("orchestra: unknown option: --nonsense")
    assert call("run", "train.py", "-y", "--nonsense", "--", "--remote").error.startswith(
        "orchestra: unknown option: --nonsense"
    )


@pytest.mark.parametrize("verb", list(app.VERBS))
def test_nothing_is_refused_in_this_way_that_the_verb_has(verb: str) -> None:
    from orchestra.cli.completing import options_of

    names = [name for option in options_of(verb) for name in option.names if name.startswith("-")]
    assert [name for name in names if instead_of(verb, [name])] == []
