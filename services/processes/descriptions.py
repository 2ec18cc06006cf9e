"""What clients are told: processes with the JSON schemas of their inputs, the state of jobs, and results."""

from __future__ import annotations

from typing import Any

from catalog.links import JSON
from services.processes.jobs import ENDED, Job
from services.processes.processes import PROCESSES, Process

RELATIONS = "http://www.opengis.net/def/rel/ogc/1.0"
EXCEPTIONS = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
CONFORMANCE = [
    f"http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/{name}"
    for name in ("core", "ogc-process-description", "json", "job-list", "dismiss")
]
GEOJSON = "application/geo+json"
RESULT: dict[str, Any] = {
    "type": "object",
    "required": ["items", "left_out", "notes"],
    "properties": {
        "items": {"type": "array", "items": {"type": "object"}, "description": "Links to the published STAC items."},
        "files": {"type": "array", "items": {"type": "object"}, "description": "Links to files that the job made."},
        "published": {"type": "integer", "description": "How many were made."},
        "skipped": {"type": "integer", "description": "How many stood already, of the same maps and options."},
        "left_out": {"type": "object", "description": "What is not in it, and why."},
        "notes": {"type": "array", "items": {"type": "string"}, "description": "What readers have to know."},
    },
}
LINK = {
    "type": "object",
    "required": ["href"],
    "properties": {name: {"type": "string"} for name in ("href", "rel", "type", "title")},
}
STATUS: dict[str, Any] = {
    "type": "object",
    "required": ["jobID", "processID", "type", "status"],
    "properties": {
        **{name: {"type": "string"} for name in ("jobID", "processID", "message", "created", "started", "finished")},
        "updated": {"type": "string"},
        "type": {"type": "string", "enum": ["process"]},
        "status": {"type": "string", "enum": ["accepted", "running", *ENDED]},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "links": {"type": "array", "items": LINK},
    },
}


def link(href: str, rel: str, kind: str = JSON, title: str = "") -> dict[str, str]:
    """A link."""
    return {"href": href, "rel": rel, "type": kind, **({"title": title} if title else {})}


def summary(process: Process, base: str) -> dict[str, Any]:
    """A process in the list of all.

    Args:
        process: to be told.
        base: the API's own address, with a slash at its end.
    """
    here = f"{base}processes/{process.id}"
    return {
        "id": process.id,
        "version": "1.0.0",
        "title": process.title,
        "description": process.description,
        "jobControlOptions": ["async-execute", "dismiss"],
        "outputTransmission": ["value"],
        "links": [link(here, "self"), link(f"{here}/execution", f"{RELATIONS}/execute", title="Start a job")],
    }


def description(process: Process, base: str) -> dict[str, Any]:
    """A process with its inputs."""
    whole = schema_of(process)
    required = whole.get("required", ())
    return summary(process, base) | {
        "inputs": {
            name: {
                "title": name,
                "description": one.get("description", ""),
                "minOccurs": int(name in required),
                "maxOccurs": 1,
                "schema": {key: value for key, value in one.items() if key not in ("title", "description")},
            }
            for name, one in whole["properties"].items()
        },
        "outputs": {
            "result": {"title": "result", "description": "What was published, and what was left out.", "schema": RESULT}
        },
    }


def schema_of(process: Process) -> dict[str, Any]:
    """JSON schema of a process's inputs, whole in itself."""
    whole = process.inputs.model_json_schema()
    return dict(_inlined({key: value for key, value in whole.items() if key != "$defs"}, whole.get("$defs", {})))


def _inlined(part: Any, parts: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(one, parts) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        rest = {key: value for key, value in part.items() if key != "$ref"}
        return {**_inlined(parts[part["$ref"].rpartition("/")[2]], parts), **rest}
    return {key: _inlined(value, parts) for key, value in part.items()}


def execute_schema(process: Process) -> dict[str, Any]:
    """JSON schema of the body that starts a job."""
    return {
        "type": "object",
        "properties": {
            "inputs": schema_of(process),
            "outputs": {
                "type": "object",
                "properties": {"result": {"type": "object"}},
                "additionalProperties": False,
                "description": "There is one, and it is always given.",
            },
            "response": {"type": "string", "enum": ["raw", "document"], "default": "raw"},
        },
        **({"required": ["inputs"]} if schema_of(process).get("required") else {}),
        "additionalProperties": False,
    }


def status_of(job: Job, base: str) -> dict[str, Any]:
    """How far a job is."""
    here = f"{base}jobs/{job.id}"
    links = [link(here, "self"), link(f"{base}processes/{job.process}", "process")]
    if job.status in ("successful", "failed"):
        links.append(link(f"{here}/results", f"{RELATIONS}/results"))
    told = {
        "jobID": job.id,
        "processID": job.process,
        "type": "process",
        "status": job.status,
        "message": job.message,
        "progress": job.progress,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "updated": job.updated,
        "links": links,
    }
    return {name: value for name, value in told.items() if value is not None}


def results(job: Job, base: str) -> dict[str, Any]:
    """What a job published; items by the API and, at once and of a catalog in PostgreSQL, too, as files."""
    found = job.result or {}
    items = []
    for key in found["items"]:
        collection, name = key.partition("/")[0], key.rpartition("/")[2].removesuffix(".json")
        items.append(
            link(f"{base}files/{key}", "item", GEOJSON, name)
            | {"collection": collection, "api": f"{base}collections/{collection}/items/{name}"}
        )
    files = [link(f"{base}jobs/{job.id}/files/{name}", "item", _kind(name), name) for name in found.get("files", ())]
    result = found | {"items": items} | ({"files": files} if files else {})
    return {"result": {"value": result}} if job.response == "document" else result


def _kind(name: str) -> str:
    kinds = {"csv": "text/csv", "json": JSON, "geojson": GEOJSON, "gpkg": "application/geopackage+sqlite3"}
    return kinds.get(name.rpartition(".")[2], "application/octet-stream")


def all_processes(base: str) -> dict[str, Any]:
    """The list of processes."""
    links = [link(f"{base}processes", "self"), link(base, "root")]
    return {"processes": [summary(one, base) for one in PROCESSES.values()], "links": links}
