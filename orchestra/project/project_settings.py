"""The settings that a project's file has for all that is run from its directory.

They stand in an item of their own (``- settings: {executor: slurm}``), or beside ``operations`` where these are all
that the file has. In a file that is nothing but operations by their names, ``settings`` is one of these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from orchestra.errors import ProjectFileError

OWN_FILE: Final = "orchestra.yml"
"""The project's own file; that of the predecessor knows no settings."""
SETTINGS: Final = "settings"


def project_settings(directory: Path) -> dict[str, Any]:
    """What ``orchestra.yml`` in ``directory`` settles; nothing where it can't be read: who needs it is told why.

    Raises:
        ProjectFileError: it settles something twice, or what it settles is no mapping.
    """
    path = directory / OWN_FILE
    try:
        # Nearly no file has settings: then none is parsed.
        if SETTINGS.encode() not in path.read_bytes():
            return {}
    except OSError:
        return {}
    from orchestra.project.documents import Map, Seq, plain, read_document

    try:
        document = read_document(path)
    except ProjectFileError:
        return {}
    items = cast("list[Any]", document) if isinstance(document, Seq) else [document]
    maps = [item for item in items if isinstance(item, Map) and SETTINGS in item]
    found = [item for item in maps if item is not document or isinstance(item.get("operations"), Map)]
    if not found:
        return {}
    place = found[-1].places[SETTINGS]
    if len(found) > 1:
        raise ProjectFileError(f"{place}: there are settings already", "Put them together.")
    settings = found[0][SETTINGS]
    if not isinstance(settings, Map):
        raise ProjectFileError(f"{place}: the settings have to be a mapping, as of a configuration file")
    return plain(settings)
