"""The ``url`` resolver: a file of the web, downloaded once and kept in the home's cache."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from orchestra.builtin.url_address import check_scheme, checked_address, file_name
from orchestra.builtin.url_cache import Entry, Part, locked_entry
from orchestra.child.supervisor import failpoint
from orchestra.contracts import Resolved, Resolver, RunReader, Source
from orchestra.errors import ResolveError, text_of_os_error
from orchestra.model.dependencies import masked_url
from orchestra.placing.copying import copy_into, link_into
from orchestra.placing.steps import finish
from orchestra.placing.web_pages import page_warnings

if TYPE_CHECKING:
    import httpx

_TRIES: Final = 4
_REDIRECTS: Final = 10
_RESERVE: Final = 1 << 30
_SHOWN_EVERY: Final = 0.2


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How files are downloaded."""

    home: Path
    """What was downloaded is kept in its cache."""
    max_size: int = 20 << 30
    """Larger files (bytes) are refused."""
    connect_timeout: float = 10
    """Seconds until the server must have answered."""
    stall_timeout: float = 60
    """Seconds without a byte after which a download has failed."""
    timeout: float | None = None
    """Seconds for all of a download; None: as long as it takes."""
    retry_delay: float = 1
    """Seconds before the first of three more tries; each waits longer."""


class _Again(Exception):
    """It may work if tried again; ``after`` as many seconds as the server asks for."""

    def __init__(self, reason: str, after: float = 0) -> None:
        super().__init__(reason)
        self.after = after


class UrlResolver:
    """Provides ``url:ADDRESS`` under the last part of its path."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._cache = options.home / "cache" / "urls"

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`Resolver.resolve`. What is in the cache is not asked for again.

        Raises:
            ResolveError: it can't be had, is refused, or has another digest than it must have.
        """
        url = source.value
        check_scheme(url)
        name = file_name(url)
        expected = None if source.sha256 is None else source.sha256.strip().lower().removeprefix("sha256:")
        try:
            async with locked_entry(self._cache, url, name) as entry:
                digest = await entry.whole(expected)
                if digest is None:
                    digest = await self._download(entry, url, expected)
                if source.by_link:
                    link_into(entry.file, into / name)
                else:
                    await finish(copy_into(entry.file, into / name))
                warnings = page_warnings(entry.file, masked_url(url)) if expected is None else ()
        except OSError as error:
            raise ResolveError(f"it can't be kept: {text_of_os_error(error)}") from error
        return Resolved(
            paths=(name,),
            origin=masked_url(url),
            digest=f"sha256:{digest}",
            target="copy",
            warnings=warnings,
        )

    async def _download(self, entry: Entry, url: str, expected: str | None) -> str:
        import anyio

        with anyio.move_on_after(self._options.timeout) as scope:
            await self._fetch_whole(entry, url)
        if scope.cancelled_caught:
            raise ResolveError(f"'{masked_url(url)}' took longer than {self._options.timeout:g} seconds")
        return await entry.complete(expected, masked_url(url))

    async def _fetch_whole(self, entry: Entry, url: str) -> None:
        import anyio
        import httpx

        timeout = httpx.Timeout(self._options.stall_timeout, connect=self._options.connect_timeout)
        async with httpx.AsyncClient(timeout=timeout, follow_redirects=False) as client:
            for attempt in range(1, _TRIES + 1):
                try:
                    await self._fetch(client, entry, url)
                    return
                except (httpx.TransportError, _Again) as error:
                    reason = str(error) or type(error).__name__
                    if attempt == _TRIES or isinstance(error, httpx.UnsupportedProtocol):
                        raise ResolveError(f"'{masked_url(url)}' can't be downloaded: {reason}") from error
                    asked = error.after if isinstance(error, _Again) else 0
                    delay = self._options.retry_delay * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
                    await anyio.sleep(max(delay, min(asked, 60)))
                except httpx.InvalidURL as error:
                    raise ResolveError(f"'{masked_url(url)}' can't be downloaded: {error}") from error

    async def _fetch(self, client: httpx.AsyncClient, entry: Entry, url: str) -> None:
        """Ask once, and take what comes: all of it, or what is missing to a part."""
        facts = entry.part_facts()
        have = entry.part.stat().st_size if facts is not None else 0
        headers = {"Accept-Encoding": "identity"}
        if facts is not None and facts.validator is not None and have:
            headers |= {"Range": f"bytes={have}-", "If-Range": facts.validator}
        async with AsyncExitStack() as stack:
            response = await self._follow(client, stack, url, headers)
            if response.status_code == 416 or not _continues(response, have, facts):
                if response.status_code in (206, 416):
                    entry.drop_part()
                    raise _Again("the server sent another part than it was asked for")
                have = 0
                facts = Part(validator=_validator(response), total=_length(response))
                entry.begin_part(facts)
            self._check_room(url, facts.total if facts else None, entry.folder)
            await self._take(response, entry, have, facts)

    async def _follow(
        self, client: httpx.AsyncClient, stack: AsyncExitStack, url: str, headers: dict[str, str]
    ) -> httpx.Response:
        """The response that is no redirect, opened.

        Raises:
            ResolveError: it is a failure, or leads where it may not.
            _Again: it is a failure that may pass.
        """
        import httpx

        named = target = httpx.URL(url)
        for _ in range(_REDIRECTS + 1):
            request = await self._request(client, target, named, headers)
            response = await client.send(request, stream=True)
            if not response.has_redirect_location:
                stack.push_async_callback(response.aclose)
                _check_status(response, url)
                return response
            await response.aclose()
            target = target.join(response.headers["Location"])
            check_scheme(str(target))
        raise ResolveError(f"'{masked_url(url)}' is redirected more than {_REDIRECTS} times")

    async def _request(
        self, client: httpx.AsyncClient, target: httpx.URL, named: httpx.URL, headers: dict[str, str]
    ) -> httpx.Request:
        address = await checked_address(target, named=named)
        if address is None:
            return client.build_request("GET", target, headers=headers)
        # The address that was checked is the one that is asked, whatever the host's name stands for next.
        return client.build_request(
            "GET",
            target.copy_with(host=address),
            headers={**headers, "Host": target.netloc.decode("ascii").rpartition("@")[2]},
            extensions={"sni_hostname": target.host},
        )

    def _check_room(self, url: str, total: int | None, folder: Path) -> None:
        if total is not None and total > self._options.max_size:
            raise self._too_large(url)
        if total is not None and total > shutil.disk_usage(folder).free - _RESERVE:
            raise ResolveError(f"there is no room for the {total} bytes of '{masked_url(url)}'")

    def _too_large(self, url: str) -> ResolveError:
        return ResolveError(
            f"'{masked_url(url)}' is larger than {self._options.max_size} bytes",
            "Set 'max_size' of the resolver 'url' if that is fine.",
        )

    async def _take(self, response: httpx.Response, entry: Entry, have: int, facts: Part | None) -> None:
        import anyio.to_thread

        total = facts.total if facts is not None else None
        progress = _Progress(entry.file.name, total)
        try:
            with open(entry.part, "ab", buffering=0) as file:
                async for chunk in response.aiter_raw():
                    have += len(chunk)
                    if have > self._options.max_size:
                        raise self._too_large(str(response.url))
                    await anyio.to_thread.run_sync(file.write, chunk)
                    failpoint("download.begun")
                    progress.show(have)
        except ResolveError:
            entry.drop_part()
            raise
        finally:
            progress.clear()
        if total is not None and have != total:
            if have > total:
                entry.drop_part()
            raise _Again(f"{have} of {total} bytes came")


