"""What the commands that make products place by place share: their last options, Beam's workers, and the account."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from catalog.store import Store, open_store
from pipelines import worker_log
from pipelines.cli.maps import DEAD_LETTERS
from pipelines.cli.options import (
    Anew,
    MapAccuracy,
    MapAsset,
    MapCollection,
    Maps,
    Products,
    ReferenceReport,
    S3Endpoint,
    Verbose,
    Years,
    app,
    beam_options_of,
    console,
    request_of,
    set_log_level,
    years_of,
)
from pipelines.cli.progress import progress_of
from services.change.requests import SeriesRequest

if TYPE_CHECKING:
    from services.change.runs import Account, Progress, Run

_Request = TypeVar("_Request", bound=SeriesRequest)
_TOLD = 20
"""Reasons that are printed; the account has all of them."""


@dataclass(frozen=True)
class Job:
    """What is asked of any of these commands."""

    command: str
    maps: str
    store: Store
    """The output."""
    beam_options: Sequence[str]
    verbose: bool
    given: dict[str, Any]
    """The part of the request that all of them have."""
    run: str
    """Its name."""
    started: float = field(default_factory=time.monotonic)

    def request(self, kind: type[_Request], **own: Any) -> _Request:
        """What is asked for; see `request_of`."""
        return request_of(kind, **self.given, **own)

    @contextmanager
    def by_workers(self, what: str) -> Iterator[tuple[Run, Progress]]:
        """A progress bar, and workers whose log is kept apart unless all is to be seen.

        Args:
            what: is counted, for the bar.
        """
        from pipelines.places import by_beam

        with nullcontext() if self.verbose else worker_log.apart(self.run), progress_of(what, self.maps) as progress:
            yield by_beam(self.store, self.beam_options), progress

    def end(self, account: Account, notes: Sequence[str], item: str = "") -> None:
        """Write the account beside the products, and tell it.

        Args:
            account: what became of each place.
            notes: what a reader of the products has to know.
            item: key of the item to name, if one holds all.

        Raises:
            typer.Exit: some places were left out.
        """
        key, seconds = f"runs/{self.run}.json", round(time.monotonic() - self.started, 3)
        counts = {name: getattr(account, name) for name in ("planned", "published", "skipped", "failed")}
        told = {"run": self.run, "command": self.command, **counts, "seconds": seconds}
        self.store.write(key, json.dumps(told, indent=1).encode())
        lines = [*notes]
        lines += [f"Left out {place}: {reason}" for place, reason in list(account.failed.items())[:_TOLD]]
        if len(account.failed) > _TOLD:
            lines.append(f"… and {len(account.failed) - _TOLD:,} more, see {key}")
        lines.append(
            f"{account.planned:,} planned: {len(account.published):,} published, {len(account.skipped):,} skipped (up "
            f"to date), {len(account.failed):,} left out ({key})"
        )
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if item:
            typer.echo(self.store.href(item))
        if account.failed:
            raise typer.Exit(DEAD_LETTERS)


def by_places(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that is given a `Job` first, then its own options; what the job is made of are options of all."""

    def register(own: Callable[..., None]) -> Callable[..., None]:
        def command(
            context: typer.Context,
            maps: Maps,
            out: Products,
            years: Years = "",
            collection: MapCollection = "",
            asset: MapAsset = "",
            accuracy: MapAccuracy = "",
            reference: ReferenceReport = "",
            overwrite: Anew = False,
            s3_endpoint: S3Endpoint = "",
            verbose: Verbose = False,
            **options: Any,
        ) -> None:
            from pipelines.runner import name_run

            set_log_level(verbose)
            beam_options = beam_options_of(context.args, name)
            given: dict[str, Any] = {"collection": collection, "asset": asset, "years": tuple(years_of(years))}
            given |= {"accuracy": accuracy, "reference": reference, "overwrite": overwrite}
            store = open_store(out, s3_endpoint=s3_endpoint or None)
            own(Job(name, maps, store, beam_options, verbose, given, name_run()), **options)

        # Typer reads options from the signature: those of all stand round the command's own.
        shared = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
        options = list(inspect.signature(own, eval_str=True).parameters.values())[1:]
        ordered = [*shared[:4], *options, *shared[4:]]
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in ordered]
        )
        command.__doc__ = own.__doc__
        app.command(
            name,
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
            epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2 "
            "--direct_running_mode=multi_processing, or --runner=FlinkRunner. Exit codes: 0 all published or skipped, "
            "1 stopped by an error, 2 bad arguments, 3 some places left out.",
        )(command)
        return own

    return register
