"""Runs as an RO-Crate: what was executed, with what, by whom and what came of it, as linked data.

The graph follows the Workflow Run RO-Crate profiles: a run is a ``CreateAction`` of its script (Process Run Crate), the
script of the newest one is the crate's workflow (Workflow Run Crate), and where there is a batch or a pipeline that is
the workflow, whose runs its parts are (Provenance Run Crate). Pure functions: the files are somebody else's.
"""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

from orchestra.model.crate_words import (
    LANGUAGES,
    OTHER_LANGUAGE,
    Entity,
    address_of,
    described,
    flags_of,
    has_failed,
    iso_time,
    plain,
    shown,
    status_of,
    to,
    type_of,
    types_of,
)
from orchestra.model.redaction import is_secret, redact_text
from orchestra.model.run import Run

METADATA: Final = "ro-crate-metadata.json"
CONTEXT: Final = ("https://w3id.org/ro/crate/1.1/context", {"sha256": "http://schema.org/sha256"})
RO_CRATE: Final = "https://w3id.org/ro/crate/1.1"
WORKFLOW_CRATE: Final = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
WORKFLOW: Final = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PROFILES: Final = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
}
ENGINE: Final = "#orchestra"
NO_LICENSE: Final = "No license is recorded: ask whoever made these runs."


class CrateFile(Struct, frozen=True, kw_only=True):
    """A file of a crate."""

    path: str
    """In the crate."""
    size: int
    sha256: str


class CrateRun(Struct, frozen=True, kw_only=True):
    """A run of a crate, with its files as they are there."""

    run: Run
    script: CrateFile | None = None
    """What it executes, if that is a file in the crate; of a batch or pipeline, what describes it."""
    source: tuple[CrateFile, ...] = ()
    inputs: tuple[CrateFile, ...] = ()
    results: tuple[CrateFile, ...] = ()
    scalars: Mapping[str, float] = {}


class CrateTerms(Struct, frozen=True, kw_only=True):
    """What is said of a crate as a whole."""

    name: str
    description: str
    published: int
    """Microseconds since the epoch."""
    version: str
    """Of orchestra."""
    license: str | None = None
    """An address or a text."""


def crate_metadata(runs: Sequence[CrateRun], terms: CrateTerms) -> Entity:
    """The document that describes a crate of ``runs``, which are not none, newest first."""
    return _Crate(runs, terms).document()


