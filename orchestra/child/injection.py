"""What ``inject.py`` does: a script's globals get given values where they are first assigned.

The first top-level assignment of each name in FLAGS (a JSON object) assigns the given value; later code that
assigns again is respected. A name that is never assigned is set before the script begins. Values for the members
of one global, ``{"dict:params": {"lr": 0.1}}`` or ``"namespace:..."``, are set right after its assignment. Line
numbers, exit codes, ``__main__`` and tracebacks are those of the script alone.

Python >= 3.8 and the standard library alone. No import costs much start-up time: the tree comes from the
compiler itself (``_ast``), the JSON from the C scanner.
"""

import _ast
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType, TracebackType
    from typing import Any, Callable, Dict, List, Optional, Tuple, Type

VARIABLE = "ORCHESTRA_INJECTION"
"""Tells spawned processes what to run: a module's name or nothing, the script's path, FLAGS, each on a line."""

SPLIT_SIZE = 4096
"""Bytes from which on only the part of a script that assigns flags is rewritten as a tree (that is slow)."""

_ONLY_TREE = 0x400  # ast.PyCF_ONLY_AST
_MOST_CUTS = 4


def read_flags(text: str) -> "Dict[str, Any]":
    """The flags that a JSON text holds."""
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text)
    constants = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}
    context: Any = type("Context", (), {})()
    context.strict, context.memo = False, {}
    context.object_hook = context.object_pairs_hook = None
    context.parse_float, context.parse_int, context.parse_constant = float, int, constants.__getitem__
    return make_scanner(context)(text.strip(), 0)[0]


def compile_script(
    source: bytes, filename: str, flags: "Dict[str, Any]"
) -> "Tuple[List[Any], Dict[str, Any]]":
    """The script's code with the flags' values in their places, and the flags that have no place.

    The code may come in two parts, to be run one after the other in the same namespace.

    Raises:
        SyntaxError: the source is not valid Python.
        ValueError: it holds a NUL character.
    """
    parts = _compile_split(source, filename, flags) if len(source) >= SPLIT_SIZE else None
    if parts is not None:
        return parts, {}
    code, left = _compile_whole(source, filename, flags)
    return [code], left


def _compile_whole(source: bytes, filename: str, flags: "Dict[str, Any]") -> "Tuple[Any, Dict[str, Any]]":
    tree: Any = compile(source, filename, "exec", _ONLY_TREE, dont_inherit=True)
    left = dict(flags)
    body: List[Any] = []
    for statement in tree.body:
        body += _replaced(statement, left) if left else [statement]
    tree.body = body
    return compile(tree, filename, "exec", dont_inherit=True), left


def _compile_split(source: bytes, filename: str, flags: "Dict[str, Any]") -> "Optional[List[Any]]":
    """The code in two parts, of which only the first needs a tree; None where that would not be exact.

    If both parts are valid and the second begins at column 0, then the script was cut between two of its
    top-level statements: inside a bracket, string, block or continued line, the first would be incomplete.
    """
    if b"coding" in source[:200] or source.startswith(b"\xef\xbb\xbf"):
        return None
    place = max((_first_line(source, name.rpartition(":")[2]) for name in flags), default=-1)
    for _ in range(_MOST_CUTS):
        place = _next_cut(source, place)
        if place < 0:
            return None
        try:
            head, left = _compile_whole(source[:place], filename, flags)
        except SyntaxError:
            continue
        if left:
            return None
        try:
            padding = b"\n" * source.count(b"\n", 0, place)
            tail = compile(
                padding + source[place:], filename, "exec", _future(source, head), dont_inherit=True
            )
        except SyntaxError:
            return None
        # Since 3.14 each part would make its own function of the module's annotations.
        return None if "__annotate__" in tail.co_names else [head, tail]
    return None


def _first_line(source: bytes, name: str) -> int:
    """Where a line begins with ``name``; the source's length if none does."""
    wanted = name.encode("utf-8", "surrogatepass")
    place = 0 if source.startswith(wanted) else source.find(b"\n" + wanted) + 1
    while place or source.startswith(wanted):
        following = source[place + len(wanted) : place + len(wanted) + 1]
        if not (following.isalnum() or following == b"_" or following > b"\x7f"):
            return place
        place = source.find(b"\n" + wanted, place) + 1
        if not place:
            break
    return len(source)


