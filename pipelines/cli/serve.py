"""Commands that answer for a catalog, from its own files or from PostgreSQL: serve, load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from catalog.errors import BadInput
from catalog.store import Store, open_store
from pipelines.cli.options import S3Endpoint, app, console, extra, whole
from pipelines.cli.progress import progress_bar

if TYPE_CHECKING:
    from services.api.index import ItemIndex
    from services.processes.routes import Processes

_SHORTEST_TOKEN = 16
_SCHEMES = ("postgresql://", "postgres://")


@app.command("serve")
def serve_command(
    catalog: Annotated[
        str,
        typer.Option(help="Folder, s3:// or gs:// that `landloom map` wrote to, or postgresql:// of `landloom load`."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(parser=whole, metavar="N", help="Port to listen at; 0 for any free one.")] = 8080,
    rate: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="N", help="Requests a client may make in a second; others are refused."),
    ] = None,
    root_path: Annotated[str, typer.Option(help="Path under which a proxy shows this server, as /landloom.")] = "",
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Log every request, a line of JSON each, for a log collector.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token of who may change items through the API; without it nobody may. PostgreSQL only."
        ),
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the jobs of OGC API - Processes, which make change products; without it there are none. "
            "Needs the extra `processes`."
        ),
    ] = None,
    jobs_token_file: Annotated[
        Path | None, typer.Option(help="File with the token of who may start and cancel jobs; without it nobody may.")
    ] = None,
    jobs_files: Annotated[
        Path | None, typer.Option(help="Folder of files (zones, samples) that clients may name in their requests.")
    ] = None,
    jobs_limits: Annotated[
        Path | None, typer.Option(help="What a job may take, and how many there may be: TOML, see docs/processes.md.")
    ] = None,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Answer for a catalog over HTTP: STAC API, files, map tiles, web pages. Needs the extra `serve`."""
    with extra("serve"):
        from services.api.logs import log_to_stderr
        from services.api.server import serve

    log_to_stderr(json_lines=json_logs)
    token = _token(token_file) if token_file else None
    with console.status("Reading the catalog"):
        index, store = _open(catalog, s3_endpoint or None)
    processes = None
    if jobs:
        database = catalog if catalog.startswith(_SCHEMES) else None
        folder = store.href("x").removesuffix("/x")
        given = (folder, s3_endpoint or None, jobs_files, json_logs, database)
        processes = _processes(jobs, jobs_token_file, jobs_limits, *given)
    elif jobs_token_file or jobs_files or jobs_limits:
        raise BadInput("--jobs-token-file, --jobs-files and --jobs-limits belong to --jobs FOLDER. Give it, too.")
    for name, collection in ((one["id"], one) for one in index.collections()):
        console.print(f"{name}: {collection.get('title', '')}", highlight=False)
    serve(index, store, host=host, port=port, rate=rate, root_path=root_path, token=token, processes=processes)


def _token(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The token's file {file} cannot be read: {error}.") from error
    if len(token) < _SHORTEST_TOKEN or not token.isprintable():
        raise BadInput(f"The token in {file} has {len(token)} characters; give at least {_SHORTEST_TOKEN}, in a line.")
    return token


def _processes(
    folder: Path,
    token_file: Path | None,
    limits: Path | None,
    catalog: str,
    s3_endpoint: str | None,
    files: Path | None,
    json_logs: bool,
    database: str | None,
) -> Processes:
    with extra("processes"):
        import exactextract  # noqa: F401
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401

        from services.processes.manager import Jobs, Setup
        from services.processes.routes import Processes
    from services.processes.jobs import read_limits

    if files and not files.is_dir():
        raise BadInput(f"--jobs-files {str(files)!r} is no folder. Give the one in which files are laid ready.")
    token = _token(token_file) if token_file else None
    setup = Setup(catalog, s3_endpoint, files, read_limits(limits), json_logs, database)
    return Processes(jobs=Jobs(folder, setup), token=token)


def _open(catalog: str, s3_endpoint: str | None) -> tuple[ItemIndex, Store]:
    if not catalog.startswith(_SCHEMES):
        from services.api.embedded import EmbeddedIndex

        store = open_store(catalog, s3_endpoint=s3_endpoint)
        return EmbeddedIndex(store), store
    from services.api.pgstac import PgstacIndex

    index = PgstacIndex(catalog)
    if index.source is None:
        index.close()
        raise BadInput("The database holds no catalog. Load one: landloom load postgresql://… --catalog FOLDER.")
    return index, open_store(index.source, s3_endpoint=s3_endpoint)


@app.command("load")
def load_command(
    database: Annotated[str, typer.Argument(help="postgresql://USER@HOST:PORT/DATABASE; the password by PGPASSWORD.")],
    catalog: Annotated[str, typer.Option(help="Folder, s3:// or gs:// that `landloom map` wrote to.")],
    replace: Annotated[bool, typer.Option("--replace", help="Let it take the place of another catalog.")] = False,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Make PostgreSQL (pgSTAC) hold what a catalog holds: new, changed and gone items. Needs the extra `serve`.

    May be run again at any time, also where it was cut off: what is there already is not written again.
    """
    with extra("serve"):
        from services.api.load import load

    if not database.startswith(_SCHEMES):
        # Not told what was given: a password may be in it.
        raise BadInput("DATABASE is no address of PostgreSQL. Give postgresql://USER@HOST:PORT/DATABASE.")
    store = open_store(catalog, s3_endpoint=s3_endpoint or None)
    with progress_bar() as progress:
        bars = {"": progress.add_task("Reading the catalog", total=None)}

        def show(collection: str, done: int, total: int) -> None:
            if collection not in bars:
                progress.update(bars[""], visible=False)
                bars[collection] = progress.add_task(collection, total=total)
            progress.update(bars[collection], completed=done)

        loaded = load(database, store, replace=replace, progress=show)
    table = Table()
    for column in ("collection", "added", "changed", "as they were", "deleted"):
        table.add_column(column, justify="left" if column == "collection" else "right")
    for one in loaded:
        table.add_row(one.collection, *(f"{count:,}" for count in (one.added, one.changed, one.same, one.deleted)))
    console.print(table)
