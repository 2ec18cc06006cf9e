"""The command that answers for a catalog: `landloom serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import S3Endpoint, app, console, extra, whole


@app.command("serve")
def serve_command(
    catalog: Annotated[str, typer.Option(help="Folder or s3:// that `landloom map` wrote to.")],
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
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Answer for a catalog over HTTP: STAC API, files, map tiles, web pages. Needs the extra `serve`."""
    with extra("serve"):
        from services.api.embedded import EmbeddedIndex
        from services.api.server import log_to_stderr, serve

    from catalog.store import open_store

    log_to_stderr(json_lines=json_logs)
    store = open_store(catalog, s3_endpoint=s3_endpoint or None)
    with console.status(f"Reading the catalog {catalog}"):
        index = EmbeddedIndex(store)
    for name, collection in ((one["id"], one) for one in index.collections()):
        console.print(f"{name}: {collection['title']}", highlight=False)
    serve(index, store, host=host, port=port, rate=rate, root_path=root_path)
