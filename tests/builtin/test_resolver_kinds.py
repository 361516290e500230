"""The resolvers of configuration files and modules keep their contract, and what is particular to each."""

from __future__ import annotations

import configparser
import json
import sys
import tomllib
from functools import partial

import anyio
import pytest
import yaml

from orchestra.builtin import resolver_config, resolver_module
from orchestra.contracts import Source
from orchestra.errors import ResolveError
from orchestra.testing.resolvers import FakeRuns, HostileSourcesContract, ResolverContract


class TestConfig(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self):
        return partial(resolver_config.open_resolver, resolver_config.Options())

    @pytest.fixture
    def source(self, base):
        (base / "train.yml").write_text("lr: 0.1\n")
        return Source(scheme="config", value="train.yml", base=base, flags={"lr": 1})

    @pytest.fixture
    def missing(self, base):
        return Source(scheme="config", value="nope.yml", base=base)

    @pytest.fixture
    def hostile(self, base):
        (base / "bad.yml").write_text("a: [")
        (base / "list.yml").write_text("- 1")
        (base / "text.txt").write_text("")
        (base / "d.yml").mkdir()
        values = ("", ".", "..", "/", ".in", "a\0.yml", "bad.yml", "list.yml", "text.txt", "d.yml")
        return [Source(scheme="config", value=value, base=base) for value in values]


class TestModule(HostileSourcesContract, ResolverContract):
    provides_files = False

    @pytest.fixture
    def opener(self):
        return partial(resolver_module.open_resolver, resolver_module.Options())

    @pytest.fixture
    def source(self, base):
        return Source(scheme="module", value="json.decoder", base=base)

    @pytest.fixture
    def missing(self, base):
        return Source(scheme="module", value="no_such_module", base=base)

    @pytest.fixture
    def hostile(self, base):
        values = ("", ".", "..", "os;print", "-c", "a b", "x\0y")
        return [Source(scheme="module", value=value, base=base) for value in values]


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("c.yml", "model:\n  depth: 1\nlr: 0.1\nseed: 3\n", yaml.safe_load),
        ("c.json.in", '{"model": {"depth": 1}, "lr": 0.1, "seed": 3}', json.loads),
        ("c.toml", "lr = 0.1\nseed = 3\n[model]\ndepth = 1\n", tomllib.loads),
    ],
)
def test_params_and_then_flags_take_the_places_of_what_is_in_the_file(tmp_path, name, text, read):
    (tmp_path / name).write_text(text)
    (tmp_path / "into").mkdir()
    source = Source(
        scheme="config",
        value=name,
        base=tmp_path,
        params={"lr": 0.2, "model.depth": 2},
        flags={"model.depth": 5, "seed": None, "new.name": "x"},
    )
    resolved = anyio.run(resolver_config.ConfigResolver().resolve, source, tmp_path / "into", FakeRuns({}))

    assert resolved.paths == (name.removesuffix(".in"),)
    assert read((tmp_path / "into" / resolved.paths[0]).read_text()) == {
        "model": {"depth": 5},
        "lr": 0.2,
        "seed": 3,
        "new": {"name": "x"},
    }
    assert (tmp_path / name).read_text() == text


def test_an_ini_file_takes_values_by_section(tmp_path):
    (tmp_path / "c.ini").write_text("[model]\ndepth = 1\n")
    (tmp_path / "into").mkdir()
    source = Source(scheme="config", value="c.ini", base=tmp_path, flags={"model.depth": 5})
    anyio.run(resolver_config.ConfigResolver().resolve, source, tmp_path / "into", FakeRuns({}))

    parser = configparser.ConfigParser()
    parser.read(tmp_path / "into" / "c.ini")
    assert parser["model"]["depth"] == "5"


def test_a_module_that_fails_to_import_is_an_error_with_its_reason(tmp_path):
    source = Source(scheme="module", value="no_such_module", base=tmp_path)
    resolver = resolver_module.ModuleResolver(resolver_module.Options())

    with pytest.raises(ResolveError, match="'no_such_module' can't be imported: ModuleNotFoundError"):
        anyio.run(resolver.resolve, source, tmp_path, FakeRuns({}))


def test_a_module_is_looked_for_by_the_interpreter_of_the_operation(tmp_path):
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\necho 'OtherError: not here' >&2\nexit 1\n")
    other.chmod(0o755)
    source = Source(scheme="module", value="json", base=tmp_path, python=str(other))

    with pytest.raises(ResolveError, match="'json' can't be imported: OtherError: not here"):
        anyio.run(
            resolver_module.ModuleResolver(resolver_module.Options()).resolve, source, tmp_path, FakeRuns({})
        )
    # Who settles one for all knows better.
    settled = resolver_module.ModuleResolver(resolver_module.Options(python=sys.executable))
    assert anyio.run(settled.resolve, source, tmp_path, FakeRuns({})).origin == "json"
