"""Tell a web page that came in the place of a file: a server's error or login, answered as if all were well."""

from __future__ import annotations

import re
from pathlib import Path

_LOOKED_AT = 1024
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|<!--.*?-->|<\?xml.*?\?>)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_MAY_BE_PAGES = frozenset(
    (
        "asp",
        "aspx",
        "cgi",
        "htm",
        "html",
        "j2",
        "jinja",
        "jinja2",
        "jsp",
        "md",
        "php",
        "shtml",
        "tmpl",
        "tpl",
        "vue",
        "xhtml",
    )
)


def page_warnings(path: Path, shown: str) -> tuple[str, ...]:
    """What to warn of if the file ``path`` is a web page, and its name promises something else.

    Args:
        path: of the file, under the name that it was asked for by.
        shown: how messages name where it came from.

    Raises:
        OSError: it can't be read.
    """
    ending = path.suffix[1:].lower()
    if not ending or ending in _MAY_BE_PAGES or not path.is_file():
        return ()
    with open(path, "rb", buffering=0) as file:
        if _PAGE.match(file.read(_LOOKED_AT)) is None:
            return ()
    return (
        f"'{shown}' is a web page (HTML) and no .{ending} file: it may be the message of an error. "
        "Look at it, and give the file's sha256 to be sure.",
    )
