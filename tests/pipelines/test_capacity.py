"""How long a run takes: work so regular that the answer is known, and what chance, losses and limits do to it."""

import math

import numpy as np
import pytest

from catalog.errors import BadInput
from pipelines.capacity import Fleet, Work, forecast
from pipelines.estimate import PriceTable, load_prices

HOUR = 3600
LIMITS = ("worker_bytes_per_second", "store_bytes_per_second", "store_requests_per_second", "searches_per_second")
QUIET = (
    "start_seconds",
    "plan_core_seconds",
    "assemble_core_seconds",
    "launcher_seconds",
    "slow_workers",
    "failed_blocks",
    "retry_seconds",
    "losses_per_hour",
    "restart_seconds",
    "staged_check_seconds",
)
CALM = dict.fromkeys(LIMITS, 1e15) | dict.fromkeys(QUIET, 0.0)
"""Nothing happens and nothing but the processors is short."""
WORK = Work(np.full(1200, 1e6), np.repeat(np.arange(48), 25))
"""48 tile-years of 25 blocks, each of a hundredth of an hour for a core of `RATES`: 12 core-hours."""
RATES = {"pixels_per_core_second": 1e6 / 36, "reader_pixels_per_core_second": 1e6 / 3.6, "pixels_per_gpu_second": 1e6}


def table(*, rates: dict[str, float] | None = None, **running: float) -> PriceTable:
    content = load_prices("").model_dump()
    content["rates"].update(RATES | (rates or {}))
    content["running"].update(CALM | running)
    return PriceTable.model_validate(content)


def hours(runner: str, workers: int, gpus: int = 0, rates: dict[str, float] | None = None, **running: float) -> float:
    return forecast(WORK, Fleet(runner, workers, gpus), table(rates=rates, **running)).hours


def test_twelve_core_hours_on_so_many_workers():
    assert hours("dataflow", 1) == pytest.approx(12)
    assert hours("dataflow", 12) == pytest.approx(1)
    assert hours("direct", 12) == pytest.approx(1)
    assert hours("dataflow", 5000) == pytest.approx(0.01), "no block is done by two"


def test_who_is_done_with_its_share_helps_with_what_is_not_begun():
    """Three blocks of 4, 2 and 2 dealt to two workers: the first has 4 and 2, the second does the last 2 for it."""
    work = Work(np.array([4e6, 2e6, 2e6]), np.zeros(3, int))
    seconds = {name: HOUR * forecast(work, Fleet(name, 2), table()).hours for name in ("dataflow", "flink", "direct")}
    assert seconds == {name: pytest.approx(4 * 36) for name in seconds}


def test_blocks_of_tile_years_in_which_it_has_no_share_are_not_known_to_a_worker():
    work = Work(np.array([4e6, 2e6, 4e6, 2e6]), np.array([0, 1, 0, 1]))
    assert HOUR * forecast(work, Fleet("flink", 2), table()).hours == pytest.approx(8 * 36)
    assert HOUR * forecast(work, Fleet("dataflow", 2), table()).hours == pytest.approx(6 * 36)


def test_gpus_are_enough_or_too_few():
    """1.2e9 looks: 1.2 core-hours for the readers, a third of an hour for one GPU."""
    assert hours("dataflow", 120, gpus=1) == pytest.approx(1.2e9 / 1e6 / HOUR, rel=0.02)
    assert hours("dataflow", 120, gpus=2) == pytest.approx(1.2e9 / 2e6 / HOUR, rel=0.02)
    few = forecast(WORK, Fleet("dataflow", 1, 8), table())
    assert few.hours == pytest.approx(1.2) and few.limit == "cores of the workers"
    assert forecast(WORK, Fleet("dataflow", 120, 1), table()).limit == "GPUs"


@pytest.mark.parametrize(
    ("limit", "running", "expected"),
    [
        ("reading of each worker", {"worker_bytes_per_second": 9.2e4}, 1.2e9 / 1e4 / 100 / HOUR),
        ("store, bytes", {"store_bytes_per_second": 9.2e5}, 1.2e9 / 1e5 / HOUR),
        ("store, requests", {"store_requests_per_second": 0.92, "bytes_per_request": 1e6}, 1.2e9 / 1e5 / HOUR),
        ("launcher", {"launcher_seconds": HOUR}, 48.12),
        ("start and planning", {"start_seconds": 10 * HOUR}, 10.12),
        ("start and planning", {"searches_per_second": 1 / HOUR}, 48.12),
    ],
)
def test_what_limits_is_told(limit, running, expected):
    found = forecast(WORK, Fleet("dataflow", 100), table(**running))
    assert found.limit == limit
    assert found.hours == pytest.approx(expected, rel=0.01)


def test_a_slow_worker_holds_up_its_block_and_not_its_share():
    assert hours("dataflow", 12, slow_workers=1, slow_factor=2) == pytest.approx(2)
    slow = {"slow_workers": 0.1, "slow_factor": 4}
    assert hours("dataflow", 40, **slow) < 0.4
    assert hours("flink", 40, **slow) == pytest.approx(hours("dataflow", 40, **slow), rel=0.1)


def test_losses_cost_the_block_or_everybody_s():
    losses = {"losses_per_hour": 2.0, "restart_seconds": 36}
    taken = forecast(WORK, Fleet("dataflow", 12), table(**losses))
    anew = forecast(WORK, Fleet("flink", 12), table(**losses))
    assert 1.01 < taken.hours < 1.08, "24 times half a block done in vain, and a hundredth of an hour of waiting"
    assert taken.lost_core_hours == pytest.approx(24 * 0.005, rel=0.5)
    assert anew.lost_core_hours > 5 * taken.lost_core_hours
    never = forecast(WORK, Fleet("flink", 1000), table(**losses))
    assert math.isinf(never.hours) and never.limit == "losses"


def test_failed_blocks_are_done_by_a_second_run():
    assert hours("dataflow", 1200) == pytest.approx(0.01)
    again = hours("dataflow", 1200, failed_blocks=0.05, retry_seconds=300, start_seconds=HOUR)
    assert 2.02 < again < 2.04


def test_assembling_and_money():
    assert hours("dataflow", 1, assemble_core_seconds=900) == pytest.approx(12 + 48 / 4)
    prices = load_prices("").prices_usd
    gpus = forecast(WORK, Fleet("dataflow", 10, 3), table())
    requests = 1.2e9 * load_prices("").rates.bytes_per_pixel / load_prices("").running.bytes_per_request / 1e6
    assert gpus.usd == pytest.approx(
        gpus.hours * (10 * prices.core_hour + 3 * prices.gpu_hour) + requests * prices.million_requests
    )


def test_the_same_seed_gives_the_same_run():
    chance = table(slow_workers=0.1, slow_factor=3, losses_per_hour=1, failed_blocks=0.01)
    one, same, other = (forecast(WORK, Fleet("flink", 20), chance, seed) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("fleet", "told"),
    [
        (Fleet("spark", 1), "--runner 'spark'.*dataflow, flink, direct"),
        (Fleet("flink", 0), "--workers 0"),
        (Fleet("flink", -3), "--workers -3"),
        (Fleet("dataflow", 1, -1), "--gpus -1"),
    ],
)
def test_fleets_that_cannot_be(fleet, told):
    with pytest.raises(BadInput, match=told):
        forecast(WORK, fleet, table())
