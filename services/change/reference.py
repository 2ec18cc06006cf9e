"""A reference sample as the products of change use it: read from a published report, in their legend, for their ground.

The sample's strata stay what they were drawn from. They may be the classes or transitions of the products' own maps
(Olofsson et al. 2014) or of others (Stehman 2014): estimates of areas and of change need the reference alone.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from catalog.store import NotFound, Store, open_store
from services.change.design import Design
from services.change.domains import DomainSample
from services.change.estimation import Strata
from services.change.interpretation import Interpreted, read_interpreted

_REPORTS = "lulc-accuracy"
_ITEM = re.compile(r"(?:.*/)?([^/]+)/([^/]+)/\1-\2\.json$")
_GIVE = "Give the item that `landloom accuracy report` wrote."
_WITHIN = 0.99
"""Share of a ground that has to lie in what was sampled from: outlines are rounded."""


@dataclass(frozen=True)
class Reference:
    """An interpreted sample."""

    design: Design
    sample: Interpreted
    label: np.ndarray
    """Reference class at each date, as a number of the products' legend from 0, int64 `[dates, n]`."""
    origin: str
    """Item of the report."""
    accuracy: tuple[str, ...]
    """Of the maps that the report assesses, a sentence a year."""
    translated: bool = False
    """Whether the products' legend is another than the sample's."""

    @property
    def told(self) -> str:
        """Where estimates come from."""
        return f"{len(self.sample.unit)} reference units in {len(self.design.strata)} strata ({self.origin})"

    @property
    def strata(self) -> Strata:
        """With the interpreted units."""
        design, units = self.design, np.bincount(self.sample.stratum, minlength=len(self.design.strata))
        return Strata.of([one.name for one in design.strata], [one.hectares for one in design.strata], units)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude of the units, `[n]` each."""
        units = [self.design.sample[number] for number in self.sample.unit]
        return np.array([one.lon for one in units]), np.array([one.lat for one in units])

    def in_legend(self, names: Sequence[str], translation: Mapping[str, str]) -> Reference:
        """The same in the products' legend.

        Args:
            names: of the products' classes.
            translation: name of a class of other maps to one of the products'; others keep their names.

        Raises:
            BadInput: the reference has a class that the products lack.
        """
        target = [translation.get(name, name) for name in self.design.names]
        used = {int(one) for one in np.unique(self.sample.reference)}
        if strange := [self.design.names[k] for k in sorted(used) if target[k] not in names]:
            raise BadInput(
                f"The reference sample {self.origin} has the class {strange[0]!r}, which these products lack: "
                f"{', '.join(names)}. Give a sample in their legend, or --reference none."
            )
        number = np.array([names.index(one) if one in names else -1 for one in target])
        same = target == list(self.design.names) and len(set(target)) == len(target)
        return Reference(
            self.design, self.sample, number[self.sample.reference], self.origin, self.accuracy, translated=not same
        )

    def covers(self, ground: BaseGeometry) -> bool:
        """Whether a ground, longitude and latitude, was sampled from as a whole."""
        sampled = shape(self.design.geometry)
        return bool(sampled.intersection(ground).area >= _WITHIN * ground.area > 0)

    def domain(self, inside: np.ndarray, hectares: np.ndarray | None) -> DomainSample | str:
        """The part of the sample that tells of a ground that was sampled from.

        Args:
            inside: whether each unit lies there, bool `[n]`.
            hectares: of each stratum there, `[H]`; None: not known, since other maps or classes were counted.

        Returns:
            It, or why the sample does not tell.
        """
        strata = self.strata
        if inside.all():
            return DomainSample(strata, self.sample.stratum, inside, strata.area)
        # Which strata have ground there is not known: any may have.
        found = DomainSample(strata, self.sample.stratum, inside, strata.area if hectares is None else hectares)
        if found.method == "synthetic" and hectares is None:
            return (
                f"{int(inside.sum())} reference units lie here, too few, and the sample was drawn from other maps or "
                "classes, so that nothing can be borrowed from its strata"
            )
        return "nothing of this ground was sampled" if found.method == "not sampled" else found

    def strata_hectares(self, cells: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Of each stratum, `[..., H]`, from the mapped area of each cell of the products, `[..., K ** dates]`."""
        k, own = len(names), self.design.names
        position = [names.index(one) if one in names else -1 for one in own]
        found = np.zeros((*cells.shape[:-1], len(self.design.strata)))
        for h, stratum in enumerate(self.design.strata):
            for cell in stratum.cells:
                at = [position[one] for one in ([cell] if len(self.design.years) == 1 else divmod(cell, len(own)))]
                if min(at) >= 0:
                    found[..., h] += cells[..., at[0] if len(at) == 1 else at[0] * k + at[1]]
        return found


