"""Killed while it provides what a run needs: nothing half made is to be seen, and whoever comes next goes on."""

from __future__ import annotations

import io
import signal
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builtin.rude_server import Asked, RudeServer, rude_server
from tests.faults.site import Site, kill, wait_for
from tests.process import Ran

KILLED = -signal.SIGKILL
POINTS = (
    "download.begun",
    "download.complete",
    "unpack.begun",
    "copy.begun",
    "copy.begun:kill9:4",
    "run.provided",
    "run.provided:kill9:2",
    "run.placed",
    "run.placed:kill9:2",
)
BIG = bytes(range(256)) * 12_000
FILES = {
    "web/one.bin": BIG[:200_000],
    "web/two.bin": BIG[1:300_000],
    "copied/a.bin": BIG,
    "copied/deep/b.bin": BIG[7:],
    "single.bin": BIG[3:],
}
SCRIPT = "import os\nprint(sorted(os.listdir('.')))\n"


class Place:
    """A project whose operation needs an archive of the web, a folder and a file."""

    def __init__(self, site: Site, server: RudeServer, folder: Path) -> None:
        self.site = site
        self.server = server
        self.project = folder / "project"
        (self.project / "data" / "deep").mkdir(parents=True)
        (self.project / "train.py").write_text(SCRIPT)
        (self.project / "data" / "a.bin").write_bytes(FILES["copied/a.bin"])
        (self.project / "data" / "deep" / "b.bin").write_bytes(FILES["copied/deep/b.bin"])
        (self.project / "single.bin").write_bytes(FILES["single.bin"])
        server.answers["/web.tar"] = lambda asked: asked.ranged(ARCHIVE)
        self.write("")

    def write(self, option: str) -> None:
        """Define the operation; ``option`` goes for each of its sources."""
        (self.project / "orchestra.yml").write_text(
            "train:\n  main: train\n  sourcecode: [train.py]\n  requires:\n"
            f"    - {{url: '{self.server.url}/web.tar'{option}}}\n"
            f"    - {{file: data, rename: copied{option}}}\n"
            f"    - {{file: single.bin{option}}}\n"
        )

    def run(self, *words: str, failpoint: str = "") -> Ran:
        environment = {"ORCHESTRA_FAILPOINT": failpoint} if failpoint else {}
        return self.site.shell.run("run", "-y", *words, cwd=self.project, **environment)

    def files(self, run_id: str) -> dict[str, bytes]:
        """What a person sees in a run's directory, but for the script."""
        directory = self.site.layout.directory_of(run_id)
        paths = (path for path in directory.rglob("*") if path.is_file())
        found = {str(path.relative_to(directory)): path.read_bytes() for path in paths}
        assert found.pop("train.py").decode() == SCRIPT
        return {path: content for path, content in found.items() if not path.startswith(".orchestra/")}

    def is_swept(self, run_id: str) -> bool:
        control = self.site.layout.control(self.site.layout.directory_of(run_id))
        return not any(".part" in path.name or path.name == "resolving" for path in control.rglob("*"))


def _archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("web/one.bin", "web/two.bin"):
            info = tarfile.TarInfo(name)
            info.size = len(FILES[name])
            archive.addfile(info, io.BytesIO(FILES[name]))
    return stream.getvalue()


ARCHIVE = _archive()


@pytest.fixture
def place(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with rude_server() as server:
        yield Place(site, server, tmp_path)


def strike(point: str) -> str:
    return point if ":" in point else f"{point}:kill9"


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_shows_only_whole_files_and_has_all_of_them_when_it_is_restarted(
    place: Place, point: str
) -> None:
    assert place.run("train", failpoint=strike(point)).code == KILLED
    (run,) = place.site.wait_for_rest()
    assert run.state == "aborted"
    found = place.files(run.id)
    assert found.items() <= FILES.items()
    assert place.is_swept(run.id)

    again = place.run("--restart", run.id)
    assert (again.code, "WARNING" in again.output) == (0, False), again.output
    assert place.files(run.id) == FILES
    assert place.is_swept(run.id)
    (run,) = place.site.runs()
    assert sorted(path for entry in run.resolved for path in entry.paths) == ["copied", "single.bin", "web"]

    assert place.run("train").code == 0
    _, other = place.site.runs()
    assert place.files(other.id) == FILES
    assert place.server.count("/web.tar") <= 2


@pytest.mark.parametrize("point", ["unpack.begun", "copy.begun:kill9:4", "run.placed:kill9:2"])
def test_staging_that_is_killed_leaves_no_staged_run_with_half_of_its_files(place: Place, point: str) -> None:
    assert place.run("train", "--stage", failpoint=strike(point)).code == KILLED
    (run,) = place.site.wait_for_rest()
    assert run.state == "aborted"
    assert place.files(run.id).items() <= FILES.items()
    assert place.is_swept(run.id)
    assert place.site.queue().code == 0
    assert place.site.executions() == []


@pytest.mark.parametrize("point", ["download.begun", "copy.begun", "run.placed"])
def test_a_queue_that_is_killed_leaves_the_run_staged_and_the_next_one_starts_it_with_all_its_files(
    place: Place, point: str
) -> None:
    place.write(", always-resolve: yes")
    assert place.run("train", "--stage").code == 0
    for entry in (place.site.home / "cache" / "urls").iterdir():
        (entry / "file.json").unlink()

    assert place.run("queue", "run-once=yes", failpoint=strike(point)).code == KILLED
    (run,) = place.site.wait_for_rest()
    assert run.state == "staged"
    assert place.files(run.id) == FILES
    assert place.is_swept(run.id)

    ended = place.run("queue", "run-once=yes")
    assert (ended.code, "WARNING" in ended.output) == (0, False), ended.output
    assert [run.state for run in place.site.runs()] == ["completed"]
    assert place.files(run.id) == FILES


def test_a_download_that_is_killed_at_any_byte_goes_on_from_there(place: Place) -> None:
    cut = len(ARCHIVE) // 3
    released = threading.Event()

    def stall(asked: Asked) -> None:
        if asked.number > 1:
            asked.ranged(ARCHIVE)
            return
        asked.head("200 OK", Content_Length=len(ARCHIVE), ETag='"1"')
        asked.send(ARCHIVE[:cut])
        released.wait(30)

    place.server.answers["/web.tar"] = stall
    process = place.site.shell.start("run", "-y", "train", cwd=place.project)
    place.site.processes.append(process)

    def has_come() -> int:
        return max((part.stat().st_size for part in place.site.home.rglob("cache/urls/*/part")), default=0)

    wait_for(lambda: has_come() == cut, "the first part")
    kill(process)
    released.set()
    (run,) = place.site.wait_for_rest()
    assert (run.state, place.files(run.id)) == ("aborted", {})

    assert place.run("train").code == 0
    other = place.site.runs()[-1]
    assert place.files(other.id) == FILES
    assert [asked.headers.get("range") for asked in place.server.asked] == [None, f"bytes={cut}-"]
