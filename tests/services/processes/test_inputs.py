"""What the command line takes and what the processes take are one: neither can change alone."""

from __future__ import annotations

import jsonschema
import pytest
import typer

from pipelines.cli import app
from services.change.requests import ChangeRequest, DesignRequest, ReportRequest, TemporalRequest, ZonalRequest
from services.processes.descriptions import description, schema_of
from services.processes.inputs import AreaInputs, ZoneInputs
from services.processes.processes import PROCESSES, as_inputs

# What each names in its own way: the catalog, files, the area.
OF_COMMANDS = {
    "maps",
    "out",
    "s3_endpoint",
    "bbox",
    "centre",
    "size_km",
    "aoi",
    "zones",
    "join",
    "design",
    "sample",
} | {"verbose"}
COMMANDS = {
    ("change",): ("change", ChangeRequest),
    ("temporal",): ("temporal", TemporalRequest),
    ("zonal",): ("zonal", ZonalRequest),
    ("accuracy", "design"): ("accuracy-design", DesignRequest),
    ("accuracy", "report"): ("accuracy-report", ReportRequest),
}


def parameters(*path: str) -> dict[str, object]:
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return {one.name: one.default for one in command.params if one.name not in OF_COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_process_takes_what_the_command_takes(path):
    process, request = COMMANDS[path]
    inputs, options = PROCESSES[process].inputs, parameters(*path)
    assert set(options) == set(request.model_fields)
    assert set(inputs.model_fields) - {*AreaInputs.model_fields, *ZoneInputs.model_fields} - {
        "design",
        "sample",
        "sample_file",
    } == set(request.model_fields)
    for name, default in options.items():
        field = inputs.model_fields[name]
        if not field.is_required():
            assert field.default == default or (not field.default and not default), name


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda one: one.id)
def test_schemas_are_valid_and_whole_in_themselves(process):
    schema = schema_of(process)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "$ref" not in str(schema)
    told = description(process, "http://here/")
    assert set(told["inputs"]) == set(schema["properties"])
    assert all(one["description"] for one in told["inputs"].values())


def test_messages_name_inputs_instead_of_options():
    assert as_inputs("Give --size-km or --class, as 2-3 - 1.") == "Give size_km or class, as 2-3 - 1."
