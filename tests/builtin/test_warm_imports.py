"""Which imports of a script are known before it runs."""

from __future__ import annotations

import pytest

from orchestra.builtin.warm_imports import FirstImports, read_prefix


def prefix(source: str) -> tuple[list[str], bool]:
    found = read_prefix(source.encode())
    return [str(each) for each in found.imports], found.whole


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("import a, b.c as d\nfrom e import f, g as h\nfrom i import *", ["a", "b.c", "e:f+g", "i:*"]),
        ("'doc'\nfrom __future__ import annotations\nimport a", ["a"]),
        ("X = 1\nY: int = -2\nlog = logging.getLogger(__name__)\nimport a", ["a"]),
        ("def f(): import z\nclass A(b.C): pass\nimport a", ["a"]),
        ("try:\n    import a\nexcept ImportError:\n    import b\nimport c", ["a", "c"]),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b\nimport c", ["b", "c"]),
    ],
)
def test_imports_count_while_nothing_else_is_done(source, imports):
    assert prefix(source) == (imports, True)


@pytest.mark.parametrize(
    "doing",
    [
        "os.environ['A'] = '1'",
        "sys.path.insert(0, 'lib')",
        "os.environ.setdefault('A', '1')",
        "x = set_up()",
        "x = [f() for f in g]",
        "sys.dont_write_bytecode = True",
        "if x:\n    import b",
        "for x in y: pass",
        "with x: import b",
        "del x",
        "import a.b; print()",
    ],
)
def test_imports_after_something_was_done_do_not_count(doing):
    imports, whole = prefix(f"import os\n{doing}\nimport late")

    assert not whole
    assert "late" not in imports
    assert imports[0] == "os"


@pytest.mark.parametrize("source", ["if True", "x = '\0'", "\xff"])
def test_a_script_that_cannot_be_read_has_none(source):
    assert prefix(source) == ([], False)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_modules_of_the_source_are_followed_and_not_imported(tmp_path):
    root = write(
        tmp_path,
        {
            "script.py": "import a\nimport mine\nfrom pkg import deep, VALUE\nimport b",
            "mine.py": "import c\nimport script",
            "pkg/__init__.py": "import d\nfrom .near import x",
            "pkg/near.py": "import e\nfrom . import deep",
            "pkg/deep.py": "import f",
        },
    )

    found = FirstImports().of_script(f"{root}/script.py", [root])

    assert [str(each) for each in found] == ["a", "c", "d", "e", "f", "b"]


@pytest.mark.parametrize("mine", ["import c\nprint()", "if True", "from .missing import x", "import data"])
def test_what_comes_after_a_module_that_does_something_does_not_count(tmp_path, mine):
    root = write(tmp_path, {"script.py": "import a, mine, b", "mine.py": mine, "data/file": ""})

    found = FirstImports().of_script(f"{root}/script.py", [root])

    assert [str(each) for each in found] == (["a", "c"] if "c\n" in mine else ["a"])


def test_a_module_that_is_run_comes_after_its_packages(tmp_path):
    root = write(
        tmp_path, {"pkg/__init__.py": "import a", "pkg/__main__.py": "import b", "pkg/m.py": "import c"}
    )

    imports = FirstImports()

    assert [str(each) for each in imports.of_module("pkg", [root])] == ["a", "b"]
    assert [str(each) for each in imports.of_module("pkg.m", [root])] == ["a", "c"]
    assert imports.of_module("elsewhere", [root]) == ()


def test_a_source_that_has_changed_is_read_again(tmp_path):
    imports = FirstImports()
    path = tmp_path / "script.py"
    found = []
    for name in ("a", "b"):
        path.write_text(f"import {name}")
        found += imports.of_script(str(path), [str(tmp_path)])

    assert [each.module for each in found] == ["a", "b"]
