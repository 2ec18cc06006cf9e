"""The example notebook runs from a clean kernel, and what it tells is what the command line tells."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import nbformat
import pandas
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from tests.catalog.tile_years import publish_all
from tests.servers.catalog import serve_catalog

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "docs" / "notebooks" / "change.ipynb"


def outputs(notebook: NotebookNode, kind: str) -> list[str]:
    """All outputs of a MIME type, in order; `stream` for what was printed."""
    every = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    if kind == "stream":
        return [one.text for one in every if one.output_type == "stream" and one.name == "stdout"]
    return [one.data[kind] for one in every if kind in one.get("data", {})]


def tables(notebook: NotebookNode) -> list[pandas.DataFrame]:
    """All tables that are shown."""
    shown = (one for one in outputs(notebook, "text/html") if 'class="dataframe"' in one)
    return [pandas.read_html(io.StringIO(one), index_col=0)[0] for one in shown]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_runs_from_a_clean_kernel_and_reads_a_remote_catalog_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("LANDLOOM_API", "LANDLOOM_COLLECTION"):
        monkeypatch.delenv(name, raising=False)
    years = [("33UUU", 2019), ("33UUU", 2020)]
    publish_all(tmp_path / "remote", *years, folder=tmp_path)
    notebook = nbformat.read(NOTEBOOK, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with serve_catalog(str(tmp_path / "remote")) as url:
        monkeypatch.setenv("REMOTE_API", url)
        monkeypatch.setenv("REMOTE_COLLECTION", "lulc-annual")
        client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
        client.execute(env=dict(os.environ))
    printed = "".join(outputs(notebook, "stream"))
    assert re.search(r"pystac-client \d", printed) and "33UUU-2018" in printed and "33UUU-2022" in printed
    assert "2 items, {'time': 2, 'y': 384, 'x': 417} - left as they are" in printed
    areas, net, transitions = tables(notebook)[:3]
    # The study area has 1472 ha; all of it is mapped.
    assert areas.sum().between(1465, 1475).all()
    assert net["net_hectares"].sum() == pytest.approx(0, abs=0.5)
    # The largest transitions are shown: most of all change.
    assert 0.8 * net["gain_hectares"].sum() < transitions["mapped_hectares"].sum() <= net["gain_hectares"].sum()
    pictures = [Image.open(io.BytesIO(base64.b64decode(one))) for one in outputs(notebook, "image/png")]
    assert len(pictures) == 7
    assert all(len(one.convert("RGB").getcolors(1 << 24)) > 5 for one in pictures), "none is empty"
    # The slider holds a picture of each year.
    assert max(one.count("iVBOR") for one in outputs(notebook, "text/html")) >= 5


def test_the_one_in_the_repository_has_been_run_and_is_small() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    code = [one for one in notebook.cells if one.cell_type == "code"]
    assert [one.execution_count for one in code] == list(range(1, len(code) + 1))
    assert not any(one.output_type == "error" for cell in code for one in cell.outputs)
    assert len(outputs(notebook, "image/png")) == 7 and len(tables(notebook)) >= 6
    assert NOTEBOOK.stat().st_size < 3_000_000
    assert str(ROOT) not in NOTEBOOK.read_text() and "/tmp/" not in NOTEBOOK.read_text()
