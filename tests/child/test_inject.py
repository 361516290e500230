import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from traceback import extract_tb
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.child import injection

INJECT = Path(injection.__file__).with_name("inject.py")
SAMPLES = Path(__file__).parent.parent / "samples"


def run_script(
    script: Path, flags: dict[str, object] | None, **changes: object
) -> subprocess.CompletedProcess[str]:
    """Run the script in its folder: with flags injected, or plainly where they are None."""
    injected = [str(INJECT), script.name, json.dumps(flags)] if flags is not None else [script.name]
    return subprocess.run(
        [sys.executable, "-u", *injected],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=60,
        **changes,  # type: ignore[call-overload]
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


def output_of(script: Path, text: str, flags: dict[str, object]) -> str:
    script.write_text(text)
    done = run_script(script, flags)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_globals_have_the_given_values_with_their_types() -> None:
    echo = SAMPLES / "optimizers" / "echo.py"
    assert run_script(echo, {}).stdout == "1.0 2 'a'\n"
    assert run_script(echo, {"x": 10, "y": 0.5, "z": "it's"}).stdout == '10 0.5 "it\'s"\n'
    assert (
        run_script(echo, {"x": [1, {"a": None}], "y": True, "z": None}).stdout
        == "[1, {'a': None}] True None\n"
    )


def test_only_the_first_top_level_assignment_is_replaced(script: Path) -> None:
    text = "x = 1\ny = x + 1\nx = x * 10\nif y: z = 5\nz = 6\nprint(x, y, z)\n"
    assert output_of(script, text, {"x": 3, "z": 7}) == "30 4 7\n"


def test_other_targets_of_an_assignment_keep_their_value(script: Path) -> None:
    text = "a = b = c = 1\nd: int = 2\ne: int\ne = f = []\nprint(a, b, c, d, e, f, e is f)\n"
    assert output_of(script, text, {"b": 5, "d": 6, "e": 7}) == "1 5 1 6 7 [] False\n"
    assert output_of(script, text, {"a": 5, "b": 5, "c": 5}) == "5 5 5 2 [] [] True\n"


def test_a_name_without_an_assignment_is_there_from_the_start(script: Path) -> None:
    assert output_of(script, "def f():\n    x = 1\nprint(x)\n", {"x": 3}) == "3\n"


def test_numbers_that_json_spells_in_words_are_read(script: Path) -> None:
    assert output_of(script, "x = 0\nprint(x)\n", {"x": [float("nan"), float("-inf")]}) == "[nan, -inf]\n"


def test_every_kind_of_text_arrives(script: Path) -> None:
    text = "é\n\t\"'\\ 😀 \udcff \x00 \u2028"
    assert output_of(script, "x = 0\nprint(ascii(x))\n", {"x": text}) == ascii(text) + "\n"


SURROUNDINGS = """
import os, sys, inspect
x = 1
class Thing: pass
def size(): return len(inspect.getsource(Thing))
names = sorted(name for name in globals())
main = sys.modules["__main__"]
print(sys.argv, __file__, __name__, sys.path[0], __spec__, __package__, type(__loader__).__name__, __doc__)
print(names, main.__file__, main.Thing is Thing, Thing.__module__, size(), __builtins__, sys.gettrace())
import pickle
print(type(pickle.loads(pickle.dumps(Thing()))) is Thing, os.getcwd())
print(sorted(set(sys.modules) & {"injection", "json", "re", "ast", "runpy"}) if "-m" in sys.argv else "")
"""


@pytest.mark.parametrize(
    ("options", "name"), [("-u", "script.py"), ("-OWerror", "./script.py"), ("-P", "{absolute}")]
)
def test_a_script_can_not_tell_that_it_is_injected(script: Path, options: str, name: str) -> None:
    script.write_text(SURROUNDINGS)
    name = name.format(absolute=script)
    outputs = [
        subprocess.run([sys.executable, options, *words], cwd=script.parent, capture_output=True, text=True)
        for words in ([name], [str(INJECT), name, '{"x": 1}'])
    ]
    assert outputs[1].stdout == outputs[0].stdout
    assert (outputs[1].stderr, outputs[1].returncode) == ("", 0)


def test_a_script_behind_a_link_imports_from_where_it_really_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "beside.py").write_text("value = 5\n")
    (tmp_path / "real" / "script.py").write_text("from beside import value\nprint(value, x)\n")
    (tmp_path / "script.py").symlink_to(tmp_path / "real" / "script.py")
    assert run_script(tmp_path / "script.py", {"x": 1}).stdout == "5 1\n"