class _Crate:
    def __init__(self, runs: Sequence[CrateRun], terms: CrateTerms) -> None:
        self._runs = runs
        self._terms = terms
        self._entities: dict[str, Entity] = {}
        self._root: Entity = {"@id": "./", "@type": "Dataset"}
        self._actions: dict[str, str] = {}
        self._main = self._choose_main()
        self._members = [
            one for one in runs if self._main is not None and self._is_member(one.run, self._main.run)
        ]

    def document(self) -> Entity:
        for one in self._runs:
            self._add_run(one)
        if self._members and self._main is not None:
            self._add_orchestration(self._main)
        self._add_root()
        return {"@context": list(CONTEXT), "@graph": [plain(entity) for entity in self._entities.values()]}

    def _choose_main(self) -> CrateRun | None:
        """What the crate is about: a batch or pipeline with its runs before a single run."""
        described = [one for one in self._runs if one.script is not None]
        for one in described:
            if one.run.kind in ("batch", "steps") and any(
                self._is_member(each.run, one.run) for each in self._runs
            ):
                return one
        return next((one for one in described if one.run.kind == "run"), None)

    def _is_member(self, run: Run, of: Run) -> bool:
        return run.id != of.id and of.id in (run.batch, run.parent) and of.kind in ("batch", "steps")

    def _put(self, entity: Entity) -> Entity:
        """Add an entity, once."""
        return self._entities.setdefault(entity["@id"], entity)

    def _add_root(self) -> None:
        terms, is_workflow = self._terms, self._main is not None
        profiles = list(PROFILES)[: 3 if self._members else 2 if is_workflow else 1]
        conforms = [*profiles, *([WORKFLOW_CRATE] if is_workflow else [])]
        names = {**PROFILES, WORKFLOW_CRATE: "Workflow RO-Crate"}
        for profile in conforms:
            version = profile.rpartition("/")[2]
            self._put({"@id": profile, "@type": "CreativeWork", "name": names[profile], "version": version})
        parts = [entity for entity in self._entities.values() if "File" in types_of(entity)]
        self._root |= {
            "name": terms.name,
            "description": terms.description,
            "datePublished": iso_time(terms.published),
            "license": self._license(),
            "conformsTo": [to(profile) for profile in conforms],
            "hasPart": [to(part["@id"]) for part in parts],
            "mentions": [to(action) for action in self._actions.values()],
            "mainEntity": to(self._tool_id(self._main)) if self._main is not None else None,
        }
        descriptor = {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": to("./"),
            "conformsTo": [to(RO_CRATE), *([to(WORKFLOW_CRATE)] if is_workflow else [])],
        }
        self._entities = {METADATA: descriptor, "./": self._root, **self._entities}

    def _license(self) -> Any:
        given = self._terms.license or NO_LICENSE
        if not given.startswith(("https://", "http://")):
            return given
        self._put(
            {
                "@id": given,
                "@type": "CreativeWork",
                "name": given,
                "description": "The license of this crate.",
            }
        )
        return to(given)

    def _add_run(self, one: CrateRun) -> None:
        run, action = one.run, f"#run-{one.run.id}"
        self._actions[run.id] = action
        tool = self._add_tool(one)
        objects = [self._value(one, "flag", name, value, tool) for name, value in flags_of(run).items()]
        objects += [self._add_file(file) for file in one.inputs] + self._sources(run)
        results = [self._add_file(file) for file in one.results]
        results += [self._value(one, "scalar", name, value, None) for name, value in one.scalars.items()]
        self._put(
            {
                "@id": action,
                "@type": "CreateAction",
                "name": f"{run.operation_name} {run.label or ''}".strip(),
                "description": described(run),
                "startTime": iso_time(run.started) if run.started is not None else None,
                "endTime": iso_time(run.stopped) if run.stopped is not None else None,
                "instrument": to(tool["@id"]),
                "agent": self._agent(run),
                "object": objects,
                "result": results,
                "actionStatus": status_of(run),
                "error": redact_text(run.reason or f"exit status {run.exit_code}")
                if has_failed(run)
                else None,
            }
        )

    def _tool_id(self, one: CrateRun) -> str:
        if one.script is not None:
            return address_of(one.script.path)
        return f"#operation-{quote(one.run.operation.name, safe='')}"

    def _add_tool(self, one: CrateRun) -> Entity:
        """What a run has executed."""
        run, script = one.run, one.script
        if script is None:
            tool = {"@id": self._tool_id(one), "@type": "SoftwareApplication", "name": run.operation.name}
            return self._put(tool | {"description": run.operation.description or None})
        reference = self._add_file(script)
        tool = self._entities[reference["@id"]]
        is_main = self._main is not None and self._main.run.id == run.id
        types = ["File", "SoftwareSourceCode", *(["ComputationalWorkflow"] if is_main else [])]
        tool["@type"] = [*types, *(["HowTo"] if is_main and self._members else [])]
        tool["name"] = run.operation_name
        tool["description"] = run.operation.description or None
        tool["version"] = run.vcs_commit or run.sourcecode_digest
        tool["conformsTo"] = to(WORKFLOW) if is_main else None
        tool["programmingLanguage"] = self._language(script.path)
        others = [file for file in one.source if file.path != script.path]
        if others and not is_main:
            tool["hasPart"] = [self._add_file(file) for file in others]
        else:
            for file in others:
                self._add_file(file)
        return tool

    def _language(self, path: str) -> Entity:
        address, name, url = LANGUAGES.get(posixpath.splitext(path)[1].lower(), OTHER_LANGUAGE)
        self._put({"@id": address, "@type": "ComputerLanguage", "name": name, "url": url})
        return to(address)

    def _add_file(self, file: CrateFile) -> Entity:
        kind = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
        entity = {
            "@id": address_of(file.path),
            "@type": "File",
            "name": posixpath.basename(file.path),
            "contentSize": str(file.size),
            "encodingFormat": kind,
            "sha256": file.sha256,
        }
        return to(self._put(entity)["@id"])

    def _value(self, one: CrateRun, kind: str, name: str, value: Any, tool: Entity | None) -> Entity:
        """A flag or scalar of a run: its value, as one of the parameter that the operation has."""
        address = f"#{kind}-{one.run.id}-{quote(name, safe='')}"
        entity = self._put({"@id": address, "@type": "PropertyValue", "name": name, "value": shown(value)})
        if tool is not None:
            parameter_id = f"#parameter-{quote(tool['@id'], safe='')}-{quote(name, safe='')}"
            definition = one.run.operation.flag(name)
            parameter = self._put(
                {
                    "@id": parameter_id,
                    "@type": "FormalParameter",
                    "additionalType": type_of(value),
                    "name": name,
                    "description": (definition.description if definition else "") or None,
                    "workExample": [],
                }
            )
            examples: list[Entity] = parameter["workExample"]
            examples.append(to(address))
            entity["exampleOfWork"] = to(parameter_id)
            inputs: list[Entity] = tool.setdefault("input", [])
            if to(parameter_id) not in inputs:
                inputs.append(to(parameter_id))
        return to(address)

    def _sources(self, run: Run) -> list[Entity]:
        """What a run has got from elsewhere: of other runs in the crate their actions tell, of addresses they do."""
        found: list[Entity] = []
        for source in run.resolved:
            if source.origin.startswith(("https://", "http://")) and not is_secret("", source.origin):
                entity = {"@id": source.origin, "@type": "CreativeWork", "name": redact_text(source.source)}
                found.append(to(self._put(entity)["@id"]))
        return found

    def _agent(self, run: Run) -> Entity | None:
        if not run.user:
            return None
        address = f"#user-{quote(run.user, safe='')}"
        return to(self._put({"@id": address, "@type": "Person", "name": run.user})["@id"])

    def _add_orchestration(self, main: CrateRun) -> None:
        """The runs of a batch or pipeline as its steps, which orchestra has controlled."""
        workflow = self._entities[self._tool_id(main)]
        self._put(
            {
                "@id": ENGINE,
                "@type": "SoftwareApplication",
                "name": "Orchestra",
                "softwareVersion": self._terms.version,
                "description": "Runs any script as an experiment.",
            }
        )
        tools = list(dict.fromkeys(self._tool_id(one) for one in self._members))
        workflow["hasPart"] = [to(tool) for tool in tools]
        controls, steps = list[Entity](), list[Entity]()
        workflow["step"] = steps
        for position, one in enumerate(reversed(self._members), 1):
            step = f"#step-{one.run.id}"
            self._put(
                {
                    "@id": step,
                    "@type": "HowToStep",
                    "name": one.run.operation_name,
                    "position": str(position),
                    "workExample": to(self._tool_id(one)),
                }
            )
            steps.append(to(step))
            control = f"#control-{one.run.id}"
            action = to(self._actions[one.run.id])
            name = f"Start of run {one.run.short_id}"
            self._put(
                {
                    "@id": control,
                    "@type": "ControlAction",
                    "name": name,
                    "instrument": to(step),
                    "object": action,
                }
            )
            controls.append(to(control))
        self._put(
            {
                "@id": f"#orchestration-{main.run.id}",
                "@type": "OrganizeAction",
                "name": f"Execution of {main.run.operation_name}",
                "instrument": to(ENGINE),
                "object": controls,
                "result": to(self._actions[main.run.id]),
                "startTime": iso_time(main.run.started) if main.run.started is not None else None,
                "endTime": iso_time(main.run.stopped) if main.run.stopped is not None else None,
            }
        )
        self._actions["orchestration"] = f"#orchestration-{main.run.id}"
