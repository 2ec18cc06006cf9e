"""Run the application until it is stopped."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn

from catalog.errors import BadInput
from catalog.garbage import rare_collections
from catalog.store import Store
from services.api.app import create_app
from services.api.index import ItemIndex

if TYPE_CHECKING:
    from services.processes.routes import Processes

_GRACE_SECONDS = 10


def serve(
    index: ItemIndex,
    store: Store | None,
    *,
    host: str,
    port: int,
    rate: int | None = None,
    root_path: str = "",
    token: str | None = None,
    processes: Processes | None = None,
) -> None:
    """Answer until a signal comes (SIGINT, SIGTERM); what is being answered then is finished.

    Args:
        index: where items and collections are found.
        store: where the catalog's files lie.
        host: address to listen at.
        port: 0 for any that is free; the address is printed.
        rate: requests that one client may make in a second; None: any number.
        root_path: under which a proxy shows the server.
        token: what clients must send who change collections and items; None: nobody may.
        processes: change products as a service; None: none.

    Raises:
        BadInput: the address cannot be listened at, or a token, but an index that cannot be changed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Told that it is TCP, asyncio sends small answers at once; else each waits 40 ms for the client to confirm another.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # Whoever reads the address may ask at once: the answer comes when all is ready.
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{host}:{port} cannot be listened at: {reason}. Give another --host or --port.") from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    print(f"http://{shown}:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        create_app(index, store, rate=rate, token=token, processes=processes),
        root_path=root_path,
        log_config=None,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        # Behind a proxy, links begin as the client's address did.
        proxy_headers=True,
        server_header=False,
    )
    try:
        with rare_collections():
            _Server(config, processes).run(sockets=[listening])
    finally:
        index.close()


class _Server(uvicorn.Server):
    """One that stops its jobs, too. After that, it ends by the signal that it was told to stop with."""

    def __init__(self, config: uvicorn.Config, processes: Processes | None):
        super().__init__(config)
        self._processes = processes

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._processes:
            self._processes.jobs.close()
