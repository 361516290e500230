"""What makes a fork of a warm interpreter the process of a script: all that a fresh interpreter would have."""

from __future__ import annotations

import gc
import io
import os
import sys
import time
from _frozen_importlib import BuiltinImporter  # pyright: ignore
from _frozen_importlib_external import SourceFileLoader  # pyright: ignore

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from orchestra.child import injection
else:
    import _signal

    import injection

PLACE = "/dev/null/script"
"""Stands in ``sys.path`` for the script's folder: nothing is ever found there."""


class Script:
    """A command of the interpreter, its first word of interest at ``first``: a script's path, or ``-m``.

    Raises:
        OSError: the script can't be read.
        SyntaxError, ValueError: it can't be compiled.
    """

    def __init__(
        self,
        arguments: list[bytes],
        first: int,
        environment: dict[bytes, bytes],
        injector: str,
        clean: dict[bytes, bytes],
        made: dict[bytes, bytes],
    ) -> None:
        self.command = [os.fsdecode(word) for word in arguments]
        self.words = self.command[first:]
        self.environment = dict(environment)
        for name, text in made.items():
            if environment.get(name) == clean.get(name):
                self.environment[name] = text
        self.cwd = os.getcwd()
        self.module = self.words[1] if self.words[0] == "-m" else ""
        self.injected = self.words[0] == injector
        self.code: Any = None
        if self.module:
            self.folder = self.cwd
        elif self.injected:
            path = self.words[1]
            self.folder = self.cwd if path == "-m" else os.path.dirname(os.path.realpath(path))
        else:
            path = self.words[0]
            self.folder = os.path.dirname(os.path.realpath(path))
            self.path = os.path.join(self.cwd, path) if sys.version_info >= (3, 9) else path
            with open(path, "rb") as file:
                source = file.read()
            self.code = compile(source, self.path, "exec", dont_inherit=True)

    @property
    def python_path(self) -> list[str]:
        """The folders that the environment puts before all but the script's, absolute."""
        if sys.flags.ignore_environment:
            return []
        text = os.fsdecode(self.environment.get(b"PYTHONPATH", b""))
        return [os.path.abspath(path) for path in text.split(os.pathsep)] if text else []

    def shadow(self, names: frozenset[str]) -> str:
        """A file of the script's own that an import would find instead of a module that is loaded."""
        folders = [] if getattr(sys.flags, "safe_path", False) else [self.folder]
        folders += [path for path in self.python_path if path not in sys.path]
        for folder in folders:
            try:
                entries = os.listdir(folder or ".")
            except OSError:
                continue
            for entry in entries:
                if entry.partition(".")[0] in names and _is_module(os.path.join(folder, entry)):
                    return entry
        return ""

    def begin(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Make this process the script's; what is to be called then."""
        set_environment(self.environment)
        self._set_system()
        _renew_streams()
        _renew_modules(self.cwd)
        gc.enable()
        main = self._main_module()
        injection.replace_main(main)
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(number, _signal.SIG_IGN)
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        if self.module:
            import runpy

            return runpy._run_module_as_main, (self.module,)  # pyright: ignore
        if self.injected:
            return injection.run, (self.words[1:], self.words[0])
        return exec, (self.code, vars(main))

    def _set_system(self) -> None:
        sys.argv[:] = ["-m", *self.words[2:]] if self.module else self.words
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[:] = self.command
        if PLACE in sys.path:
            at = sys.path.index(PLACE)
            sys.path[at] = self.folder
        else:
            at = -1
        first = list(dict.fromkeys(self.python_path))
        rest = [path for path in sys.path[at + 1 :] if path not in first]
        sys.path[at + 1 :] = first + rest
        # What was listed before the run may have changed since.
        sys.path_importer_cache.clear()

    def _main_module(self) -> ModuleType:
        before: Any = vars(sys.modules["__main__"])
        main = type(sys)("__main__")
        names: dict[str, Any] = {}
        if "__annotations__" in before:
            names["__annotations__"] = {}
        names["__builtins__"] = sys.modules["builtins"]
        if self.module:
            names["__loader__"] = BuiltinImporter
        else:
            path = self.words[0] if self.injected else self.path
            names["__file__"] = path
            if sys.version_info < (3, 15):
                names["__cached__"] = None
            names["__loader__"] = SourceFileLoader("__main__", path)
        for name, value in names.items():
            setattr(main, name, value)
        return main


def set_environment(environment: dict[bytes, bytes]) -> None:
    """Make the environment exactly this, in this order."""
    os.environb.clear()
    os.environb.update(environment)


def shadowable(modules: dict[str, ModuleType]) -> frozenset[str]:
    """The names of those loaded modules for which an import may find a file of a script's own."""
    names: set[str] = set()
    for name, module in modules.items():
        spec: Any = getattr(module, "__spec__", None)
        if name not in sys.builtin_module_names and getattr(spec, "origin", None) != "frozen":
            names.add(name.partition(".")[0])
    return frozenset(names - {"__main__"})


def changeable(modules: dict[str, ModuleType]) -> list[tuple[str, int, int]]:
    """The files of those modules that are not the standard library's, with time and size."""
    library = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
    found: list[tuple[str, int, int]] = []
    for module in modules.values():
        path: Any = getattr(module, "__file__", None)
        if not isinstance(path, str):
            continue
        if path.startswith(library) and "-packages" + os.sep not in path[len(library) :]:
            continue
        try:
            status = os.stat(path)
        except OSError:
            continue  # Of an archive.
        found.append((path, status.st_mtime_ns, status.st_size))
    return found


def changed(files: list[tuple[str, int, int]]) -> str:
    """The first of these that is no longer what it was; empty if all are."""
    for path, time_ns, size in files:
        try:
            status = os.stat(path)
        except OSError:
            return path
        if (status.st_mtime_ns, status.st_size) != (time_ns, size):
            return path
    return ""


def _is_module(path: str) -> bool:
    return path.endswith((".py", ".pyc", ".so")) or os.path.isfile(os.path.join(path, "__init__.py"))


def _renew_streams() -> None:
    """The standard streams for the files that are there now; the same objects, for imports may have kept them."""
    for fd, stream in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        text: Any = stream
        if text is None:
            continue
        buffer: Any = text.buffer
        unbuffered = isinstance(buffer, io.FileIO)
        settings: dict[str, Any] = {
            "encoding": text.encoding,
            "errors": text.errors,
            "newline": "\n",
            "line_buffering": text.line_buffering,
            "write_through": text.write_through,
        }
        # A new one, for the old one remembers whether its file could seek.
        raw: Any = io.FileIO(fd, "wb" if fd else "rb", closefd=False)
        raw.name = text.name
        if not unbuffered:
            size = os.fstat(fd).st_blksize
            buffer.__init__(raw, size if size > 1 else io.DEFAULT_BUFFER_SIZE)
        text.__init__(raw if unbuffered else buffer, **settings)


def _renew_modules(cwd: str) -> None:
    """What modules found out when they were imported, as an import now would find it.

    The module ``random`` sees to itself.
    """
    # Not a copy: to count one more reference to each module would copy the memory of all of them.
    loaded: dict[str, Any] = sys.modules
    if "numpy.random" in loaded:
        loaded["numpy.random"].seed()
    if "logging" in loaded:
        now = time.time_ns() if sys.version_info >= (3, 13) else time.time()
        loaded["logging"]._startTime = now
    if "multiprocessing.process" in loaded:
        process = loaded["multiprocessing.process"]
        process.ORIGINAL_DIR = cwd
        process.current_process().authkey = os.urandom(32)