def test_little_is_imported_for_an_injection(script: Path) -> None:
    script.write_text("import sys\nx = 1\nprint(*sorted(sys.modules))\n")
    plain, injected = (set(run_script(script, flags).stdout.split()) for flags in (None, {"x": 2}))
    assert injected == plain


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n1 / 0\n",
        "x = 1\ndef f():\n    g()\ndef g():\n    raise KeyError('a')\nf()\n",
        "x = 1\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('b') from e\n",
        "x = 1\nraise SystemExit(7)\n",
        "x = 1\nraise SystemExit('text')\n",
        "import sys\nx = 1\nsys.exit()\n",
        "x = 1\nraise KeyboardInterrupt\n",
        "import os\nx = 1\nos._exit(9)\n",
        "import sys\nx = 1\nsys.excepthook = lambda *error: print('hooked', error[0])\n1 / 0\n",
        "import atexit\nx = 1\natexit.register(lambda: print('bye', x))\n1 / 0\n",
        "import threading\nx = 1\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\n",
        "import os, signal\nx = 1\nos.kill(os.getpid(), signal.SIGTERM)\n",
        "x = 1\nimport warnings\nwarnings.warn('w')\n",
        "x = 1\ny = = 2\n",
        "x = (1\n",
        "if x:\npass\n",
        "x = 1\n\0",
        "def f(): f()\nx = 1\nf()\n",
        "# coding: latin-1\nx = 1\nprint('\\xe9')\n",
    ],
)
def test_a_script_ends_as_it_would_without_an_injection(script: Path, text: str) -> None:
    script.write_bytes(text.encode("latin-1"))
    plain, injected = run_script(script, None), run_script(script, {"x": 1})
    assert injected.returncode == plain.returncode
    assert injected.stdout == plain.stdout
    if "RecursionError" in plain.stderr:
        assert injected.stderr.splitlines()[:3] == plain.stderr.splitlines()[:3]
    elif "null byte" not in plain.stderr:
        assert injected.stderr.replace(str(script), "S") == plain.stderr.replace(str(script), "S")


@pytest.mark.parametrize(
    "text",
    [
        "import raising\n",
        "import broken\n",
        "import nothing_there\n",
        "try:\n    import raising\nexcept OSError:\n    raise ValueError('b')\n",
        "try:\n    raise ExceptionGroup('g', [KeyError(1), OSError(2)])\nexcept* OSError:\n    raise TypeError(3)\n",
        "import asyncio\nasync def f(): 1 / 0\nasync def main():\n    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(f())\nasyncio.run(main())\n",
        "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt:\n    raise SystemExit('text')\n",
        "import sys\ndef hook(*error): raise KeyError('hook')\nsys.excepthook = hook\n1 / 0\n",
        "import sys\nsys.excepthook = lambda *error: sys.exit(5)\n1 / 0\n",
        "import atexit, sys, traceback\natexit.register(lambda: traceback.print_tb(sys.last_traceback))\n1 / 0\n",
        "class E(Exception):\n    def with_traceback(self, trace): raise TypeError\nraise E\n",
    ],
)
def test_a_traceback_has_no_frames_but_those_of_the_script(script: Path, text: str) -> None:
    (script.parent / "raising.py").write_text("def f():\n    raise OSError('a')\nf()\n")
    (script.parent / "broken.py").write_text("y = = 1\n")
    script.write_text("x = 1\n" + text)
    plain, injected = run_script(script, None), run_script(script, {"x": 1})
    assert (injected.returncode, injected.stdout) == (plain.returncode, plain.stdout)
    assert injected.stderr.replace(str(script), "S") == plain.stderr.replace(str(script), "S")


