"""How a fork of a warm interpreter ends: without unloading what it did not load.

An interpreter that ends unloads all its modules, and in a fork that copies most of what was shared: it takes longer
than many a script. So a fork ends by itself what began in it, in the interpreter's own order: threads and exit
handlers (the interpreter has seen to them when we are called), the standard streams, the script's modules and what
only they hold, the C library's exit handlers. Is there anything for which that may not be all, the interpreter does
the rest, as ever.

Source of the order: CPython, ``Py_FinalizeEx`` and ``finalize_modules``.
"""

from __future__ import annotations

import _weakref
import atexit
import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orchestra.child import supervisor
else:
    import supervisor

_TAKEN_FIRST = (
    "path",
    "argv",
    "ps1",
    "ps2",
    "last_exc",
    "last_type",
    "last_value",
    "last_traceback",
    "path_hooks",
    "path_importer_cache",
    "meta_path",
    "__interactivehook__",
)
"""What of ``sys`` is None for all that is deleted while an interpreter ends."""


class End:
    """The end of this process, once it is a script's. Made before anything is imported that has an exit handler."""

    def __init__(self) -> None:
        self.code: int | None = None
        """What to exit with; None: that is for the interpreter to say."""
        self._before: frozenset[str] = frozenset()
        self._handlers = 0
        self._is_file = False
        self._exit = _c_exit()
        # The first that is registered is the last that is called.
        atexit.register(self._at_exit)

    def loaded(self) -> None:
        """The libraries are loaded: none of theirs may have something to do when it is unloaded."""
        if _held():
            self._exit = None

    def begin(self, is_file: bool) -> None:
        """What comes from now on is the script's: one that is run as a file, or a module."""
        self._is_file = is_file
        self._before = frozenset(sys.modules) - {"__main__", "__mp_main__"}
        self._handlers = _exit_handlers()

    def note(self, error: BaseException | None) -> None:
        """The script has ended, by itself or with an error."""
        if self._is_file:
            # As the interpreter does it with a file, whatever comes of it.
            for stream in (sys.stderr, sys.stdout):
                try:
                    stream.flush()
                except Exception:
                    continue  # It may be the script's own, which can raise anything.
        if error is None or type(error) is SystemExit:
            code: Any = None if error is None else error.code
            if code is None:
                self.code = 0
            elif type(code) is int and abs(code) < 1 << 31:
                self.code = code

    def _at_exit(self) -> None:
        if self._exit is not None and self.code is not None and self._is_plain() and _flush():
            left = self._unload()
            # What was unloaded may have printed.
            if _flush() and not _held():
                self._exit(self.code)
            sys.modules.update(left)

    def _is_plain(self) -> bool:
        """Whether the script has done nothing that goes on, or that is called, while an interpreter ends."""
        return (
            len(sys._current_frames()) == 1  # pyright: ignore[reportPrivateUsage]
            and _exit_handlers() == self._handlers
            and sys.stdout is sys.__stdout__
            and sys.stderr is sys.__stderr__
            and not (gc.callbacks or gc.get_debug())
            and sys.gettrace() is None
            and sys.getprofile() is None
        )

    def _unload(self) -> dict[str, Any]:
        """Delete the script's modules; those that something keeps all the same."""
        names: Any = vars(sys)
        for name in _TAKEN_FIRST:
            names[name] = None
        modules: dict[str, Any] = sys.modules
        own: dict[str, Any] = {}
        for name in [name for name in modules if name not in self._before]:
            try:
                own[name] = _weakref.ref(modules[name])
            except TypeError:
                continue  # It is no module.
            modules[name] = None
        gc.collect()
        return {name: module for name, found in own.items() if (module := found()) is not None}


def _c_exit() -> Callable[[int], None] | None:
    """What ends the process as C does. It keeps the interpreter's lock: destructors of C++ may touch its objects."""
    address = supervisor.c_function("exit")
    if address <= 0:
        return None
    import _ctypes

    engine: Any = _ctypes
    flags = engine.FUNCFLAG_CDECL | engine.FUNCFLAG_PYTHONAPI
    return type("Exit", (engine.CFuncPtr,), {"_flags_": flags, "_restype_": None})(address)


def _exit_handlers() -> int:
    return atexit._ncallbacks()  # pyright: ignore[reportPrivateUsage]


def _flush() -> bool:
    """Whether nothing is left to be written to the standard streams. If it can't be, the interpreter says so."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:  # pyright: ignore
                stream.flush()
    except Exception:
        return False
    return True


def _held() -> bool:
    """Whether there is anything, but for the standard streams, that does something when it is unloaded.

    What was there before the script is not among it: it is frozen (``gc.freeze``).
    """
    standard: set[int] = set()
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        buffer = getattr(stream, "buffer", None)
        standard.update(map(id, (stream, buffer, getattr(buffer, "raw", None))))
    known: dict[Any, bool] = {}
    things: list[Any] = gc.get_objects()
    for thing in things:
        kind: Any = type(thing)  # pyright: ignore[reportUnknownVariableType]
        ends = known.get(kind)
        if ends is None:
            ends = known[kind] = any("__del__" in vars(base) for base in kind.__mro__)
        if ends and id(thing) not in standard and not _is_idle(thing, kind):
            return True
    return False


def _is_idle(thing: Any, kind: Any) -> bool:
    if kind.__module__ == "_io":
        return thing.closed
    # A generator that waits for nothing but to be asked on: it has no block to leave.
    return kind.__name__ == "generator" and getattr(thing.gi_code, "co_exceptiontable", None) == b""
