"""A script can't see whether its interpreter was started for it or forked from a warm one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.builtin.warm_bench import injected, open_bench

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the warm executor needs Linux")

LOADED = "argparse,logging,multiprocessing,concurrent.futures,numpy,random,subprocess,tempfile,weakref"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Executors whose warm interpreters have loaded much."""
    with open_bench(tmp_path_factory.mktemp("warm"), LOADED) as bench:
        yield bench
        assert len(bench.warm._interpreters) > 0
        assert bench.cold == []


SEEN = """
import sys, os, threading, signal, io, gc, subprocess
print(sys.argv, sys.orig_argv[1:] if hasattr(sys, "orig_argv") else "")
print(sys.path, sys.flags, sys.executable, sys.warnoptions)
print(os.getcwd(), os.umask(0o22), os.getsid(0) == os.getpid(), os.getppid() != 1)
print({name: text for name, text in os.environ.items() if name not in ("ORCHESTRA_ATTEMPT",)} == dict(
    pair.split("=", 1) for pair in subprocess.check_output(["env", "-0"], text=True).split("\\0") if "=" in pair
    and not pair.startswith(("ORCHESTRA_ATTEMPT=", "_="))))
print(sorted(name for name in os.environ if name != "_"))
print(threading.active_count(), threading.current_thread() is threading.main_thread())
print(len(os.listdir("/proc/self/task")), sorted(os.listdir("/proc/self/fd")))
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream, stream.name, stream.mode, type(stream.buffer), stream.line_buffering, stream.write_through)
    print(stream.isatty(), stream.seekable(), stream.fileno(), stream.closed, stream.newlines)
print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, repr(sys.stdin.read()))
print({number: signal.getsignal(number) for number in signal.Signals}, signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(gc.isenabled(), gc.get_threshold(), sys.getrecursionlimit(), sys.gettrace(), sys.excepthook)
ours = ("launcher", "supervisor", "warm", "warm_end", "warm_script", "injection")
print([name for name in ours if name in sys.modules])
"""

MAIN = """
\"\"\"A docstring.\"\"\"
import sys, __main__
print(sorted(globals()), __name__, __doc__, __spec__, __package__, __builtins__, __file__)
print(type(__loader__), getattr(__loader__, "path", ""), vars(__main__) is globals())
print(sys.modules["__main__"] is __main__, sys.modules.get("__mp_main__", __main__) is __main__)
def where(): return sys._getframe(1).f_code.co_name
print(where())
class Thing: pass
import pickle
print(pickle.loads(pickle.dumps(Thing())).__class__ is Thing, Thing.__module__)
"""