FAILING_SPAWN = """
import multiprocessing
x = 1
if __name__ == "__mp_main__":
    1 / 0
if __name__ == "__main__":
    process = multiprocessing.get_context("{method}").Process(target=print)
    process.start()
    process.join()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_traceback_of_a_spawned_process_has_no_frames_of_the_injection(script: Path, method: str) -> None:
    script.write_text(FAILING_SPAWN.format(method=method))
    plain, injected = run_script(script, None), run_script(script, {"x": 1})
    assert "ZeroDivisionError" in plain.stderr
    assert injected.stderr.replace(str(script), "S") == plain.stderr.replace(str(script), "S")


def test_an_interrupted_script_ends_by_the_signal(script: Path) -> None:
    script.write_text("import time\nx = 1\nprint('ready')\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-u", str(INJECT), script.name, "{}"],
        cwd=script.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        errors = child.stderr.read()
    assert child.returncode == -signal.SIGINT
    assert errors.splitlines()[0] == "Traceback (most recent call last):"
    assert "KeyboardInterrupt" in errors and "inject" not in errors


def test_a_script_that_is_not_there_is_reported_as_python_does(tmp_path: Path) -> None:
    plain, injected = run_script(tmp_path / "no.py", None), run_script(tmp_path / "no.py", {})
    assert (injected.returncode, injected.stderr) == (plain.returncode, plain.stderr)


SPAWNING = """
import multiprocessing, sys
x = 1
names = sorted(name for name in globals() if not name.startswith("__"))
class Thing: pass
def look(thing):
    return x, type(thing) is Thing, __name__, names, __file__
def deeper(_):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(look, [Thing()])
if __name__ == "__main__":
    from concurrent.futures import ProcessPoolExecutor
    context = multiprocessing.get_context(sys.argv[1:] and sys.argv[1] or "spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        print(pool.submit(look, Thing()).result())
        print(pool.submit(deeper, None).result())
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_spawned_processes_have_the_same_values(script: Path, method: str) -> None:
    text = SPAWNING.replace('"spawn")\n    with Pr', f'"{method}")\n    with Pr')
    text = text.replace('sys.argv[1:] and sys.argv[1] or "spawn"', repr(method))
    look = (10, True, "__mp_main__", ["multiprocessing", "sys", "x"], str(script))
    assert output_of(script, text, {"x": 10}) == f"{look}\n{[look]}\n"


BIG = "\n".join(f"def f{number}(a):\n    return [a, {number}]" for number in range(200)) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "'''doc\nx = 9\n'''\nx = 1\n" + BIG + "print(__doc__, x, f7(1))\n",
        "x = [\n  1,\n  2,\n]\n" + BIG + "print(x)\n1 / 0\n",
        "if True:\n    y = 1\nelse:\n    y = 2\nx = 1\n" + BIG + "print(x, y)\n",
        "x = 1\nif x == 5:\n    y = 1\n" + "else:\n    y = 2\n" + BIG + "print(x, y)\n",
        "x = 1\n'not the doc'\n" + BIG + "print(__doc__, x)\n",
        "x = 1\n('not the doc')\n" + BIG + "print(__doc__, x)\n",
        "x = 1\nf'no doc {x}'\nr'no doc'\n" + BIG + "print(__doc__, x)\n",
        "from __future__ import annotations\nx = 1\n"
        + BIG
        + "def g(a: nothing): pass\nprint(g.__annotations__, x)\n",
        "x: int = 1\n" + BIG + "y: str = 'a'\nprint(__annotations__, x, y)\n",
        "xs = 2\nx_ = 3\n" + BIG + "x = 1\nprint(x, xs, x_)\n",
        "y = 1; x = 2\n" + BIG + "x = 3\nprint(x, y)\n",
        "y = x = 2\n" + BIG + "x = 3\nprint(x, y)\n",
        BIG + "print(x)\n",
        "x = 1 \\\n  + 2\n" + BIG + "print(x)\n",
        "x = '''\nx = 1\nprint(\n'''\n" + BIG + "print(x)\n",
        "@property\ndef x(): pass\n" + BIG + "x = 1\nprint(x)\n",
        "x = 1\n" + BIG + "print(= \n",
        "\n\n# x\nx = 1" + " # é" * 3000 + "\nprint(x)\n1 / 0",
        "x = 1\r\n" + BIG.replace("\n", "\r\n") + "print(x)\r\n1 / 0\r\n",
    ],
)
def test_a_script_computes_and_fails_in_parts_as_in_one(text: str) -> None:
    source = text.encode()
    whole = _result_of(lambda: [injection._compile_whole(source, "s.py", {"x": 5})[0]])
    assert _result_of(lambda: injection.compile_script(source, "s.py", {"x": 5})[0]) == whole


