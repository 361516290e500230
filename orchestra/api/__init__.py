"""The synchronous facade for notebooks and scripts, over the async engine.

Works inside of a running event loop, too (Jupyter): the engine then has a thread of its own. What the
command line would print goes to ``sys.stdout``.
"""

from __future__ import annotations

from orchestra.api.keeping import (
    export_crate,
    export_runs,
    import_guild,
    import_runs,
    mark,
    runs_comment,
    runs_delete,
    runs_label,
    runs_purge,
    runs_restore,
    runs_tag,
)
from orchestra.api.project import Project
from orchestra.api.reading import attributes, compare, runs_list, scalar, scalars, series
from orchestra.api.running import RunError, run, run_capture_output

__all__ = [
    "Project",
    "RunError",
    "attributes",
    "compare",
    "export_crate",
    "export_runs",
    "import_guild",
    "import_runs",
    "mark",
    "run",
    "run_capture_output",
    "runs_comment",
    "runs_delete",
    "runs_label",
    "runs_list",
    "runs_purge",
    "runs_restore",
    "runs_tag",
    "scalar",
    "scalars",
    "series",
]
