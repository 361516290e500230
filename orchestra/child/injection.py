"""What ``inject.py`` does: a script's globals get given values where they are first assigned.

The first top-level assignment of each name in FLAGS (a JSON object) assigns the given value; later code that
assigns again is respected. A name that is never assigned is set before the script begins. Values for the members
of one global, ``{"dict:params": {"lr": 0.1}}`` or ``"namespace:..."``, are set right after its assignment. Line
numbers, exit codes, ``__main__`` and tracebacks are those of the script alone.

Python >= 3.8 and the standard library alone. Little is imported, for that is what start-up time goes into: where a
tree is needed, it comes from the compiler itself (``_ast``), and JSON with escapes from the C scanner.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _ast
    from types import ModuleType, TracebackType
    from typing import Any, Callable, Dict, List, Optional, Tuple, Type

VARIABLE = "ORCHESTRA_INJECTION"
"""Tells spawned processes what to run: a module's name or nothing, the script's path, FLAGS, each on a line."""

_ONLY_TREE = 0x400  # ast.PyCF_ONLY_AST
_INFINITY = float("inf")
_CONSTANTS: "Dict[str, Any]" = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": float("nan"),
    "Infinity": _INFINITY,
    "-Infinity": -_INFINITY,
}


def read_flags(text: str) -> "Dict[str, Any]":
    """The flags that a JSON text holds."""
    if "\\" not in text:
        try:
            # Without escapes, JSON is Python with three other names. To load a module of C takes ten times as long.
            return eval(text.strip(), {"__builtins__": {}}, _CONSTANTS)
        except (SyntaxError, ValueError, NameError, MemoryError, RecursionError):
            pass
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text)
    context: Any = type("Context", (), {})()
    context.strict, context.memo = False, {}
    context.object_hook = context.object_pairs_hook = None
    context.parse_float, context.parse_int, context.parse_constant = float, int, _CONSTANTS.__getitem__
    return make_scanner(context)(text.strip(), 0)[0]


def compile_script(
    source: bytes, filename: str, flags: "Dict[str, Any]"
) -> "Tuple[List[Any], Dict[str, Any]]":
    """What the script does with the flags' values in their places, and the flags that have no place.

    It may come in several parts: code, and values to set, to be run and set one after the other in one namespace.

    Raises:
        SyntaxError: the source is not valid Python.
        ValueError: it holds a NUL character.
    """
    parts = _compile_around(source, filename, flags)
    if parts is not None:
        return parts, {}
    code, left = _compile_whole(source, filename, flags)
    return [code], left


def _compile_around(source: bytes, filename: str, flags: "Dict[str, Any]") -> "Optional[List[Any]]":
    """The code before, between and after the lines that assign the flags, and the values between; None where that
    would not be exact.

    This takes no tree, which is slow to load and slow to make. If all parts are valid and each begins at column 0,
    then the script was cut between top-level statements: inside a bracket, string, block or continued line, the part
    before the cut would be incomplete. And nothing assigns a name before the first line that begins with it if the
    name is nowhere followed by what makes it a target.
    """
    if b"coding" in source[:200] or b"\r" in source or b"\\\n" in source:
        return None
    lines: List[Tuple[int, int, str, bytes]] = []
    try:
        for name in flags:
            line = _assigning_line(source, name, filename)
            if line is None:
                return None
            lines.append(line)
        lines.sort()
        # Beyond ASCII, what looks otherwise may be the same name.
        plain = not lines or source[: lines[-1][0]].isascii()
        return _parts(source, filename, lines, flags) if plain else None
    except (SyntaxError, ValueError):
        # Not valid in parts; whether it is as a whole, the compiler will say.
        return None


def _assigning_line(source: bytes, name: str, filename: str) -> "Optional[Tuple[int, int, str, bytes]]":
    """Where the line begins and ends that assigns ``name`` first, that name, and its annotation."""
    word = name.encode("utf-8", "surrogatepass")
    if not (word.isalnum() or word.replace(b"_", b"a").isalnum()):
        return None
    place = source.find(word)
    while place >= 0:
        after = place + len(word)
        if not (_is_word(source[place - 1 : place] if place else b"") or _is_word(source[after : after + 1])):
            if place == 0 or source[place - 1 : place] == b"\n":
                break
            if _is_target(source, place, after):
                return None
        place = source.find(word, after)
    if place < 0:
        return None
    end = source.find(b"\n", place) + 1 or len(source)
    annotation, equals, value = source[place + len(word) : end].partition(b"=")
    annotation = annotation.strip(b" \t")
    simple = annotation[:1] in (b"", b":") and not (set(value) & set(b"=;\\\f")) and b"#" not in annotation
    if not equals or not simple:
        return None
    # It must be one expression that ends in this line. Of what it warns, the script alone would be warned, too.
    compile(b"\n" * source.count(b"\n", 0, place) + value.strip(), filename, "eval", dont_inherit=True)
    return place, end, name, annotation


def _is_word(character: bytes) -> bool:
    return character.isalnum() or character == b"_" or character > b"\x7f"


def _is_target(source: bytes, place: int, after: int) -> bool:
    """Whether the name in between may be what a statement assigns, with or without parentheses around it."""
    before, following = source[max(0, place - 80) : place], source[after : after + 80].lstrip(b" \t\n)")
    begin = before.rstrip(b" \t\n(")
    in_parentheses = b"(" in before[len(begin) :]
    if following[:1] == b"=":
        return following[:2] != b"=="
    if following[:1] == b":":
        return in_parentheses or begin[-1:] == b";"
    return not following or (in_parentheses and following[:1] == b"#")


def _parts(
    source: bytes, filename: str, lines: "List[Tuple[int, int, str, bytes]]", flags: "Dict[str, Any]"
) -> "Optional[List[Any]]":
    parts: List[Any] = []
    begin = number = inherited = 0
    for place, end, name, annotation in [*lines, (len(source), 0, "", b"")]:
        text = source[begin:place]
        if text and not text.isspace():
            code = compile(b"\n" * number + text, filename, "exec", inherited, dont_inherit=True)
            # Only the first text is the docstring, and only the first imports are from __future__. Since 3.14 each
            # part would make its own function of the module's annotations.
            unlike = b"__future__" in text or "__doc__" in code.co_names
            if (begin and unlike) or "__annotate__" in code.co_names:
                return None
            if not begin:
                inherited = _future(text, code)
            parts.append(code)
        number += text.count(b"\n") + 1
        if name:
            parts.append({name: flags[name]})
        if annotation:
            text = b"\n" * (number - 1) + name.encode() + annotation
            parts.append(compile(text, filename, "exec", inherited, dont_inherit=True))
            if "__annotate__" in parts[-1].co_names:
                return None
        begin = end
    return parts


def run_parts(parts: "List[Any]", names: "Dict[str, Any]") -> None:
    """Run in ``names`` what :func:`compile_script` returned."""
    for part in parts:
        if isinstance(part, dict):
            names.update(part)  # pyright: ignore
        else:
            exec(part, names)


def _compile_whole(source: bytes, filename: str, flags: "Dict[str, Any]") -> "Tuple[Any, Dict[str, Any]]":
    global _ast
    import _ast

    tree: Any = compile(source, filename, "exec", _ONLY_TREE, dont_inherit=True)
    left = dict(flags)
    body: List[Any] = []
    for statement in tree.body:
        body += _replaced(statement, left) if left else [statement]
    tree.body = body
    return compile(tree, filename, "exec", dont_inherit=True), left


def _future(source: bytes, head: "Any") -> int:
    """The compiler flags that the later parts inherit: ``from __future__`` stands in the first."""
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
    parts, unassigned = _load(path, text)
    names = vars(main)
    names.update(_named(unassigned))
    replace_main(main)
    run_parts(parts, names)


def run_spawned(names: "Dict[str, Any]", injector: str) -> None:
    """Become the script in a spawned process, in the namespace ``names`` that was made for ``inject.py``."""
    module, path, text = os.environ[VARIABLE].split("\n", 2)
    _hook_spawning(path, module, injector)
    try:
        itself = _identity(path, _find_module(module)) if module else {"__file__": path}
        parts, unassigned = _load(path, text)
        for name in [name for name in names if not name.startswith("__")]:
            del names[name]
        names.update(_named(unassigned), **itself)
        run_parts(parts, names)
    except BaseException:
        _hide_frames(injector)
        raise