def _next_cut(source: bytes, place: int) -> int:
    """The next line that can begin a part: -1 if there is none."""
    while True:
        place = source.find(b"\n", place) + 1
        if not 0 < place < len(source):
            return -1
        first = source[place : place + 1]
        # A text at the beginning would become the docstring.
        if (first.isalpha() or first in b"_@") and source[place : place + 4].lstrip(b"rRbBuUfF")[
            :1
        ] not in b"'\"":
            return place


def _future(source: bytes, head: "Any") -> int:
    """The compiler flags that the second part inherits: ``from __future__`` stands in the first."""
    if b"__future__" not in source:
        return 0
    import __future__

    known = 0
    for name in __future__.all_feature_names:
        known |= getattr(__future__, name).compiler_flag
    return head.co_flags & known


def _replaced(statement: "Any", left: "Dict[str, Any]") -> "List[Any]":
    """The statements to run in place of ``statement``; takes the flags that it assigns out of ``left``."""
    members = _members(statement, left)
    if members:
        return [statement, *members]
    if isinstance(statement, _ast.AnnAssign):
        target = statement.target
        if statement.value is not None and isinstance(target, _ast.Name) and target.id in left:
            statement.value = _expression(left.pop(target.id), statement.value)
        return [statement]
    if not isinstance(statement, _ast.Assign):
        return [statement]
    given = [target.id for target in statement.targets if isinstance(target, _ast.Name) and target.id in left]
    if not given:
        return [statement]
    statements: List[Any] = []
    others = [target for target in statement.targets if getattr(target, "id", None) not in given]
    if others:
        # a = b = f(): the others get what they would have got.
        statements.append(_assignment(others, statement.value, statement))
    for name in dict.fromkeys(given):
        target = _at(_ast.Name(id=name, ctx=_ast.Store()), statement)
        statements.append(_assignment([target], _expression(left.pop(name), statement.value), statement))
    return statements


def _members(statement: "Any", left: "Dict[str, Any]") -> "List[Any]":
    """The statements that set members of the global that ``statement`` assigns, if any are to be set."""
    if isinstance(statement, _ast.AnnAssign):
        targets = [statement.target] if statement.value is not None else []
    elif isinstance(statement, _ast.Assign):
        targets = statement.targets
    else:
        return []
    statements: List[Any] = []
    for target in targets:
        if isinstance(target, _ast.Name):
            for kind in ("dict", "namespace"):
                values = left.pop("%s:%s" % (kind, target.id), None)
                if values:
                    owner = _at(_ast.Name(id=target.id, ctx=_ast.Load()), statement)
                    statements += _settings(owner, statement.value, kind == "dict", values)
    return statements


def _settings(owner: "Any", literal: "Any", subscripts: bool, values: "Dict[str, Any]") -> "List[Any]":
    """``owner["name"] = value`` or ``owner.name = value`` for each of the values, as the literal has it."""
    if isinstance(literal, _ast.Dict):
        subscripts = True
        values_of = literal.values
        inner = {getattr(key, "value", None): values_of[place] for place, key in enumerate(literal.keys)}
    elif isinstance(literal, _ast.Call):
        inner = {keyword.arg: keyword.value for keyword in literal.keywords}
        subscripts = isinstance(literal.func, _ast.Name) and literal.func.id == "dict"
    else:
        inner = {}
    statements: List[Any] = []
    for name in values:
        value, place = values[name], inner.get(name)
        if isinstance(value, dict) and isinstance(place, (_ast.Dict, _ast.Call)):
            member = _member(owner, name, subscripts, _ast.Load())
            statements += _settings(member, place, subscripts, value)  # pyright: ignore
        else:
            member = _member(owner, name, subscripts, _ast.Store())
            statements.append(_assignment([member], _expression(value, owner), owner))
    return statements


def _member(owner: "Any", name: str, subscript: bool, context: "Any") -> "Any":
    if not subscript:
        return _at(_ast.Attribute(value=owner, attr=name, ctx=context), owner)
    key: Any = _at(_ast.Constant(value=name, kind=None), owner)
    if sys.version_info < (3, 9):
        key = _at(_ast.Index(value=key), owner)
    return _at(_ast.Subscript(value=owner, slice=key, ctx=context), owner)


def _named(values: "Dict[str, Any]") -> "Dict[str, Any]":
    """The globals for flags that no statement assigns."""
    named: Dict[str, Any] = {}
    for name in values:
        kind, _, plain = name.rpartition(":")
        named[plain] = _namespace(values[name]) if kind == "namespace" else values[name]
    return named


def _namespace(values: "Any") -> "Any":
    if not isinstance(values, dict):
        return values
    members: Dict[str, Any] = values  # pyright: ignore
    return type(sys.implementation)(**{name: _namespace(members[name]) for name in members})


