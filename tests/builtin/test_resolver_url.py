"""A file of the web is whole and the one that was meant, or it is not provided at all."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from orchestra.builtin.resolver_url import Options, UrlResolver, open_resolver
from orchestra.builtin.url_address import file_name
from orchestra.contracts import Source
from orchestra.errors import ResolveError
from orchestra.model.dependencies import masked_url, split_source
from orchestra.testing.resolvers import FakeRuns, HostileSourcesContract, ResolverContract
from tests.builtin.rude_server import rude_server, slowly

DATA = bytes(range(256)) * 2000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server():
    with rude_server() as server:
        server.answers["/data.bin"] = lambda asked: asked.ranged(DATA)
        yield server


@pytest.fixture
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class TestUrl(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self, home):
        return partial(open_resolver, Options(home=home, retry_delay=0))

    @pytest.fixture
    def source(self, base, server):
        return Source(scheme="url", value=f"{server.url}/data.bin", base=base)

    @pytest.fixture
    def missing(self, base, server):
        return Source(scheme="url", value=f"{server.url}/nope", base=base)

    @pytest.fixture
    def hostile(self, base):
        values = (
            "",
            "file:///etc/passwd",
            "ftp://x/y",
            "http://",
            "http:///x",
            "http://[",
            "http://x:y/",
            "http://x/\n",
        )
        metadata = (
            "http://169.254.169.254/latest",
            "http://[fe80::1]/x",
            "http://[::ffff:169.254.169.254]/x",
        )
        return [Source(scheme="url", value=value, base=base) for value in (*values, *metadata)]


def resolve(home: Path, url: str, into: Path, sha256: str | None = None, **options) -> bytes:
    into.mkdir(exist_ok=True)
    resolver = UrlResolver(Options(**{"home": home, "retry_delay": 0, **options}))
    source = Source(scheme="url", value=url, base=into, sha256=sha256)
    resolved = anyio.run(resolver.resolve, source, into, FakeRuns({}))
    return (into / resolved.paths[0]).read_bytes()


def refused(home: Path, url: str, into: Path, match: str, **options) -> None:
    with pytest.raises(ResolveError, match=match):
        resolve(home, url, into, **options)
    assert list(into.iterdir()) == []
    assert not list((home / "cache" / "urls").glob("*/file/*"))


def test_what_is_in_the_cache_is_not_asked_for_again(server, home, tmp_path):
    for name in ("one", "two"):
        assert resolve(home, f"{server.url}/data.bin", tmp_path / name, SHA) == DATA

    assert server.count("/data.bin") == 1


def test_what_comes_is_written_and_synced_by_a_thread(server, home, tmp_path, monkeypatch):
    run_sync, threaded = anyio.to_thread.run_sync, []

    async def noted(function, *arguments, **options):
        threaded.append(function.__name__)
        return await run_sync(function, *arguments, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", noted)
    assert resolve(home, f"{server.url}/data.bin", tmp_path / "one") == DATA

    assert {"write", "_sync"} <= set(threaded)


def test_a_file_of_the_cache_that_was_changed_is_downloaded_again(server, home, tmp_path):
    resolve(home, f"{server.url}/data.bin", tmp_path / "one")
    (kept,) = (home / "cache" / "urls").glob("*/file/data.bin")
    kept.write_bytes(DATA[:-1] + b"x")

    assert resolve(home, f"{server.url}/data.bin", tmp_path / "two") == DATA


def test_a_file_that_was_changed_without_a_trace_is_found_out_by_its_digest(server, home, tmp_path):
    resolve(home, f"{server.url}/data.bin", tmp_path / "one")
    (kept,) = (home / "cache" / "urls").glob("*/file/data.bin")
    status = kept.stat()
    kept.write_bytes(DATA[:-1] + b"x")
    os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert resolve(home, f"{server.url}/data.bin", tmp_path / "two", SHA) == DATA


@pytest.mark.parametrize("cut", [0, 1, 4096, len(DATA) - 1])
@pytest.mark.parametrize("rude", [False, True])
def test_a_download_that_breaks_off_goes_on_where_it_was(server, home, tmp_path, cut, rude):
    def answer(asked):
        if asked.number > 1:
            asked.ranged(DATA)
            return
        asked.head("200 OK", Content_Length=len(DATA), ETag='"1"')
        asked.send(DATA[:cut])
        if rude:
            time.sleep(0.05)
            asked.reset()

    server.answers["/x"] = answer

    assert resolve(home, f"{server.url}/x", tmp_path / "into") == DATA
    if not rude and cut:
        assert server.asked[-1].begin == cut
        assert server.asked[-1].headers["if-range"] == '"1"'


def test_a_file_that_changes_while_it_is_resumed_comes_whole(server, home, tmp_path):
    new = DATA[::-1]

    def answer(asked):
        if asked.number > 1:
            asked.ranged(new, '"2"')
            return
        asked.head("200 OK", Content_Length=len(DATA), ETag='"1"')
        asked.send(DATA[:1000])

    server.answers["/x"] = answer

    assert resolve(home, f"{server.url}/x", tmp_path / "into") == new


@pytest.mark.parametrize(
    ("span", "etag"),
    [
        ("bytes 999-511999/512000", '"1"'),
        ("bytes 1000-511998/511999", '"1"'),
        ("bytes 1000-511999/512000", '"2"'),
    ],
)
def test_a_part_that_was_not_asked_for_is_never_used(server, home, tmp_path, span, etag):
    def answer(asked):
        if asked.number == 1:
            asked.head("200 OK", Content_Length=len(DATA), ETag='"1"')
            asked.send(DATA[:1000])
        elif "range" in asked.headers:
            asked.whole(b"y" * (len(DATA) - 1000), "206 Partial Content", ETag=etag, Content_Range=span)
        else:
            asked.whole(DATA)

    server.answers["/x"] = answer

    assert resolve(home, f"{server.url}/x", tmp_path / "into") == DATA


def test_a_part_that_can_not_be_told_is_not_resumed(server, home, tmp_path):
    def answer(asked):
        if asked.number == 1:
            asked.head("200 OK", Content_Length=len(DATA), ETag='W/"1"')
            asked.send(DATA[:1000])
        else:
            asked.whole(DATA)

    server.answers["/x"] = answer

    assert resolve(home, f"{server.url}/x", tmp_path / "into") == DATA
    assert "range" not in server.asked[-1].headers


def test_a_body_that_is_always_too_short_is_no_file(server, home, tmp_path):
    def answer(asked):
        asked.head("200 OK", Content_Length=len(DATA))
        asked.send(DATA[:-1])

    server.answers["/x"] = answer

    refused(home, f"{server.url}/x", tmp_path / "into", "can't be downloaded")
    assert server.count("/x") == 4


def test_a_chunked_body_that_breaks_off_is_no_file(server, home, tmp_path):
    def answer(asked):
        asked.head("200 OK", Transfer_Encoding="chunked")
        asked.send(b"5\r\nabcde\r\n")

    server.answers["/x"] = answer

    refused(home, f"{server.url}/x", tmp_path / "into", "can't be downloaded")


def test_another_digest_names_both_and_the_next_try_downloads_afresh(server, home, tmp_path):
    server.answers["/x"] = lambda asked: asked.whole(DATA if asked.number > 1 else b"other")
    got = hashlib.sha256(b"other").hexdigest()

    refused(home, f"{server.url}/x", tmp_path / "into", f"expected {SHA} but got {got}", sha256=SHA)
    assert resolve(home, f"{server.url}/x", tmp_path / "into", SHA) == DATA


@pytest.mark.parametrize(
    ("status", "tries"), [("401 No", 1), ("403 No", 1), ("404 No", 1), ("429 Slow", 4), ("500 Oh", 4)]
)
def test_only_what_may_pass_is_tried_again(server, home, tmp_path, status, tries):
    server.answers["/x"] = lambda asked: asked.whole(b"<html>", status)

    refused(home, f"{server.url}/x", tmp_path / "into", f"the server answers {status[:3]}")
    assert server.count("/x") == tries


def test_a_server_that_recovers_is_asked_again(server, home, tmp_path):
    server.answers["/x"] = lambda asked: asked.whole(DATA, "200 OK" if asked.number > 2 else "503 Busy")

    assert resolve(home, f"{server.url}/x", tmp_path / "into") == DATA


def redirect(to: str):
    return lambda asked: asked.whole(b"", "302 Found", Location=to)


def test_redirects_are_followed_and_loops_are_not(server, home, tmp_path):
    server.answers |= {"/x": redirect("/y"), "/y": redirect(f"{server.url}/data.bin"), "/l": redirect("/l")}

    assert resolve(home, f"{server.url}/x", tmp_path / "into") == DATA
    with pytest.raises(ResolveError, match="redirected more than 10 times"):
        resolve(home, f"{server.url}/l", tmp_path / "into")


@pytest.mark.parametrize(
    "to",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:{port}/secret",
        "http://localhost:{port}/secret",
        "http://0x7f.1:{port}/secret",
        "http://2130706433:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://[::ffff:127.0.0.1]:{port}/secret",
        "http://10.0.0.1/x",
        "http://192.168.0.1/x",
        "gopher://x",
    ],
)
def test_no_redirect_leads_into_a_private_network(server, home, tmp_path, to):
    with rude_server() as other:
        other.answers["/secret"] = lambda asked: asked.whole(b"secret")
        server.answers["/x"] = redirect(to.format(port=other.url.rpartition(":")[2]))

        refused(home, f"{server.url}/x", tmp_path / "into", "no public address|not an http|is not known")
        assert other.asked == []


def test_a_server_that_stalls_is_given_up(server, home, tmp_path):
    server.answers["/x"] = lambda asked: (asked.head("200 OK", Content_Length=5), time.sleep(0.5))[0]

    refused(home, f"{server.url}/x", tmp_path / "into", "can't be downloaded", stall_timeout=0.05)


def test_a_server_that_is_too_slow_is_given_up(server, home, tmp_path):
    server.answers["/x"] = slowly(b"x" * 100, 0.02)

    refused(home, f"{server.url}/x", tmp_path / "into", "took longer than 0.2 seconds", timeout=0.2)


def test_a_server_that_is_not_there_is_an_error(home, tmp_path):
    with rude_server() as server:
        url = server.url

    refused(home, f"{url}/x", tmp_path / "into", "can't be downloaded")


@pytest.mark.parametrize("declared", [True, False])
def test_a_file_that_is_too_large_is_refused(server, home, tmp_path, declared):
    def answer(asked):
        asked.head("200 OK", **({"Content-Length": len(DATA)} if declared else {}))
        asked.send(DATA)

    server.answers["/x"] = answer

    refused(home, f"{server.url}/x", tmp_path / "into", "is larger than 1000 bytes", max_size=1000)


def test_what_is_compressed_unasked_is_refused_unless_its_name_says_so(server, home, tmp_path):
    packed = gzip.compress(DATA)
    server.answers["/x.csv"] = lambda asked: asked.whole(packed, Content_Encoding="gzip")
    server.answers["/x.csv.gz"] = lambda asked: asked.whole(packed, Content_Encoding="gzip")

    refused(home, f"{server.url}/x.csv", tmp_path / "into", "compresses it")
    assert resolve(home, f"{server.url}/x.csv.gz", tmp_path / "into") == packed


PAGE = b"\xef\xbb\xbf\n<!-- e --><!DOCTYPE html><html><body>Sign in, please.</body></html>"


@pytest.mark.parametrize(
    ("name", "body", "warned"),
    [
        ("data.csv", PAGE, True),
        ("data.tar.gz", b"  <HTML lang=en>", True),
        ("data.svg", b"<?xml version='1.0'?>\n<html xmlns='x'>", True),
        ("data.svg", b"<?xml version='1.0'?>\n<svg/>", False),
        ("data.csv", b"a,b\n<html>,2\n", False),
        ("data.csv", b"", False),
        ("page.html", PAGE, False),
        ("page.php", PAGE, False),
        ("page", PAGE, False),
    ],
)
def test_a_web_page_in_the_place_of_a_file_is_warned_of_whenever_it_is_provided(
    server, home, tmp_path, name, body, warned
):
    server.answers[f"/{name}"] = lambda asked: asked.whole(body, Content_Type="application/octet-stream")
    source = Source(scheme="url", value=f"{server.url}/{name}?token=12345", base=tmp_path)
    server.answers[f"/{name}?token=12345"] = server.answers[f"/{name}"]
    resolver = UrlResolver(Options(home=home, retry_delay=0))
    for _ in range(2):  # downloaded, and from the cache
        resolved = anyio.run(resolver.resolve, source, tmp_path, FakeRuns({}))
        assert bool(resolved.warnings) is warned
        assert "12345" not in "".join(resolved.warnings)
        assert (tmp_path / name).read_bytes() == body


def test_a_web_page_whose_digest_is_the_one_that_was_asked_for_is_not_warned_of(server, home, tmp_path):
    server.answers["/data.csv"] = lambda asked: asked.whole(PAGE)
    digest = hashlib.sha256(PAGE).hexdigest()
    source = Source(scheme="url", value=f"{server.url}/data.csv", base=tmp_path, sha256=digest)
    resolver = UrlResolver(Options(home=home, retry_delay=0))

    assert anyio.run(resolver.resolve, source, tmp_path, FakeRuns({})).warnings == ()


def test_several_that_want_one_file_download_it_once(server, home, tmp_path):
    server.answers["/x"] = lambda asked: (time.sleep(0.2), asked.whole(DATA))[0]
    found: list[bytes] = []

    async def one(into: Path) -> None:
        into.mkdir()
        source = Source(scheme="url", value=f"{server.url}/x", base=into)
        await UrlResolver(Options(home=home)).resolve(source, into, FakeRuns({}))
        found.append((into / "x").read_bytes())

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(one, tmp_path / str(number))

    anyio.run(all_of_them)

    assert found == [DATA] * 8
    assert server.count("/x") == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/data.csv", "data.csv"),
        ("a/data.csv?x=/y", "data.csv"),
        ("", "download"),
        ("..%2f..%2fx", ".._.._x"),
        ("%2e%2e", "download"),
        (".orchestra", "download"),
        ("a%00b%0ac", "a_b_c"),
        ("d/", "d"),
        ("x" * 300 + ".csv", "x" * 196 + ".csv"),
    ],
)
def test_a_file_has_a_name_of_one_part(path, name):
    assert file_name(f"http://host/{path}") == name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:secret@host/x", "https://***@host/x"),
        ("https://host/x?a=1&X-Amz-Signature=abc&b=2", "https://host/x?a=1&X-Amz-Signature=***&b=2"),
        ("https://host/x?token=abc", "https://host/x?token=***"),
        ("https://host/x?page=2", "https://host/x?page=2"),
    ],
)
def test_secrets_in_addresses_are_not_shown(url, shown):
    assert masked_url(url) == shown


def test_a_web_address_needs_no_scheme_before_its_own():
    assert split_source("https://host/x") == ("url", "https://host/x")
    assert split_source("url:https://host/x") == ("url", "https://host/x")


def test_no_secret_is_in_a_message(server, home, tmp_path):
    url = server.url.replace("://", "://ada:secret@")

    with pytest.raises(ResolveError) as raised:
        resolve(home, f"{url}/nope", tmp_path / "into")
    assert "secret" not in raised.value.message


def test_no_secret_of_a_proxy_is_in_a_message(home, tmp_path, monkeypatch):
    with rude_server() as proxy:
        proxy.answers["http://files.invalid/data.bin"] = lambda asked: asked.whole(
            b"", "407 Proxy Authentication Required"
        )
        for address in (proxy.url, "http://127.0.0.1:1"):
            monkeypatch.setenv("http_proxy", address.replace("://", "://ada:secret@"))
            with pytest.raises(ResolveError) as raised:
                resolve(home, "http://files.invalid/data.bin", tmp_path / "into")
            assert "secret" not in f"{raised.value.message}{raised.value.hint}"
            assert "files.invalid/data.bin' can't be downloaded" in raised.value.message
        assert [asked.path for asked in proxy.asked] == ["http://files.invalid/data.bin"]


def test_a_file_that_the_disk_has_no_room_for_is_not_begun(server, home, tmp_path, monkeypatch):
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=(1 << 30) + len(DATA) - 1))
    refused(home, f"{server.url}/data.bin", tmp_path / "into", f"there is no room for the {len(DATA)} bytes")
    assert not list(home.rglob("part"))
