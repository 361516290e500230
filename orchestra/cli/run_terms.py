"""The options that say on which terms a run is started, as data."""

from msgspec import structs

from orchestra.cli.run_options import Terms
from orchestra.engine.request import RunRequest
from orchestra.errors import UsageError
from orchestra.model.duration import parse_duration
from orchestra.model.resources import parse_resources
from orchestra.model.retry import Retry, parse_retry


def with_terms(request: RunRequest, terms: Terms) -> RunRequest:
    """``request`` with what ``terms`` say.

    Raises:
        UserError: an option has no meaning.
    """
    return structs.replace(
        request,
        resources=None if terms.resources is None else parse_resources(terms.resources),
        priority=terms.priority,
        after=terms.after,
        group=terms.group,
        time_limit=None if terms.time_limit is None else parse_duration(terms.time_limit),
        warning=terms.warn,
        retry=_retry(terms),
    )


def _retry(terms: Terms) -> Retry | None:
    if terms.retries is not None:
        return parse_retry(
            terms.retries,
            terms.retry_on or "any",
            parse_duration(terms.retry_delay) if terms.retry_delay else 0.0,
            terms.retry_scale or "",
        )
    for name in ("on", "delay", "scale"):
        if getattr(terms, f"retry_{name}") is not None:
            raise UsageError(f"--retry-{name} needs --retries: how often to try again")
    return None