SCRIPTS = {
    "nothing": "",
    "state": SEEN,
    "main": MAIN,
    "exit with a number": "import sys; sys.exit(7)",
    "exit with a text": "import sys; sys.exit('it is over')",
    "exit with nothing": "raise SystemExit",
    "exit with an object": "raise SystemExit({'a': 1})",
    "exit with an empty text": "import sys; sys.exit('')",
    "exit with an empty list": "import sys; sys.exit([])",
    "exit with no integer": "import sys; sys.exit(0.0)",
    "exit with a truth": "import sys; sys.exit(False)",
    "what is printed while it ends": """
import sys
sys.stdout.reconfigure(write_through=False)
class Told:
    def __del__(self, write=sys.stdout.write): write("told")
kept = Told()
""",
    "exit at once": "import os; print('kept'); os._exit(9)",
    "exit beyond a byte": "import sys; sys.exit(259)",
    "an error": "def f(x):\n    return 1 / x\n\n\nf(0)\n",
    "an error within an error": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('odd') from e\n",
    "an error in a class": "class A:\n    int('x')\n",
    "an error that can't be shown": (
        "class Bad(Exception):\n    def __str__(self):\n        raise TypeError('no')\nraise Bad\n"
    ),
    "an interrupt": "raise KeyboardInterrupt",
    "a hook for errors": "import sys\nsys.excepthook = lambda *a: print(a[0], a[2].tb_next, a[2].tb_lineno)\n1 / 0\n",
    "a hook that fails": "import sys\ndef hook(*a):\n    raise OSError('hook')\nsys.excepthook = hook\n1 / 0\n",
    "an error at the end": "import atexit\n@atexit.register\ndef late():\n    1 / 0\n",
    "a syntax error": "print('never')\nif True\n    pass\n",
    "not in its encoding": "# -*- coding: ascii -*-\nprint('\u00e9')\n",
    "in another encoding": "# -*- coding: latin-1 -*-\nprint(ascii('abc'))\n",
    "the order of the end": """
import atexit, weakref, sys, threading, time
class Told:
    def __del__(self): print("deleted")
class Cycle:
    def __init__(self): self.me = self
    def __del__(self): print("collected")
kept, cycle = Told(), Cycle()
atexit.register(print, "first registered")
atexit.register(print, "last registered")
weakref.finalize(kept, print, "finalized")
def work():
    time.sleep(0.1); print("thread ended")
threading.Thread(target=work).start()
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
print("main ended")
""",
    "what is deleted at the end": """
import logging, sys
class Told:
    def __init__(self, name): self.name = name
    def __del__(self): print("deleted", self.name, sys.argv, logging is not None)
class Cycle(Told):
    def __init__(self, name): super().__init__(name); self.me = self
def generate():
    try: yield 1
    finally: print("left")
one, cycle, waiting = Told("one"), Cycle("cycle"), generate()
next(waiting)
""",
    "what a module keeps": """
import logging, os
class Told:
    def __del__(self, write=os.write): write(1, b"deleted")
logging.kept = Told()
""",
    "a handler that keeps the script": """
import atexit
class Told:
    def __del__(self): print("deleted")
kept = Told()
@atexit.register
def late(): print("late", kept is not None)
""",
    "files that are left open": """
import logging, mine, os, sys
def written(name):
    file = open(name, "w"); file.write(name); return file
here, logging.there, mine.beside = written("a"), written("b"), written("c")
class Reader:
    def __del__(self, write=os.write, read=os.read, open=os.open):
        write(1, b"".join(read(open(name, 0), 9) for name in "abc") + b" is there")
sys.reader = Reader()
""",
    "an output of one's own": """
import io, sys
class Tee(io.TextIOBase):
    def write(self, text): return sys.__stdout__.write("> " + text)
    def flush(self): sys.__stdout__.write("flushed\\n")
sys.stdout = Tee()
print("told")
""",
    "an output that can't be written": """
import os, sys
os.close(1)
sys.stderr.write("told")
sys.stdout.write("lost")
""",
    "what the C library keeps": "import ctypes; ctypes.CDLL(None).printf(b'kept by C')",
    "output that is not flushed": "import sys; sys.stdout.write('no newline'); sys.stderr.write('nor here')",
    "much output": "for i in range(20000): print('line', i)",
    "bytes": "import sys; sys.stdout.buffer.write(bytes(range(256)) * 100)",
    "a closed output": "import sys; sys.stdout.close()",
    "modules beside it": "import mine, pkg.deep\nprint(mine.NAME, pkg.deep.NAME, mine.__file__)\n",
    "a pool": """
import multiprocessing
def double(x): return 2 * x
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(double, range(5)))
""",
    "a future": """
from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor
def triple(x): return 3 * x
if __name__ == "__main__":
    with ThreadPoolExecutor() as threads, ProcessPoolExecutor(1) as processes:
        print(list(threads.map(triple, range(3))), list(processes.map(triple, range(3))))
""",
    "a program": """
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "import os; print(os.getcwd(), 'RUN_DIR' in os.environ)"],
                     capture_output=True, text=True))
subprocess.run(["sh", "-c", "echo told; exit 3"], check=True)
""",
    "a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "an interrupt from outside": "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
    "a broken pipe": """
import os
reader, writer = os.pipe()
os.close(reader)
try: os.write(writer, b"x")
except BrokenPipeError: print("told, not killed")
""",
    "children that it did not start": "import os\ntry: os.wait()\nexcept ChildProcessError: print('none')\n",
    "logging": "import logging; logging.warning('careful'); logging.info('silent')",
    "warnings": "import warnings; warnings.warn('odd', stacklevel=1); warnings.warn('old', DeprecationWarning)",
    "asyncio": "import asyncio\nasync def main(): print(await asyncio.sleep(0, 'done'))\nasyncio.run(main())\n",
    "an option that is wrong": "import argparse; argparse.ArgumentParser().parse_args()",
    "arrays": "import numpy; print(numpy.arange(6).reshape(2, 3) @ numpy.ones((3, 2)), numpy.__version__)",
    "recursion": "def f(n): return n and f(n - 1)\nprint(f(900))\n",
}
FILES = {"mine.py": "NAME = __name__", "pkg/__init__.py": "", "pkg/deep.py": "NAME = __name__"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_the_same(bench, name):
    plain, forked = bench.both({"script.py": SCRIPTS[name], **FILES}, "script.py", "--an", "option")

    assert forked == plain
    assert forked.output or name in ("nothing", "exit with nothing", "exit with a number", "exit beyond a byte",
                                     "exit with a truth", "a signal", "a closed output")  # fmt: skip


@pytest.mark.parametrize(
    "name", ["state", "the order of the end", "output that is not flushed", "an error", "bytes"]
)
def test_a_script_that_is_not_started_unbuffered_does_the_same(bench, name):
    plain, forked = bench.both({"script.py": SCRIPTS[name]}, unbuffered=False)

    assert forked == plain


@pytest.mark.parametrize("name", ["state", "much output", "an error"])
@pytest.mark.parametrize(
    "orders", [{"output": "direct"}, {"streams": "two"}, {"env": ["PYTHONPATH=.:lib", "A=b"]}]
)
def test_a_script_does_the_same_whatever_its_orders(bench, name, orders):
    plain, forked = bench.both({"script.py": SCRIPTS[name]}, **orders)

    assert forked == plain


@pytest.mark.parametrize(
    "name", ["state", "main", "an error", "exit with a text", "a pool", "a syntax error"]
)
def test_a_module_does_the_same(bench, name):
    files = {"pkg/__init__.py": "", "pkg/script.py": SCRIPTS[name]}
    plain, forked = bench.both(files, "-m", "pkg.script", "--an", "option")

    assert forked == plain


@pytest.mark.parametrize(
    "name", ["state", "main", "an error", "exit with a text", "a pool", "a syntax error"]
)
@pytest.mark.parametrize("main", [["pkg/script.py"], ["-m", "pkg.script"]])
def test_a_script_with_other_globals_does_the_same(bench, name, main):
    script = "lr = 0.1\n" + SCRIPTS[name] + "\nif __name__ == '__main__':\n    print(lr)\n"
    files = {"pkg/__init__.py": "", "pkg/script.py": script}
    plain, forked = bench.both(files, *injected(*main, '{"lr": 0.5}', "more"))

    assert forked == plain


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sub/script.py"], True),
        (["./script.py"], True),
        (["-O", "-B", "script.py"], True),
        (["-X", "dev", "script.py"], False),
        (["missing.py"], False),
        (["-m", "missing"], True),
        (["-c", "print(1)"], False),
        (["-"], False),
    ],
)
def test_a_command_does_the_same_however_it_names_its_script(bench, words, expected):
    text = "import sys; print(__file__, sys.argv, sys.path[0], sys.flags)"
    plain, forked = bench.both({"script.py": text, "sub/script.py": text}, *words, expected=expected)

    assert forked == plain


