"""Limits that hold whatever is asked: bytes of a request, requests of one client in a second."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1 << 20
"""Bytes of a request's body."""
_MAX_URL = 32_000
_WINDOW_SECONDS = 10


class Limits:
    """ASGI middleware. What is over a limit is answered by 413, 414 or 429, and reaches nothing behind it."""

    def __init__(self, app: ASGIApp, *, rate: int | None = None):
        """Args:
        app: what is behind it.
        rate: requests that one client address may make in a second, in the mean of ten; None: any number. It counts
            within this process.
        """
        self._app = app
        self._rate = RateLimitItemPerSecond(rate * _WINDOW_SECONDS, _WINDOW_SECONDS) if rate else None
        self._seen = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = (scope.get("client") or ("",))[0]
        if self._rate and not self._seen.hit(self._rate, client):
            free = self._seen.get_window_stats(self._rate, client).reset_time
            wait = max(1, math.ceil(free - time.time()))
            text = f"More than {self._rate.amount} requests in {_WINDOW_SECONDS} s. Wait {wait} s."
            await _refuse(send, 429, "TooManyRequests", text, {"retry-after": str(wait)})
            return
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _MAX_URL:
            text = f"The address has more than {_MAX_URL} characters. Search by POST /search."
            await _refuse(send, 414, "TooLong", text)
            return
        too_large = f"The request's body has more than {MAX_BODY} bytes."
        if int(dict(scope["headers"]).get(b"content-length") or 0) > MAX_BODY:
            await _refuse(send, 413, "TooLarge", too_large)
            return
        received, over, begun = 0, False, False

        async def counted() -> Message:
            nonlocal received, over
            message = await receive()
            received += len(message.get("body", b""))
            over = over or received > MAX_BODY
            return {"type": "http.disconnect"} if over else message

        async def kept(message: Message) -> None:
            # What the application says of a body that was cut off is not what was wrong.
            nonlocal begun
            if not over or begun:
                begun = True
                await send(message)

        await self._app(scope, counted, kept)
        if over and not begun:
            await _refuse(send, 413, "TooLarge", too_large)


async def _refuse(send: Send, status: int, code: str, text: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"code": code, "description": text}).encode()
    shown: dict[str, Any] = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    start = [(name.encode(), value.encode()) for name, value in shown.items()]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
