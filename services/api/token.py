"""Who may change something: who sends the token."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from fastapi import HTTPException, Request


def token_check(token: str) -> Callable[[Request], None]:
    """What refuses requests that do not carry `Authorization: Bearer TOKEN`."""

    def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise HTTPException(
                401, "Changes need the header 'Authorization: Bearer TOKEN'.", {"WWW-Authenticate": "Bearer"}
            )

    return check