def read_reference(store: Store, key: str) -> Reference:
    """The sample of a published report.

    Args:
        store: in which it lies.
        key: of the report's item.

    Raises:
        BadInput: it is no item of a report.
        StoreError: a file cannot be read.
    """
    try:
        item = json.loads(store.read(key))
        hrefs = {name: item["assets"][name]["href"].removeprefix("./") for name in ("design", "sample")}
        told = tuple(item["properties"]["landloom:source_accuracy"])
    except NotFound as error:
        raise BadInput(
            f"There is no report {store.href(key)}. Give the item that `landloom accuracy report` wrote."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{store.href(key)} is no report of a reference sample. {_GIVE}") from error
    folder = key.rpartition("/")[0]
    where = {name: f"{folder}/{href}".removeprefix("/") for name, href in hrefs.items()}
    design = Design.model_validate_json(store.read(where["design"]))
    with tempfile.TemporaryDirectory(prefix="landloom-") as temporary:
        file = Path(temporary) / Path(hrefs["sample"]).name
        store.download(where["sample"], file)
        sample = read_interpreted(design, file)
    return Reference(design, sample, sample.reference, f"{_REPORTS}/{item['id']}", told)


def find_reference(
    catalogs: Sequence[Store], given: str, years: Sequence[int], ground: BaseGeometry
) -> tuple[Reference | None, str]:
    """The sample for products of some years and ground.

    Args:
        catalogs: which are searched where none is given, the maps' and the products'.
        given: path or `s3://` address of a report's item; `none`: no sample; empty: the one in the catalogs whose
            years and ground fit, of several that with the most interpreted units.
        years: of the products.
        ground: longitude and latitude.

    Returns:
        It, and what a reader has to know of the choice, if anything.

    Raises:
        BadInput: what is given is no report, or of other years or another ground.
    """
    if given == "none":
        return None, ""
    if given:
        folder, name = os.path.split(given)
        found = read_reference(open_store(folder or "."), name)
        if not set(found.design.years) & set(years):
            raise BadInput(
                f"The sample {given!r} is of {found.design.label}, the maps are of {', '.join(map(str, years))}. Give "
                "--years of the sample among them."
            )
        return found, ""
    fitting = []
    for store in catalogs:
        for key in store.list(f"{_REPORTS}/"):
            if _ITEM.match(key):
                one = read_reference(store, key)
                if set(one.design.years) <= set(years) and shape(one.design.geometry).intersects(ground):
                    fitting.append(one)
    if not fitting:
        return None, ""
    # Change between the first and the last year is what a product is about; then the larger sample.
    fitting.sort(key=lambda one: (one.design.years == (years[0], years[-1]), len(one.sample.unit)))
    best, others = fitting[-1], [one.origin for one in fitting[:-1]]
    return best, f"Of several reference samples {best.origin} is taken, not {', '.join(others)}." if others else ""


def inside(reference: Reference, ground: BaseGeometry) -> np.ndarray:
    """Which units lie in a ground, bool `[n]`."""
    return shapely.intersects_xy(ground, *reference.places)
