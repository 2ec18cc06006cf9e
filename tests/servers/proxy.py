"""A way to a server that can be closed for a while: meanwhile it answers 503, as a busy object store does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_BODY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_REFUSAL = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
)


class Proxy:
    """On a free port of the loopback interface; hands bytes on as they are."""

    def __init__(self, url: str):
        self._to, self._closed, self._open = urlsplit(url), False, set[asyncio.StreamWriter]()
        self.refused = 0
        """Requests that were answered by 503."""
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """From now on nobody gets through; connections that are open are cut."""
        self._closed = True
        self._loop.call_soon_threadsafe(lambda: [one.close() for one in self._open])

    def reopen(self) -> None:
        """All is well again."""
        self._closed = False

    def end(self) -> None:
        """Stop."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cut(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if self._closed:
                await reader.readuntil(b"\r\n\r\n")
                self.refused += 1
                writer.write(_REFUSAL % (len(_BODY), _BODY))
                await writer.drain()
                writer.close()
                return
            from_server, to_server = await asyncio.open_connection(self._to.hostname, self._to.port)
            self._open |= {writer, to_server}
            try:
                await asyncio.gather(_hand_on(reader, to_server), _hand_on(from_server, writer))
            finally:
                self._open -= {writer, to_server}


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


@contextmanager
def proxy(url: str) -> Iterator[Proxy]:
    """One to the server at an address."""
    running = Proxy(url)
    try:
        yield running
    finally:
        running.end()
