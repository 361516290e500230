"""The secrets that runs of a home need: each in a file of its own, found by the mark that stands for it in records.

``secrets/key`` makes marks that tell nothing of what they stand for; ``secrets/MARK/value`` is a secret, and beside it
is an empty file for each run that needs it. With the last of these runs it goes.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from msgspec import structs

from orchestra.errors import ResolveError
from orchestra.model.encoding import decode, encode
from orchestra.model.marks import MARK, NUMBER
from orchestra.model.redaction import MARKS
from orchestra.model.run import Run
from orchestra.workspace.durable import fail, make_dirs, sync_directories, write_atomic
from orchestra.workspace.orders import read_orders, write_orders

_KEY = "key"
_VALUE = "value"


class Vault:
    """Hides secrets, keeps them for runs, and tells them again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hidden: dict[str, str] = {}
        """By their marks, what was hidden or revealed by this process."""
        self._key: bytes | None = None

    def hide(self, secret: str) -> str:
        """The mark that stands for ``secret``. It can be revealed elsewhere once a run with it was kept.

        Raises:
            HomeError, StoreUnavailable: the home's key can't be read or written.
        """
        name = hmac.new(self._home_key(), secret.encode(errors="surrogatepass"), "sha256").hexdigest()[:12]
        self._hidden[name] = secret
        return MARK + name

    def keep(self, run: Run, *, fsync: bool) -> None:
        """Keep the secrets that ``run`` needs, for as long as it is there.

        Raises:
            HomeError, StoreUnavailable: they can't be written.
        """
        with self._locked():
            for name in self._names(run):
                place = self._folder / name
                make_dirs(place)
                if name in self._hidden and not (place / _VALUE).exists():
                    value = self._hidden[name].encode(errors="surrogatepass")
                    write_atomic(place / _VALUE, value, fsync=fsync)
                write_atomic(place / run.id, b"", fsync=False)
                if fsync:
                    sync_directories(place, self._folder)

    def revealed(self, run: Run) -> Run:
        """``run`` with its secrets, to be started. Never written down.

        Raises:
            ResolveError: one of them is not in this home.
        """
        if not self._names(run):
            return run
        run = _given(run)
        try:
            data = self._reveal(encode(run).decode(), lambda secret: json.dumps(secret)[1:-1])
        except KeyError as error:
            raise _missing(run, MARK + error.args[0]) from None
        clear = decode(data.encode(), Run)
        return structs.replace(clear, flags={name: _number(value) for name, value in clear.flags.items()})

    def revealed_text(self, text: str) -> str:
        """``text`` with the secrets that its marks stand for.

        Raises:
            ResolveError: one of them is not in this home.
        """
        try:
            return self._reveal(text, str) if MARK in text else text
        except KeyError:
            raise ResolveError("a secret that the run was made with is not in this home") from None

    def revealed_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values, and what is in them, as of :meth:`revealed_text`."""
        return {name: self._revealed_value(value) for name, value in values.items()}

    def concealed_texts(self, run: Run, texts: Iterable[str]) -> list[str]:
        """``texts`` with marks in the places of the secrets that ``run`` needs."""
        marks: dict[str, str] = {}
        for name in self._names(run):
            with suppress(KeyError):
                secret = self._secret(name).removeprefix(NUMBER)
                marks[secret] = marks[json.dumps(secret)[1:-1]] = MARK + name
        hidden: list[str] = []
        for text in texts:
            for secret in sorted(marks, key=len, reverse=True):
                text = text.replace(secret, marks[secret])
            hidden.append(text)
        return hidden

    def forget(self, run_id: str) -> None:
        """The run is gone: what no other run needs goes, too."""
        if not (self._folder / _KEY).exists():
            return
        with suppress(OSError), self._locked():
            for place in self._folder.iterdir():
                if place.name == _KEY or not (place / run_id).exists():
                    continue
                (place / run_id).unlink(missing_ok=True)
                if set(os.listdir(place)) <= {_VALUE}:
                    (place / _VALUE).unlink(missing_ok=True)
                    place.rmdir()

    def _names(self, run: Run) -> list[str]:
        return sorted(set(MARKS.findall(encode(_given(run)).decode())))

    def _reveal(self, text: str, form: Callable[[str], str]) -> str:
        return MARKS.sub(lambda found: form(self._secret(found[1])), text)

    def _revealed_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return _number(self.revealed_text(value))
        if isinstance(value, dict):
            return self.revealed_values(cast("dict[str, Any]", value))
        if isinstance(value, list | tuple):
            return [self._revealed_value(item) for item in cast("list[Any]", value)]
        return value

    def _secret(self, name: str) -> str:
        """What a mark stands for; KeyError if that is not known here."""
        if name not in self._hidden:
            try:
                value = (self._folder / name / _VALUE).read_bytes()
            except OSError:
                raise KeyError(name) from None
            self._hidden[name] = value.decode(errors="surrogatepass")
        return self._hidden[name]

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other processes from forgetting what is being kept."""
        self._home_key()
        with open(self._folder / _KEY, "rb") as key:
            fcntl.flock(key, fcntl.LOCK_EX)
            yield

    def _home_key(self) -> bytes:
        path = self._folder / _KEY
        try:
            if self._key is None and not path.exists():
                make_dirs(self._folder)
                os.chmod(self._folder, 0o700)
                fresh = path.with_name(f"{_KEY}.{os.getpid()}.{os.urandom(4).hex()}")
                write_atomic(fresh, os.urandom(32), fsync=True)
                # Whoever links first has made the home's key.
                with suppress(FileExistsError):
                    os.link(fresh, path)
                fresh.unlink()
            self._key = self._key or path.read_bytes()
        except OSError as error:
            fail(error, path)
        return self._key


def _number(value: Any) -> Any:
    """The number that a revealed secret is, if it is one."""
    is_number = isinstance(value, str) and value.startswith(NUMBER)
    return json.loads(value.removeprefix(NUMBER)) if is_number else value


def _given(run: Run) -> Run:
    """The run without what is made of what it was given: that may be older."""
    return structs.replace(run, label=None, command=())


def _missing(run: Run, mark: str) -> ResolveError:
    named = [
        name for name, value in {**run.environment, **run.flags}.items() if mark in encode(value).decode()
    ]
    what = f"the secret value of '{named[-1]}'" if named else "a secret"
    return ResolveError(
        f"{what} that run {run.id} was made with is not in this home",
        f"Give it again: 'orchestra run --restart {run.short_id} {named[-1] if named else 'NAME'}=VALUE'.",
    )


def conceal_orders(attempt_dir: Path, run: Run, vault: Vault) -> None:
    """Take the secrets out of orders that were followed: they are kept to tell what was started.

    Raises:
        RunBroken, StoreUnavailable, HomeError: they can't be read or written.
    """
    orders = read_orders(attempt_dir)
    if orders is None:
        return
    values = vault.concealed_texts(run, orders.environment.values())
    environment = dict(zip(orders.environment, values, strict=True))
    # With flags filled in they are no longer what the vault has.
    environment |= {
        name: text for name, text in run.operation.env.items() if MARK in text and name in environment
    }
    arguments = tuple(vault.concealed_texts(run, orders.arguments))
    hidden = structs.replace(orders, arguments=arguments, environment=environment)
    if hidden != orders:
        write_orders(attempt_dir, hidden)
