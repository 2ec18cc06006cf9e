"""Addresses of Triton servers, as `--inference` takes them: `triton://host:8001,other:8001?deadline=60`."""

from __future__ import annotations

import os
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.errors import BadInput

TOKEN, CERTIFICATES = "LANDLOOM_TRITON_TOKEN", "LANDLOOM_TRITON_CA"
_GRPC_PORT = 8001


class TritonAddress(BaseModel):
    """One or several servers of the same networks, and how they are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoints: tuple[str, ...] = Field(min_length=1, description="host:port of gRPC")
    tls: bool = False
    deadline: float = Field(default=120.0, gt=0, description="seconds after which a request is asked again")
    in_flight: int = Field(default=4, ge=1, le=64, alias="in-flight", description="requests at a time, of each worker")
    shared_memory: bool = Field(
        default=True, alias="shared-memory", description="chips to a server on this machine go through its memory"
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `triton://…`, or `tritons://…` for TLS.

        Raises:
            BadInput: it is none; naming what is wrong.
        """
        parts = urlsplit(text)
        if parts.scheme not in ("triton", "tritons") or not parts.netloc or parts.path.strip("/"):
            raise BadInput(
                f"--inference {text!r} is no address of a Triton server. Give triton://HOST:8001, several with commas, "
                "or tritons:// for TLS."
            )
        endpoints = tuple(one if ":" in one else f"{one}:{_GRPC_PORT}" for one in parts.netloc.split(",") if one)
        try:
            return cls(endpoints=endpoints, tls=parts.scheme == "tritons", **dict(parse_qsl(parts.query)))  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(
                f"--inference {text!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}. Options are "
                "deadline=SECONDS, in-flight=REQUESTS and shared-memory=0, after a question mark, joined by &."
            ) from error

    def headers(self) -> dict[str, str]:
        """What every request carries: the token of `LANDLOOM_TRITON_TOKEN`, if there is one.

        As a proxy in front of a server wants it, and as Triton itself does if its protocols are restricted by the key
        `token` (`--grpc-restricted-protocol=inference,model-config:token=…`).
        """
        token = os.environ.get(TOKEN)
        return {"authorization": f"Bearer {token}", "triton-grpc-protocol-token": token} if token else {}

    def certificates(self) -> str | None:
        """File of the authorities that a server's certificate is checked against; None: the system's."""
        return os.environ.get(CERTIFICATES)