def _assignment(targets: "List[Any]", value: "Any", place: "Any") -> "Any":
    return _at(_ast.Assign(targets=targets, value=value, type_comment=None), place)


def _expression(value: "Any", place: "Any") -> "Any":
    node: Any
    if isinstance(value, list):
        node = _ast.List(elts=[_expression(item, place) for item in value], ctx=_ast.Load())  # pyright: ignore
    elif isinstance(value, dict):
        names: List[Any] = list(value)  # pyright: ignore
        node = _ast.Dict(
            keys=[_expression(name, place) for name in names],
            values=[_expression(value[name], place) for name in names],
        )
    else:
        node = _ast.Constant(value=value, kind=None)
    return _at(node, place)


def _at(node: "Any", place: "Any") -> "Any":
    node.lineno, node.col_offset = place.lineno, place.col_offset
    node.end_lineno, node.end_col_offset = place.end_lineno, place.end_col_offset
    return node


def _hide_frames(injector: str) -> None:
    """Have an exception that nobody catches reported without the frames of our two files."""
    ours = (injector, __file__)
    report_without(lambda trace: _without_frames(trace, ours))


def report_without(cut: "Callable[[Optional[TracebackType]], Optional[TracebackType]]") -> None:
    """Have an exception that nobody catches reported with what ``cut`` leaves of its traceback."""
    report = sys.excepthook

    def report_script(
        kind: "Type[BaseException]", error: BaseException, trace: "Optional[TracebackType]"
    ) -> None:
        trace = cut(trace)
        # Not by with_traceback(), which the script's own class may have made something else.
        error.__traceback__ = trace
        if hasattr(sys, "last_traceback"):
            sys.last_traceback = trace
        try:
            report(kind, error, trace)
        except SystemExit:
            raise
        except BaseException as failure:
            # The script's own hook has failed: what the interpreter says then, but it would show us above it.
            _say("Error in sys.excepthook:")
            failure.__traceback__ = cut(failure.__traceback__)
            sys.__excepthook__(type(failure), failure, failure.__traceback__)
            _say("\nOriginal exception was:")
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report_script


def _without_frames(trace: "Optional[TracebackType]", files: "Tuple[str, str]") -> "Optional[TracebackType]":
    """``trace`` without the frames of ``files``: at its beginning, and (spawned processes) in its middle."""
    while trace is not None and trace.tb_frame.f_code.co_filename in files:
        trace = trace.tb_next
    kept = trace
    while kept is not None:
        following = kept.tb_next
        if following is not None and following.tb_frame.f_code.co_filename in files:
            kept.tb_next = following.tb_next
        else:
            kept = following
    return trace


def _say(text: str) -> None:
    if sys.stderr is not None:  # pyright: ignore
        print(text, file=sys.stderr)


def _hook_spawning(script: str, module: str, injector: str) -> None:
    """Make ``multiprocessing``, once it is imported, send spawned processes to us, not to ``script``.

    A script that runs as a ``module`` would be sent for by that name.
    """
    script = os.path.abspath(script)

    class SpawnHook:
        @staticmethod
        def find_spec(name: str, path: "Any" = None, target: "Any" = None) -> "Any":
            if name != "multiprocessing.spawn":
                return None
            sys.meta_path.remove(hook)
            from importlib.util import find_spec

            spec: Any = find_spec(name)
            if spec is not None and spec.loader is not None:
                execute = spec.loader.exec_module

                def exec_module(module: "Any") -> None:
                    execute(module)
                    module.get_preparation_data = redirected(module.get_preparation_data)

                spec.loader.exec_module = exec_module
            return spec

    def redirected(prepare: "Any") -> "Any":
        def get_preparation_data(name: str) -> "Dict[str, Any]":
            data = prepare(name)
            by_name = module and data.get("init_main_from_name") == module
            if by_name:
                del data["init_main_from_name"]
            if by_name or os.path.abspath(data.get("init_main_from_path") or "") == script:
                data["init_main_from_path"] = injector
            return data

        return get_preparation_data

    hook: Any = SpawnHook
    loaded: Any = sys.modules.get("multiprocessing.spawn")
    if loaded is None:
        sys.meta_path.insert(0, hook)
    else:
        loaded.get_preparation_data = redirected(loaded.get_preparation_data)