def _continues(response: httpx.Response, have: int, facts: Part | None) -> bool:
    """Whether the response is what is missing to the part that is there."""
    if response.status_code != 206 or facts is None:
        return False
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    wanted = (None, "*") if facts.total is None else (str(facts.total), "*")
    return (
        unit == "bytes"
        and span.partition("-")[0] == str(have)
        and (total in wanted or facts.total is None)
        and _validator(response) in (None, facts.validator)
    )


def _check_status(response: httpx.Response, url: str) -> None:
    code = response.status_code
    shown = f"{code} {response.reason_phrase}".strip()
    if code == 429 or code >= 500:
        raise _Again(f"the server answers {shown}", _retry_after(response))
    if code not in (200, 206, 416):
        raise ResolveError(f"'{masked_url(url)}' can't be downloaded: the server answers {shown}")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity") and not file_name(url).endswith(("gz", "bz2", "xz", "zst")):
        raise ResolveError(
            f"'{masked_url(url)}' can't be downloaded: the server compresses it ({encoding}), though it is asked not to"
        )


def _retry_after(response: httpx.Response) -> float:
    with suppress(ValueError):
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    return 0.0


def _validator(response: httpx.Response) -> str | None:
    """What tells whether the file is still the same; a weak one does not."""
    etag = response.headers.get("ETag")
    if etag is not None:
        return None if etag.startswith("W/") else etag
    return response.headers.get("Last-Modified")


def _length(response: httpx.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() else None


class _Progress:
    """How far a download is, on a terminal."""

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name if name.isprintable() else repr(name)
        self._of = "" if total is None else f" of {total / 1e6:,.1f}"
        self._shown = time.monotonic()
        self._width = 0
        self._wanted = sys.stderr.isatty()

    def show(self, size: int) -> None:
        now = time.monotonic()
        if not self._wanted or now - self._shown < _SHOWN_EVERY:
            return
        self._shown = now
        line = f"{self._name}  {size / 1e6:,.1f}{self._of} MB"
        self._width = max(self._width, len(line))
        sys.stderr.write(f"\r{line.ljust(self._width)}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._width:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()


@asynccontextmanager
async def open_resolver(options: Options) -> AsyncGenerator[Resolver]:
    """Open the url resolver."""
    yield UrlResolver(options)
