"""The routes of OGC API - Processes 1.0 (core, job list, dismiss). Who holds the token starts and cancels jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import attr
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.requests import get_base_url
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

from catalog.errors import BadInput
from services.api.token import token_check
from services.processes.descriptions import (
    CONFORMANCE,
    EXCEPTIONS,
    RELATIONS,
    RESULT,
    STATUS,
    all_processes,
    description,
    execute_schema,
    link,
    results,
    status_of,
)
from services.processes.jobs import Job, Status
from services.processes.manager import Jobs, NoSuchJob, QueueFull
from services.processes.processes import PROCESSES

_QUALIFIED = {"value", "mediaType", "encoding", "schema"}
_PAGE = 1000
_RETRY_SECONDS = 30


class ProcessError(Exception):
    """An exception that OGC API - Processes names."""

    def __init__(self, status: int, kind: str, text: str):
        super().__init__(text)
        self.status, self.kind = status, f"{EXCEPTIONS}/{kind}"


class Execute(BaseModel):
    """The body that starts a job."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: dict[str, Any] = {}
    outputs: dict[str, dict[str, Any]] = {}
    response: Literal["raw", "document"] = "raw"


@attr.s
class Processes(ApiExtension):
    """Processes and their jobs."""

    jobs: Jobs = attr.ib(kw_only=True)
    token: str | None = attr.ib(kw_only=True)
    """Of who may start and cancel jobs; None: nobody may."""
    conformance_classes: list[str] = attr.ib(factory=lambda: list(CONFORMANCE))
    schema_href: str | None = attr.ib(default=None)

    def register(self, app: FastAPI) -> None:
        """See `ApiExtension`."""
        router = APIRouter(tags=["Processes"])
        told = {"response_model": None}
        router.add_api_route("/processes", self.list_processes, name="Processes", **told)  # type: ignore[arg-type]
        router.add_api_route("/processes/{process_id}", self.describe, name="Process", **told)  # type: ignore[arg-type]
        for name, process in PROCESSES.items():
            body = {"required": True, "content": {"application/json": {"schema": execute_schema(process)}}}
            router.add_api_route(
                f"/processes/{name}/execution",
                self._execution(name),
                methods=["POST"],
                status_code=201,
                name=f"Start {name}",
                operation_id=f"execute_{name.replace('-', '_')}",
                description=process.description,
                openapi_extra={"requestBody": body},
                responses={201: _told("The job is taken.", STATUS)},
                response_model=None,
            )
        router.add_api_route(
            "/processes/{process_id}/execution",
            self._unknown,
            methods=["POST"],
            include_in_schema=False,
            response_model=None,
        )
        of_job = {"response_model": None, "responses": {200: _told("The job.", STATUS)}}
        router.add_api_route("/jobs", self.list_jobs, name="Jobs", **told)  # type: ignore[arg-type]
        router.add_api_route("/jobs/{job_id}", self.job, name="Job", **of_job)  # type: ignore[arg-type]
        router.add_api_route(
            "/jobs/{job_id}",
            self.dismiss,
            methods=["DELETE"],
            name="Cancel or forget a job",
            **of_job,  # type: ignore[arg-type]
        )
        router.add_api_route(
            "/jobs/{job_id}/results",
            self.results,
            name="Results",
            responses={200: _told("What was made.", RESULT)},
            response_model=None,
        )
        router.add_api_route(
            "/jobs/{job_id}/files/{name}", self.file, name="File of a job", response_class=FileResponse
        )
        app.include_router(router)

        @app.exception_handler(ProcessError)
        def refused(request: Request, error: ProcessError) -> JSONResponse:
            return exception(error.status, error.kind.rpartition("/")[2], str(error), error.kind)

        @app.exception_handler(NoSuchJob)
        def no_such_job(request: Request, error: NoSuchJob) -> JSONResponse:
            return exception(404, "no-such-job", str(error), f"{EXCEPTIONS}/no-such-job")

        @app.exception_handler(QueueFull)
        def full(request: Request, error: QueueFull) -> JSONResponse:
            answer = exception(429, "TooManyJobs", str(error))
            answer.headers["retry-after"] = str(_RETRY_SECONDS)
            return answer

    def landing_links(self, base: str) -> list[dict[str, str]]:
        """What the landing page tells of processes."""
        return [
            link(f"{base}processes", f"{RELATIONS}/processes", title="Processes: change products"),
            link(f"{base}jobs", f"{RELATIONS}/job-list", title="Jobs"),
        ]

    def list_processes(self, request: Request) -> dict[str, Any]:
        """What can be asked for."""
        return all_processes(_base(request))

    def describe(self, process_id: str, request: Request) -> dict[str, Any]:
        """A process with the JSON schemas of its inputs."""
        if process_id not in PROCESSES:
            raise _no_such_process(process_id)
        return description(PROCESSES[process_id], _base(request))

    def list_jobs(
        self,
        request: Request,
        processID: Annotated[str | None, Query(description="Of this process alone.")] = None,  # noqa: N803
        status: Annotated[Status | None, Query(description="In this state alone.")] = None,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 100,
        after: Annotated[str | None, Query(description="Go on behind this job.")] = None,
    ) -> dict[str, Any]:
        """Jobs, the newest first."""
        base = _base(request)
        chosen = [one for one in self.jobs.all() if processID in (None, one.process) and status in (None, one.status)]
        if after is not None:
            # That job may have been forgotten meanwhile; its moment is in the text.
            chosen = [one for one in chosen if _place(one) < after]
        page = chosen[:limit]
        links = [link(str(request.url), "self")]
        if len(chosen) > limit:
            more = request.url.include_query_params(after=_place(page[-1]))
            links.append(link(f"{base}jobs?{more.query}", "next"))
        return {"jobs": [status_of(one, base) for one in page], "links": links}

    def job(self, job_id: str, request: Request) -> dict[str, Any]:
        """How far a job is."""
        return status_of(self.jobs.get(job_id), _base(request))

    def results(self, job_id: str, request: Request) -> Response:
        """What a job published."""
        job = self.jobs.get(job_id)
        if job.status == "failed":
            return exception(400 if job.refused else 500, "JobFailed", job.message)
        if job.status != "successful":
            raise ProcessError(404, "result-not-ready", f"The job is {job.status}: {job.message}")
        return JSONResponse(results(job, _base(request)))

    def file(self, job_id: str, name: str) -> Response:
        """A file that a job made."""
        found = self.jobs.file(job_id, name)
        if found is None:
            raise HTTPException(404, f"The job has no file {name!r}. Its results name those it has.")
        return FileResponse(found, filename=name, headers={"x-content-type-options": "nosniff"})

    def dismiss(self, job_id: str, request: Request) -> dict[str, Any]:
        """Cancel a job; one that has ended is forgotten. What was published stays."""
        self._allowed(request)
        return status_of(self.jobs.dismiss(job_id), _base(request))

    def _execution(self, process: str) -> Callable[..., Any]:
        async def execute(request: Request) -> Response:
            # Before the body is looked at.
            self._allowed(request)
            asked, inputs = _read(await request.body(), process)
            job = await run_in_threadpool(self.jobs.submit, process, inputs, asked.response)
            base = _base(request)
            headers = {"location": f"{base}jobs/{job.id}"}
            if "respond-async" in request.headers.get("prefer", ""):
                headers["preference-applied"] = "respond-async"
            return JSONResponse(status_of(job, base), 201, headers)

        return execute

    def _unknown(self, process_id: str, request: Request) -> Response:
        self._allowed(request)
        raise _no_such_process(process_id)

    def _allowed(self, request: Request) -> None:
        if self.token is None:
            raise HTTPException(403, "No jobs are started or cancelled here: the server was given no token for it.")
        token_check(self.token)(request)