def _load(script: str, text: str) -> "Tuple[List[Any], Dict[str, Any]]":
    try:
        with open(script, "rb") as stream:
            source = stream.read()
    except OSError as error:
        print(
            "%s: can't open file %r: [Errno %s] %s" % (sys.executable, script, error.errno, error.strerror),
            file=sys.stderr,
        )
        sys.exit(2)
    return compile_script(source, script, read_flags(text))


def _find_module(name: str) -> "Any":
    """The spec of the module that ``python -m name`` would run; of a package, that of its ``__main__``.

    What its packages do when they are imported happens here.
    """
    from importlib.util import find_spec

    parent = name.rpartition(".")[0]
    try:
        if parent:
            __import__(parent)
    except ImportError as error:
        if error.name is None or not (parent + ".").startswith(error.name + "."):
            raise
    try:
        spec = find_spec(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        message = "Error while finding module specification for %r (%s: %s)"
        sys.exit("%s: " % sys.executable + message % (name, type(error).__name__, error))
    if spec is not None and spec.submodule_search_locations is not None:
        return _find_module(name + ".__main__")
    if spec is None or spec.origin is None:
        sys.exit("%s: No module named %s" % (sys.executable, name))
    return spec


def _identity(script: str, spec: "Any") -> "Dict[str, Any]":
    """What a module knows of itself that is run as ``__main__``, by its path or (``spec``) by its name."""
    ours: Any = sys.modules["__main__"]
    names: Dict[str, Any] = {
        "__file__": script,
        "__loader__": type(ours.__loader__)("__main__", script) if spec is None else spec.loader,
    }
    told = {"__spec__": spec, "__package__": spec and spec.parent, "__cached__": spec and spec.cached}
    names.update((name, told[name]) for name in told if name in vars(ours))
    return names


def _main_module(script: str, spec: "Any") -> "ModuleType":
    """A fresh ``__main__``, as the interpreter would make it."""
    main = type(sys)("__main__")
    names = _identity(script, spec)
    names["__builtins__"] = sys.modules["builtins"]
    if "__annotations__" in vars(sys.modules["__main__"]):
        names["__annotations__"] = {}
    for name in names:
        setattr(main, name, names[name])
    return main


def replace_main(main: "ModuleType") -> None:
    """Make this module ``__main__``, also where ``multiprocessing`` has given that another name."""
    before = sys.modules["__main__"]
    for name in ("__main__", "__mp_main__"):
        if sys.modules.get(name) is before:
            sys.modules[name] = main


def run(words: "List[str]", injector: str) -> None:
    """Run a script with the values of its flags; ends as the script ends.

    Args:
        words: ``SCRIPT FLAGS`` or ``-m MODULE FLAGS``, and then the script's own arguments.
        injector: the path of ``inject.py``.
    """
    is_safe = getattr(sys.flags, "safe_path", False)
    try:
        spec = None
        if words[0] == "-m":
            del words[0]
            if not is_safe:
                sys.path[0] = os.getcwd()
            spec = _find_module(words[0])
        elif not is_safe:
            sys.path[0] = os.path.dirname(os.path.realpath(words[0]))
        _run_main(spec, words, injector)
    except BaseException:
        _hide_frames(injector)
        raise


def _run_main(spec: "Any", words: "List[str]", injector: str) -> None:
    script, text = words[:2]
    if spec is not None:
        path = script = spec.origin
    else:
        path = os.path.join(os.getcwd(), script) if sys.version_info >= (3, 9) else script
    sys.argv = [script, *words[2:]]
    # The main module of a package is not run again in spawned processes.
    module = "" if spec is None or spec.name.endswith(".__main__") else spec.name
    os.environ[VARIABLE] = "\n".join((module, os.path.join(os.getcwd(), script), text))
    main = _main_module(path, spec)
    _hook_spawning(path, module, injector)
    codes, unassigned = _load(path, text)
    names = vars(main)
    names.update(_named(unassigned))
    replace_main(main)
    for code in codes:
        exec(code, names)


def run_spawned(names: "Dict[str, Any]", injector: str) -> None:
    """Become the script in a spawned process, in the namespace ``names`` that was made for ``inject.py``."""
    module, path, text = os.environ[VARIABLE].split("\n", 2)
    _hook_spawning(path, module, injector)
    try:
        itself = _identity(path, _find_module(module)) if module else {"__file__": path}
        codes, unassigned = _load(path, text)
        for name in [name for name in names if not name.startswith("__")]:
            del names[name]
        names.update(_named(unassigned), **itself)
        for code in codes:
            exec(code, names)
    except BaseException:
        _hide_frames(injector)
        raise
