"""Every store keeps the contract of resolvers: memory, local files, and S3 as a server on this machine speaks it."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import fsspec
import pytest
from msgspec import structs
from orchestra.contracts import Source
from orchestra.errors import ResolveError
from orchestra.testing.resolvers import FakeRuns, HostileSourcesContract, ResolverContract

from orchestra_fsspec import FsspecResolver, Options, open_resolver, open_s3

DATA = b"1,2\n" * 50_000


def fsspec_source(value: str, base: Path, scheme: str = "fsspec") -> Source:
    return Source(scheme=scheme, value=value, base=base)


class TestMemory(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self):
        return partial(open_resolver, Options())

    @pytest.fixture
    def source(self, base):
        with fsspec.open("memory://bucket/data.csv", "wb") as file:
            file.write(DATA)
        return fsspec_source("memory://bucket/data.csv", base)

    @pytest.fixture
    def missing(self, base):
        return fsspec_source("memory://bucket/nope.csv", base)

    @pytest.fixture
    def hostile(self, base):
        values = (
            "",
            "data.csv",
            "memory://",
            "memory://a/..",
            "memory://a/.orchestra",
            "nosuch://a/b",
            "memory://a\0",
        )
        return [fsspec_source(value, base) for value in values]


class TestMemoryFolder(TestMemory):
    @pytest.fixture
    def source(self, base):
        for name in ("a.csv", "deep/b.csv"):
            with fsspec.open(f"memory://bucket/folder/{name}", "wb") as file:
                file.write(DATA)
        return fsspec_source("memory://bucket/folder", base)


class TestLocalFiles(TestMemory):
    @pytest.fixture
    def source(self, base):
        (base / "data.csv").write_bytes(DATA)
        return fsspec_source(f"file://{base}/data.csv", base)


@pytest.fixture(scope="session")
def s3():
    """The address of an S3 server with a bucket ``bucket``."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs moto and s3fs: {error}")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    storage = {
        "endpoint_url": f"http://{host}:{port}",
        "key": "test",
        "secret": "test",
        "client_kwargs": {"region_name": "us-east-1"},
    }
    system = s3fs.S3FileSystem(**storage)
    system.call_s3("create_bucket", Bucket="bucket")
    system.pipe("bucket/data.csv", DATA)
    system.pipe("bucket/folder/a.csv", b"a")
    system.pipe("bucket/folder/deep/b.csv", b"b")
    yield SimpleNamespace(storage=storage, system=system)
    server.stop()


class TestS3(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self, s3):
        return partial(open_s3, Options(storage=s3.storage))

    @pytest.fixture
    def source(self, base):
        return fsspec_source("//bucket/data.csv", base, "s3")

    @pytest.fixture
    def missing(self, base):
        return fsspec_source("//bucket/nope.csv", base, "s3")

    @pytest.fixture
    def hostile(self, base):
        values = ("", "//", "data.csv", "//bucket/..", "//nosuchbucket/x", "//bucket/a\n")
        return [fsspec_source(value, base, "s3") for value in values]


class TestS3Folder(TestS3):
    @pytest.fixture
    def source(self, base):
        return fsspec_source("//bucket/folder", base, "s3")


def resolve(value: str, into: Path, **options) -> Path:
    resolver = FsspecResolver(Options(**options))
    resolved = anyio.run(resolver.resolve, fsspec_source(value, into), into, FakeRuns({}))
    return into / resolved.paths[0]


def test_a_folder_of_s3_comes_with_all_below_it(s3, tmp_path):
    folder = resolve("s3://bucket/folder", tmp_path, storage=s3.storage)

    assert (folder / "a.csv").read_bytes() == b"a"
    assert (folder / "deep" / "b.csv").read_bytes() == b"b"


def test_a_key_that_leads_astray_is_refused(s3, tmp_path):
    s3.system.call_s3("put_object", Bucket="bucket", Key="evil/../../x", Body=b"x")
    s3.system.invalidate_cache()

    with pytest.raises(ResolveError):
        resolve("s3://bucket/evil", tmp_path, storage=s3.storage)
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_is_refused(tmp_path):
    with fsspec.open("memory://big/data.csv", "wb") as file:
        file.write(DATA)

    for url in ("memory://big/data.csv", "memory://big"):
        with pytest.raises(ResolveError, match="is larger than 10 bytes"):
            resolve(url, tmp_path, max_size=10)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_in_the_place_of_a_file_is_warned_of(tmp_path):
    def warnings(value, **more):
        source = structs.replace(fsspec_source(value, tmp_path), **more)
        return anyio.run(FsspecResolver(Options()).resolve, source, tmp_path, FakeRuns({})).warnings

    page = b"<!DOCTYPE html><html>Sign in, please.</html>"
    for name in ("data.csv", "page.html", "folder/data.csv"):
        with fsspec.open(f"memory://pages/{name}", "wb") as file:
            file.write(page)

    (warning,) = warnings("memory://pages/data.csv")
    assert "'memory://pages/data.csv' is a web page (HTML) and no .csv file" in warning
    assert warnings("memory://pages/page.html") == ()
    assert warnings("memory://pages/folder") == ()
    assert warnings("memory://pages/data.csv", sha256=hashlib.sha256(page).hexdigest()) == ()


def test_a_file_that_comes_short_is_refused(tmp_path, monkeypatch):
    with fsspec.open("memory://short/data.csv", "wb") as file:
        file.write(DATA)
    system = fsspec.filesystem("memory")
    info = type(system).info
    monkeypatch.setattr(
        type(system), "info", lambda self, path, **more: {**info(self, path, **more), "size": len(DATA) + 1}
    )

    with pytest.raises(ResolveError, match=r"bytes of '/short/data\.csv' came"):
        resolve("memory://short/data.csv", tmp_path)
    assert list(tmp_path.iterdir()) == []
