"""What people put on a run so as to find it again: its label, tags and comments."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from orchestra.engine.session import Session, hostname
from orchestra.model import flags as flag_rules
from orchestra.model.batch import flag_names
from orchestra.model.labels import unknown_in_label
from orchestra.model.operation import FlagValue
from orchestra.model.run import Comment, Run

if TYPE_CHECKING:
    from orchestra.engine.request import RunRequest
    from orchestra.engine.stage import Plan


def user_name() -> str:
    """Who we work for, as far as environment and system tell."""
    named = os.environ.get("USER") or os.environ.get("LOGNAME")
    if named:
        return named
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def comments_of(session: Session, text: str | None) -> tuple[Comment, ...]:
    """The comment that was given, as we are to be named below it; none if it is empty."""
    if text is None or not text.strip():
        return ()
    return (Comment(body=text, user=user_name(), host=hostname(), time=session.clock.now()),)


def marks_of_new(session: Session, request: RunRequest, planned: Plan) -> dict[str, Any]:
    """The fields of a new run. What is said of a run holds for the trials where it is a batch."""
    template = request.label if request.label is not None else planned.operation.label
    tags = tuple(dict.fromkeys((*request.tags, *planned.operation.tags)))
    comments = comments_of(session, request.comment)
    proto = planned.proto
    if proto is not None:
        comments = comments or (proto.comments if proto.batch_spec is None else proto.trial_comments)
    if planned.batch is None:
        label = _label(template, planned.flags, tags)
        return {"label": label, "label_template": template, "tags": tags, "comments": comments}
    own_tags, own_comments = request.batch_tags, comments_of(session, request.batch_comment)
    if proto is not None and proto.batch_spec is not None:
        own_tags, own_comments = own_tags or proto.tags, own_comments or proto.comments
    return {
        "label": _label(request.batch_label, planned.batch.options, own_tags) or None,
        "label_template": template,
        "tags": own_tags,
        "comments": own_comments,
        "trial_tags": tags,
        "trial_comments": comments,
    }


def warn_of_label(session: Session, request: RunRequest, planned: Plan) -> None:
    """Warn of what the label of a planned run refers to, and of its batch, that is no flag of theirs."""
    template = request.label if request.label is not None else planned.operation.label
    batch = planned.batch
    warn_of_names(session, (template,), planned.flags if batch is None else flag_names(batch))
    if batch is not None:
        warn_of_names(session, (request.batch_label,), batch.options)


def warn_of_names(session: Session, templates: Iterable[str | None], flags: Collection[str]) -> None:
    """Warn of each name in these templates of labels that is empty for want of such a flag."""
    for name in unknown_in_label(" ".join(template for template in templates if template), flags):
        message = f"there is no flag '{name}' for the label: nothing stands in the place of ${{{name}}}"
        if message not in session.warned:
            session.warned.add(message)
            session.emit("log.message", level="warning", message=message, logger="")


def marks_of_restart(
    session: Session, run: Run, request: RunRequest, flags: dict[str, FlagValue]
) -> dict[str, Any]:
    """The fields of ``run`` that the request replaces; with new ``flags`` the label is made anew."""
    is_batch = run.batch_spec is not None
    warn_of_names(session, (request.label,), flags if run.batch_spec is None else flag_names(run.batch_spec))
    changes: dict[str, Any] = {}
    if request.label is not None:
        changes["label_template"] = request.label
    if request.tags:
        changes["trial_tags" if is_batch else "tags"] = request.tags
    if comments := comments_of(session, request.comment):
        changes["trial_comments" if is_batch else "comments"] = comments
    if run.batch_spec is None:
        if changes.keys() & {"label_template", "tags"} or flags != run.flags:
            template = changes.get("label_template", run.label_template)
            changes["label"] = _label(template, flags, changes.get("tags", run.tags))
        return changes
    if request.batch_tags:
        changes["tags"] = request.batch_tags
    if request.batch_label is not None or request.batch_tags:
        tags = changes.get("tags", run.tags)
        changes["label"] = _label(request.batch_label, run.batch_spec.options, tags) or None
    if comments := comments_of(session, request.batch_comment):
        changes["comments"] = comments
    return changes


def _label(template: str | None, flags: dict[str, FlagValue], tags: tuple[str, ...]) -> str:
    return flag_rules.run_label(template, flags, tags, os.path.exists)