ABORTS = """
import ctypes, sys
ctypes.pythonapi.Py_AtExit(ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p))
"""
"""Tells whether an interpreter unloads what it has loaded: then it calls this last."""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("print('done')", 0),
        ("sys.exit(3)", 3),
        ("import logging, mine; logging.kept = mine", 0),
        ("import logging; logging.kept = open('file', 'w')", -6),
        ("import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", -6),
        ("import atexit; atexit.register(print)", -6),
        ("raise ValueError", -6),
    ],
)
def test_a_fork_unloads_what_is_its_own_and_the_rest_only_where_that_may_matter(bench, ending, code):
    plain, forked = bench.both({"script.py": ABORTS + ending, **FILES})

    assert (plain.code, forked.code) == (-6, code)
    assert forked.output == plain.output


def test_what_one_run_did_to_modules_is_unknown_to_the_next(bench):
    script = """
import json, os, sys, numpy
print(hasattr(json, "mark"), os.environ.get("MARK"), numpy.mark if hasattr(numpy, "mark") else None, os.getcwd())
json.mark = numpy.mark = 1
os.environ["MARK"] = "1"
os.chdir("/")
sys.path.insert(0, "/mark")
"""
    plain, forked = bench.both({"script.py": script})

    assert forked == plain


def test_two_runs_draw_different_numbers(bench):
    script = """
import multiprocessing, random, tempfile, numpy, uuid
print(random.random(), numpy.random.rand(), numpy.random.default_rng().random(), uuid.uuid4())
print(tempfile.mktemp(), multiprocessing.current_process().authkey.hex())
"""
    runs = [bench.see(bench.warm, bench.job({"script.py": script})).output.split() for _ in range(3)]

    assert [len(set(drawn)) for drawn in zip(*runs, strict=True)] == [3] * len(runs[0])


def test_a_flag_that_is_a_variable_is_the_runs_own(bench):
    script = "import os; print(os.environ['FLAG_X'], os.environ['RUN_DIR'] == os.getcwd())"
    seen = [
        bench.see(bench.warm, bench.job({"script.py": script}, env=[f"FLAG_X={x}"])).output for x in "abc"
    ]

    assert seen == ["a True\n", "b True\n", "c True\n"]
    started = {dict(command.environment).get("FLAG_X") for command in bench.warm._interpreters}
    assert started == {None}, "an interpreter was started for one run alone"


def test_a_run_imports_its_own_source(bench):
    job = {"script.py": "import mine; print(mine.NAME)"}
    seen = [bench.see(bench.warm, bench.job({**job, "mine.py": f"NAME = {x!r}"})).output for x in "abc"]

    assert seen == ["a\n", "b\n", "c\n"]


def interpreters():
    found = Path.home().glob(".pyenv/versions/3.*/bin/python")
    return sorted(str(path) for path in found if int(path.parts[-3].split(".")[1]) >= 8)


@pytest.mark.nightly
@pytest.mark.parametrize("python", interpreters())
@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "arrays"])
def test_a_script_does_the_same_on_any_interpreter(tmp_path_factory, python, name):
    root = tmp_path_factory.getbasetemp() / "warm-interpreters"
    with open_bench(root, "argparse,logging,multiprocessing,random,subprocess") as bench:
        plain, forked = bench.both({"script.py": SCRIPTS[name], **FILES}, python=python)

        assert forked == plain
        assert bench.cold == []
