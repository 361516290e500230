"""Crates pass the validator of the Workflow Run RO-Crate profiles. It is not installed everywhere: see .ci/run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.cli.test_ro_crate import SCRIPT

services = pytest.importorskip("rocrate_validator.services")
rocrate = pytest.importorskip("rocrate")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""Of the libraries that the validator is made of."""

CHANGED = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}
"""What version 1.1 of the context has otherwise than the one that the library brings along."""
PIPELINE = """\
- operations:
    both:
      steps:
        - run: train lr=0.3
        - run: train lr=0.4
    train:
      main: train
      flags-import: all
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The context is had from what is installed, and all else is not to be had."""
    import requests
    from rocrate_validator.utils import http

    bundled = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text())
    bundled["@context"].update(CHANGED)

    def get(_: Any, url: str, **__: Any) -> Any:
        answer = requests.Response()
        answer.status_code = 200 if url == "https://w3id.org/ro/crate/1.1/context" else 404
        answer._content = json.dumps(bundled).encode()
        answer.headers["Content-Type"] = "application/ld+json"
        answer.url = url
        return answer

    monkeypatch.setattr(http.HttpRequester, "get", get, raising=False)


def failed(crate: Path, profile: str) -> list[str]:
    """What the validator misses of the profile's requirements."""
    from rocrate_validator import models

    settings = services.ValidationSettings(
        rocrate_uri=str(crate),
        profile_identifier=profile,
        requirement_severity=models.Severity.REQUIRED,
        no_cache=True,
    )
    return [
        f"{issue.message} ({issue.violatingEntity})" for issue in services.validate(settings).get_issues()
    ]


@pytest.mark.parametrize(
    ("words", "profile"),
    [
        (("train.py", "lr=0.5"), "workflow-run-crate"),
        (("train.py", "lr=[0.1,0.2]"), "provenance-run-crate"),
        (("both",), "provenance-run-crate"),
    ],
)
def test_a_crate_meets_every_requirement_of_its_profile(
    call: Call, tmp_path: Path, words: tuple[str, ...], profile: str
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "orchestra.yml").write_text(PIPELINE)
    assert call("run", *words, "--run-id", "aaa", "--tag", "t", "--comment", "c", "-y").code == 0
    assert call("export", "crate", "aaa", "--ro-crate", "-y").code == 0
    assert failed(tmp_path / "crate", profile) == []


def test_the_validator_would_tell(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    assert call("run", "train.py", "--run-id", "aaa", "-y").code == 0
    assert call("export", "crate", "aaa", "--ro-crate", "-y").code == 0
    path = tmp_path / "crate" / "ro-crate-metadata.json"
    path.write_text(path.read_text().replace('"instrument"', '"about"'))
    assert any("instrument" in issue for issue in failed(tmp_path / "crate", "workflow-run-crate"))
