"""Commands for networks behind a Triton server: `landloom triton …`."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from catalog.errors import BadInput
from pipelines.cli.options import (
    Model,
    app,
    console,
    extra,
    number,
    whole,
)
from services.inference import DEFAULT_MODEL

triton = typer.Typer(help="Networks behind a Triton inference server. Needs the extra `triton`.", no_args_is_help=True)
app.add_typer(triton, name="triton")
Instances = Annotated[
    int | None,
    typer.Option(
        parser=whole,
        metavar="N",
        help="Copies of the network that answer at once; by default one per core, or 2 a GPU.",
    ),
]


@triton.command("repository")
def triton_repository_command(
    out: Annotated[Path, typer.Option(help="Folder of the model repository; what is in it already stays.")],
    model: Model = DEFAULT_MODEL,
    backend: Annotated[
        str, typer.Option(help="onnxruntime, or python for a server that lacks it, as the one of `serve`.")
    ] = "onnxruntime",
    gpu: Annotated[bool, typer.Option("--gpu", help="For GPUs, by TensorRT in FP16.")] = False,
    instances: Instances = None,
) -> None:
    """Write a network into the folder that a Triton server serves, beside other networks and versions."""
    with extra("triton"):
        from services.inference.triton_repository import Backend, write_repository
    if backend not in get_args(Backend):
        raise BadInput(f"--backend {backend!r} is none of {', '.join(get_args(Backend))}.")
    for folder in write_repository(out, model, backend=backend, gpu=gpu, instances=instances):  # type: ignore[arg-type]
        typer.echo(folder)


@triton.command("serve")
def triton_serve_command(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Network: ID or ONNX file; may be given often.", show_default=DEFAULT_MODEL),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the model repository; by default a temporary one.")
    ] = None,
    address: Annotated[str, typer.Option(help="To listen at; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port_grpc: Annotated[int, typer.Option(parser=whole, metavar="N", help="0: any that is free.")] = 0,
    port_http: Annotated[int, typer.Option(parser=whole, metavar="N", help="0: any that is free.")] = 0,
    port_metrics: Annotated[int, typer.Option(parser=whole, metavar="N", help="0: any that is free.")] = 0,
    instances: Instances = None,
    wait: Annotated[
        float, typer.Option(parser=number, metavar="S", help="How long it may take until it is ready.")
    ] = 120.0,
) -> None:
    """Run a Triton server on this machine's processor until Ctrl-C. It is installed at the first call (55 MB)."""
    with extra("triton"):
        from services.inference.triton_repository import write_repository
    from services.inference.triton_server import running_server

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    networks = model or [DEFAULT_MODEL]
    signal.signal(signal.SIGTERM, stop)
    try:
        with tempfile.TemporaryDirectory(prefix="landloom-triton-") as folder:
            repository = out or Path(folder) / "models"
            for one in networks:
                write_repository(repository, one, backend="python", instances=instances)
            console.print("Starting Triton …")
            with running_server(
                repository,
                address=address,
                grpc_port=port_grpc,
                http_port=port_http,
                metrics_port=port_metrics,
                wait_seconds=wait,
            ) as server:
                for name in ("grpc", "http", "metrics"):
                    typer.echo(f"{name} {getattr(server, name)}")
                console.print(f"Serving {', '.join(networks)} from {repository}; Ctrl-C ends it.", highlight=False)
                server.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")


@triton.command("status")
def triton_status_command(
    servers: Annotated[str, typer.Argument(help="HOST:PORT of their metrics, comma-separated.", metavar="HOST:PORT,…")],
) -> None:
    """Tell what servers have done since their start, per model and version."""
    with extra("triton"):
        from services.inference.triton_status import TritonUnreachable, server_status
    unreachable = []
    for address in servers.split(","):
        try:
            status = server_status(address.strip())
        except TritonUnreachable as error:
            unreachable.append(str(error))
            continue
        gpus = [f", GPU {number} {100 * share:.0f} % busy" for number, share in enumerate(status.gpu_utilisation)]
        title = "".join([status.address, *gpus])
        table = Table("model", title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("version", "done", "failed", "batch", "queue ms", "run ms", "pending"):
            table.add_column(column, justify="right")
        for one in status.models:
            numbers = (f"{one.done:,}", f"{one.failed:,}", f"{one.chips / max(one.runs, 1):.1f}")
            times = (f"{one.queue_ms:.1f}", f"{one.compute_ms:.1f}", f"{one.pending:,}")
            table.add_row(one.model, one.version, *numbers, *times)
        console.print(table)
    if unreachable:
        raise TritonUnreachable("\n".join(unreachable))
