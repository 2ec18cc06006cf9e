"""Commands that write scenes to try things with: a real one, and simulated ones whose land cover is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadInput
from catalog.store import open_store
from pipelines.cli.options import app, console, number, whole, years_of
from pipelines.cli.progress import progress_of


@app.command("sample")
def sample_command(
    out: Annotated[Path, typer.Option(help="Folder for the sample's STAC catalog.")] = Path("out/sample"),
) -> None:
    """Write the sample input: a real Sentinel-2 scene of Brandenburg an der Havel, and land-use polygons."""
    from pipelines.sample import write_sample

    catalog = write_sample(out)
    console.print(f"Sample scene (2017-02-16, tile 33UUU) and polygons: {catalog}", highlight=False, markup=False)


@app.command("simulate")
def simulate_command(
    out: Annotated[Path, typer.Option(help="Folder for the scenes' STAC catalog and, under truth/, the land cover.")],
    tile: Annotated[str, typer.Option(help="Sentinel-2 tile that the scenes lie in.")] = "33UUU",
    size: Annotated[
        int, typer.Option(parser=whole, metavar="PX", help="Side of a scene, pixels of 10 m, even; 10,980 at most.")
    ] = 1000,
    at: Annotated[str, typer.Option(metavar="COL,ROW", help="Their first pixel in the tile.")] = "0,0",
    years: Annotated[str, typer.Option(help="Years, comma-separated; land cover changes from each to the next.")] = (
        "2021,2022"
    ),
    dates: Annotated[int, typer.Option(parser=whole, metavar="N", help="Scenes a year.")] = 5,
    cloud: Annotated[float, typer.Option(parser=number, metavar="SHARE", help="Mean share of cloud, 0 to 1.")] = 0.3,
    seed: Annotated[int, typer.Option(parser=whole, metavar="N", help="Another one, another landscape.")] = 1,
    radar: Annotated[
        bool, typer.Option("--radar", help="And of Sentinel-1, with speckle, as a catalog of its own in radar/.")
    ] = False,
    phenology: Annotated[
        bool, typer.Option("--phenology", help="Crops, grass, shrub, marsh and trees each change through the year.")
    ] = False,
    sensor: Annotated[str, typer.Option(help="sentinel-2, landsat (5 to 9, by the year), or hls.")] = "sentinel-2",
) -> None:
    """Write simulated scenes of a landscape whose land cover and change are known."""
    from pipelines.simulate import Product, simulate
    from pipelines.simulate_hls import simulate_hls
    from pipelines.simulate_landsat import simulate_landsat

    simulators = {"sentinel-2": simulate, "landsat": simulate_landsat, "hls": simulate_hls}
    if sensor not in simulators:
        raise BadInput(f"--sensor {sensor!r} cannot be simulated. Give one of {', '.join(simulators)}.")
    if phenology and sensor != "sentinel-2":
        raise BadInput(f"--phenology is simulated for sentinel-2 only, not for {sensor}. Leave one of the two out.")
    through_the_year = {"phenology": True} if phenology else {}
    try:
        col, row = (int(one) for one in at.split(","))
    except ValueError as error:
        raise BadInput(f"--at {at!r} is no pixel. Give its column and row, as 2000,4000.") from error
    product = Product(tile, col, row, (size, size))
    with progress_of("Writing scenes") as on_progress:
        written = simulators[sensor](
            out,
            [product],
            years=years_of(years),
            dates_per_year=dates,
            cloud=cloud,
            seed=seed,
            **through_the_year,
            on_progress=on_progress,
        )
    typer.echo(written.catalog)
    if radar:
        from pipelines.radar_simulation import simulate_radar

        with progress_of("Writing radar scenes") as on_progress:
            typer.echo(simulate_radar(out, [product], years=years_of(years), seed=seed, on_progress=on_progress))


@app.command("simulate-chips")
def simulate_chips_command(
    out: Annotated[str, typer.Option(help="Folder of the training set.")],
    places: Annotated[int, typer.Option(parser=whole, metavar="N", help="Each another landscape.")] = 24,
    dates: Annotated[int, typer.Option(parser=whole, metavar="N", help="Looks at each, spread over the year.")] = 12,
    chip: Annotated[int, typer.Option(parser=whole, metavar="PX", help="Side of a chip, a multiple of 8.")] = 128,
    cloud: Annotated[float, typer.Option(parser=number, metavar="SHARE", help="Mean share of cloud, 0 to 1.")] = 0.3,
    seed: Annotated[int, typer.Option(parser=whole, metavar="N", help="Of the first; each has the next.")] = 1,
) -> None:
    """Write a training set of simulated places through a year, for `landloom train-seasons`."""
    from pipelines.simulated_chips import write_simulated_chips

    with progress_of("Writing places") as on_progress:
        write_simulated_chips(
            open_store(out),
            places=places,
            dates=dates,
            side=chip,
            cloud=cloud,
            seed=seed,
            on_progress=on_progress,
        )
    typer.echo(f"{out.rstrip('/')}/collection.json")
