"""Run a script as ``python SCRIPT`` would, or a module as ``python -m``, but with other values for its globals.

Run by path with the operation's interpreter: ``python -u inject.py SCRIPT FLAGS`` or ``-m MODULE FLAGS``; FLAGS is
a JSON object.
The interpreter compiles the file that it is given anew each time, so this one is short: the work is done by
``injection.py`` beside it, whose compiled form is kept. What ``multiprocessing`` spawns comes here, too.
"""

import sys
from _frozen_importlib_external import SourceFileLoader  # pyright: ignore

_path = __file__[: -len("inject.py")] + "injection.py"
_names = {"__name__": "injection", "__file__": _path}
exec(SourceFileLoader("injection", _path).get_code("injection"), _names)  # pyright: ignore

if __name__ == "__main__":
    _names["run"](sys.argv[1:], __file__)  # pyright: ignore
elif __name__ == "__mp_main__":
    _names["run_spawned"](globals(), __file__)  # pyright: ignore