def exception(status: int, code: str, text: str, kind: str = "about:blank") -> JSONResponse:
    """An error as OGC API - Processes tells it (RFC 7807), and as the rest of the API does."""
    told = {"type": kind, "title": code, "status": status, "detail": text}
    return JSONResponse(told | {"code": code, "description": text}, status)


def _read(body: bytes, process: str) -> tuple[Execute, str]:
    """What is asked, and the JSON of the inputs themselves."""
    try:
        asked = Execute.model_validate_json(body)
    except ValidationError as error:
        one = error.errors()[0]
        where = ".".join(map(str, one["loc"])) or "body"
        if where == "subscriber":
            raise BadInput("subscriber: this server calls nobody. Ask /jobs for the state of a job.") from error
        raise BadInput(f"{where}: {one['msg']}, not {str(one['input'])[:100]!r}") from error
    if strange := set(asked.outputs) - {"result"}:
        raise BadInput(f"outputs: there is no {sorted(strange)[0]!r}. There is one output, 'result'.")
    if asked.outputs.get("result", {}).get("transmissionMode", "value") != "value":
        raise BadInput("outputs.result: transmissionMode can be 'value' alone; what it holds are links.")
    inputs = {}
    for name, value in asked.inputs.items():
        if isinstance(value, dict) and "href" in value:
            raise BadInput(f"{name}: inputs by reference are not taken, this server fetches nothing. Give the value.")
        qualified = isinstance(value, dict) and "value" in value and set(value) <= _QUALIFIED
        inputs[name] = value["value"] if qualified else value
    return asked, json.dumps(inputs)


def _place(job: Job) -> str:
    return f"{job.created}{job.id}"


def _no_such_process(name: str) -> ProcessError:
    return ProcessError(404, "no-such-process", f"There is no process {name!r}. There are {', '.join(PROCESSES)}.")


def _told(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _base(request: Request) -> str:
    return get_base_url(request).rstrip("/") + "/"