@pytest.mark.parametrize(
    "text",
    [
        "import os\nx = 1\nprint(x)\n",
        "x = 0.1  # the rate\ny: float = [1,\n2]\n",
        '"""x: the rate\n\n  (x is small)"""\nfrom __future__ import annotations\nx: int = 1\nx = x == 1',
        "x = 'a'",
    ],
)
def test_most_scripts_take_no_tree(text: str) -> None:
    parts = injection._compile_around(text.encode(), "s.py", {"x": 2})
    assert parts is not None and {"x": 2} in parts


LINES = st.sampled_from(
    [
        "x = 1",
        "x = 2",
        "y = 3",
        "y = x",
        "x = y = 4",
        "x: int = 5",
        "y: int",
        "z = [",
        "1,",
        "]",
        "if True:",
        "    x = 6",
        "    y = 7",
        "else:",
        "'''",
        "'text'",
        "# x = 8",
        "x += 1",
        "",
        "def f():",
        "class x: pass",
        "z = 1; x = 9",
        "xs = 1",
        "for y in [1]: pass",
        "z = x \\",
        "@f",
        "(x) = 10",
        "(x): int = 11",
        "y = (x) = 12",
        "z = 1; x: int = 13",
        "x = 14; z = 2",
        "x = (",
        "15)",
        "x: y = 16",
        "x: 'y=' = 17",
        "# é",
        "(",
        "x # ",
        ") = 18",
        "from __future__ import annotations",
    ]
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(LINES, max_size=9).map("\n".join), st.sampled_from([("x",), ("x", "y"), ("y", "x", "z")]))
def test_a_script_in_parts_computes_what_the_whole_one_does(text: str, given: tuple[str, ...]) -> None:
    flags = dict(zip(given, (100, 200, 300), strict=False))
    source = text.encode()
    parts = injection._compile_around(source, "s.py", flags)
    if parts is None:
        return
    code, left = injection._compile_whole(source, "s.py", flags)
    assert left == {}
    assert _result_of(lambda: parts) == _result_of(lambda: [code])


def _result_of(codes: Callable[[], list[Any]]) -> tuple[str, str, list[str]]:
    """What the code prints, how it fails and with which lines, and what its globals are in the end."""
    names: dict[str, Any] = {"__name__": "s", "__annotations__": {}}
    error, printed = "", StringIO()
    try:
        with redirect_stdout(printed):
            injection.run_parts(codes(), names)
    except Exception as caught:
        places = [(frame.filename, frame.lineno, frame.name) for frame in extract_tb(caught.__traceback__)]
        error = repr((caught, [place for place in places if place[0] == "s.py"]))
    kept = [
        f"{name}={value!r}" for name, value in names.items() if name != "__builtins__" and not callable(value)
    ]
    return printed.getvalue(), error, sorted(kept)


def test_an_injection_leaves_the_environment_for_spawned_processes_only(script: Path) -> None:
    assert "ORCHESTRA_INJECTION" not in os.environ
    text = "import os\nx = 1\nprint(os.environ['ORCHESTRA_INJECTION'].split(chr(10))[1])\n"
    assert output_of(script, text, {"x": 1}) == f"{script}\n"


MEMBERS = """\
from types import SimpleNamespace
params = {"lr": 0.1, "model": {"depth": 3, "kind": "x"}, "opt": dict(name="sgd")}
config: SimpleNamespace = SimpleNamespace(a=1, b=SimpleNamespace(c=2), d={"e": 1})
print(params)
print(config)
params["lr"] = -1
print(params["lr"])
"""


def test_members_of_a_dict_are_set_right_after_its_assignment(script: Path) -> None:
    values = {"lr": 5, "model": {"depth": 9}, "opt": {"name": "adam"}, "new": {"z": [1, None]}}
    assert output_of(script, MEMBERS, {"dict:params": values}).splitlines() == [
        "{'lr': 5, 'model': {'depth': 9, 'kind': 'x'}, 'opt': {'name': 'adam'}, 'new': {'z': [1, None]}}",
        "namespace(a=1, b=namespace(c=2), d={'e': 1})",
        "-1",
    ]


