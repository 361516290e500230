"""The options that say on which terms a run is started, as data."""

from msgspec import structs

from orchestra.cli.run_options import Terms
from orchestra.engine.request import RunRequest
from orchestra.engine.terms import terms_said
from orchestra.model.term_words import WORDS, terms_of_words


def with_terms(request: RunRequest, terms: Terms) -> RunRequest:
    """``request`` with what ``terms`` say.

    Raises:
        UserError: an option has no meaning.
    """
    given = {name: getattr(terms, name.replace("-", "_")) for name in WORDS}
    words = {name: str(value) for name, value in given.items() if value is not None}
    return structs.replace(request, after=terms.after, **terms_said(terms_of_words(words)))
