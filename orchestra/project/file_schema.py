"""The JSON Schema of ``orchestra.yml``, made from the types that the loader checks against."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from orchestra.project.file_types import (
    ModelSection,
    OperationSection,
    ProjectFile,
    RequirementSection,
    ResourceSection,
    SourceSection,
)

TITLE = "Project file of Orchestra (orchestra.yml)"
_INCLUDING = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def project_schema() -> dict[str, Any]:
    """The schema, for editors and checks: unknown keys are refused, as the loader does."""
    kinds = (ProjectFile, RequirementSection, ResourceSection, SourceSection)
    schemas, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    required = [schema["$ref"] for schema in schemas[1:]]
    _require_one_of(definitions[OperationSection.__name__]["properties"]["requires"], required)
    for section in ("OperationSection", "StepSection"):
        _allow_includes(definitions[section]["properties"]["flags"])
    # One model alone needs no list.
    alone = {"$ref": f"#/$defs/{ModelSection.__name__}", "required": ["operations"]}
    schemas[0]["anyOf"].append(alone)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        **schemas[0],
        "$defs": definitions,
    }


def _require_one_of(requires: dict[str, Any], references: list[str]) -> None:
    """A mapping under ``requires`` is one of several sections, which the types can't say."""
    one = [{"$ref": reference} for reference in references]
    for option in requires["anyOf"]:
        if option.get("type") == "array":
            option["items"] = {"anyOf": [{"type": "string"}, *one]}
    requires["anyOf"] = [option for option in requires["anyOf"] if option.get("type") != "object"] + one


def _allow_includes(flags: dict[str, Any]) -> None:
    """``$include`` among flags is no flag."""
    for option in flags.get("anyOf", [flags]):
        if option.get("type") == "object":
            option["properties"] = {"$include": _INCLUDING}


def schema_text() -> str:
    """The content of ``orchestra/schemas/project.schema.json``."""
    return json.dumps(project_schema(), indent=2) + "\n"
