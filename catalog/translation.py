"""What the values of somebody's labels mean among our classes: a JSON object of values (or names) to names, or null.

Those of well-known maps are shipped (`translations/*.json`): `worldcover` (ESA, 10 to 100), `dynamic-world` (the
training markups of Dynamic World, 0 to 10), `esri` (Impact Observatory and Esri, both editions; rangeland, which is
grass and shrub, is left out), `landloom` (the numbers of Landloom's classes, as in chips).
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from catalog.errors import BadInput

Translation = dict[str, str | None]


def load_translation(name: str, option: str = "--classes") -> Translation:
    """A shipped translation by its name, or the one in a JSON file, as `{"10": "trees", "100": null}`.

    Raises:
        BadInput: no such file, or its content is no such object.
    """
    folder = resources.files("catalog") / "translations"
    shipped = sorted(one.name.removesuffix(".json") for one in folder.iterdir())
    try:
        text = (folder / f"{name}.json").read_text() if name in shipped else Path(name).read_text()
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{option} {name!r} cannot be read as JSON: {error}. Give a JSON file, or one of {', '.join(shipped)}."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(one, str | None) for one in found.values()):
        raise BadInput(f'{option} {name!r} is no JSON object of names, as {{"forest": "trees", "quarry": null}}.')
    return found


def numbers(name: str, classes: tuple[str, ...]) -> dict[str, int | None]:
    """Value to the number of its class, None where it is left out.

    Args:
        name: of a translation, as for `load_translation`.
        classes: that there are, in order.

    Raises:
        BadInput: no such translation, or it names another class.
    """
    found = load_translation(name)
    strange = sorted({one for one in found.values() if one is not None} - set(classes))
    if strange:
        raise BadInput(f"--classes {name!r} names {strange[0]!r}, which is none of {', '.join(classes)}.")
    return {value: None if one is None else classes.index(one) for value, one in found.items()}
