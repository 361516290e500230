"""Where a download may go: web addresses only, and never by a redirect into a private network."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from orchestra.errors import ResolveError
from orchestra.model.dependencies import masked_url

if TYPE_CHECKING:
    import httpx

_MAX_NAME = 200
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:]")
_RESERVED = ("", ".", "..", ".orchestra", ".guild")


def file_name(url: str) -> str:
    """The last part of the URL's path as the name of one file."""
    name = _UNSAFE.sub("_", unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]))
    if name in _RESERVED:
        return "download"
    encoded = name.encode()
    # The end tells what it is.
    return name if len(encoded) <= _MAX_NAME else encoded[-_MAX_NAME:].decode(errors="ignore")


def check_scheme(url: str) -> None:
    """Refuse what is no address of a file in the web.

    Raises:
        ResolveError: it isn't.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\x00-\x20\x7f]", url):
        raise ResolveError(f"{masked_url(url)!r} is not an http or https address")


async def checked_address(url: httpx.URL, *, named: httpx.URL) -> str | None:
    """The address to connect to, if it must be that one; None: whichever the host has.

    Where the project or a person named the host, it may be in a private network (but never be one that gives a
    machine its credentials). Where a redirect names it, it may not.

    Raises:
        ResolveError: it is none that may be asked, or not known.
    """
    is_named = (url.host, url.port) == (named.host, named.port)
    if getproxies() and not _is_literal(url.host):
        # The proxy looks it up: what we would find says nothing.
        return None
    addresses = await _addresses(url)
    for address in addresses:
        ip = ipaddress.ip_address(address.partition("%")[0])
        plain = getattr(ip, "ipv4_mapped", None) or ip
        if plain.is_link_local or (not is_named and not plain.is_global):
            raise ResolveError(
                f"it leads to '{url.host}', which is no public address",
                "Name that address itself in the project if it is meant.",
            )
    return None if is_named else addresses[0]


def _is_literal(host: str) -> bool:
    try:
        socket.inet_aton(host)
    except OSError:
        return ":" in host
    return True


async def _addresses(url: httpx.URL) -> list[str]:
    import anyio

    try:
        found = await anyio.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ResolveError(f"the host '{url.host}' is not known: {error}") from error
    return [entry[4][0] for entry in found]