def test_members_of_a_namespace_are_set_as_its_literal_has_them(script: Path) -> None:
    values = {"a": 7, "b": {"c": 8}, "d": {"e": 9}}
    second = output_of(script, MEMBERS, {"namespace:config": values}).splitlines()[1]
    assert second == "namespace(a=7, b=namespace(c=8), d={'e': 9})"


def test_a_dict_or_namespace_that_is_never_assigned_is_there_from_the_beginning(script: Path) -> None:
    flags: dict[str, object] = {"dict:p": {"a": {"b": 1}}, "namespace:q": {"c": {"d": 2}}}
    assert output_of(script, "print(p, q, q.c.d)\n", flags) == (
        "{'a': {'b': 1}} namespace(c=namespace(d=2)) 2\n"
    )


MODULE = """
import sys
from . import beside
from .beside import told as again
x = 1
print(x, beside.told, again, __name__, __package__, __spec__.name, __spec__.parent)
print(sys.argv, sys.path[0] == __import__("os").getcwd(), __file__ == __spec__.origin, __loader__ is __spec__.loader)
"""


def run_module(folder: Path, name: str, flags: dict[str, object] | None, *words: str) -> tuple[int, str, str]:
    """Run the module with ``python -m``: with flags injected, or plainly where they are None."""
    start = ["-m", name] if flags is None else [str(INJECT), "-m", name, json.dumps(flags)]
    done = subprocess.run(
        [sys.executable, "-u", *start, *words], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "pkg" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("print('imported', __name__)\n")
    (folder / "beside.py").write_text("told = 'beside'\n")
    return folder


def test_a_module_of_a_package_imports_relatively_and_is_what_python_m_makes_of_it(
    package: Path, tmp_path: Path
) -> None:
    (package / "mod.py").write_text(MODULE)
    plain = run_module(tmp_path, "pkg.inner.mod", None, "a", "-b")
    injected = run_module(tmp_path, "pkg.inner.mod", {"x": 1}, "a", "-b")
    assert injected == plain
    assert "imported pkg.inner\n1 beside beside __main__ pkg.inner pkg.inner.mod pkg.inner\n" in plain[1]
    changed = run_module(tmp_path, "pkg.inner.mod", {"x": 5}, "a", "-b")
    assert changed == (0, plain[1].replace("\n1 ", "\n5 "), "")


def test_a_package_runs_its_main_module(package: Path, tmp_path: Path) -> None:
    (package / "__main__.py").write_text(MODULE)
    injected = run_module(tmp_path, "pkg.inner", {"x": 1})
    assert injected == run_module(tmp_path, "pkg.inner", None)
    assert "pkg.inner.__main__" in injected[1]


@pytest.mark.parametrize("name", ["none", "pkg.none", "none.mod", "pkg.empty.mod"])
def test_a_module_that_is_not_there_is_reported_as_python_does(
    name: str, package: Path, tmp_path: Path
) -> None:
    assert run_module(tmp_path, name, {}) == run_module(tmp_path, name, None)


def test_a_package_that_fails_is_reported_without_frames_of_the_injection(
    package: Path, tmp_path: Path
) -> None:
    (package / "__init__.py").write_text("1 / 0\n")
    (package / "mod.py").write_text("x = 1\n")
    code, output, error = run_module(tmp_path, "pkg.inner.mod", {})
    assert (code, output) == (1, "")
    assert "injection.py" not in error and "inject.py" not in error
    assert error.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_spawned_processes_of_a_module_are_that_module_with_the_same_values(
    method: str, package: Path, tmp_path: Path
) -> None:
    text = SPAWNING.replace("sys.argv[1:] and sys.argv[1] or", "").replace('"spawn"', repr(method))
    text = text.replace("x = 1\n", "x = 1\nfrom . import beside\n").replace("__file__", "__package__")
    (package / "mod.py").write_text(text)
    code, output, error = run_module(tmp_path, "pkg.inner.mod", {"x": 10})
    look = (10, True, "__mp_main__", ["beside", "multiprocessing", "sys", "x"], "pkg.inner")
    shown = [line for line in output.splitlines() if not line.startswith("imported")]
    assert (code, shown, error) == (0, [str(look), str([look])], "")
