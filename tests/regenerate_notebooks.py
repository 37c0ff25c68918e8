"""Run the notebooks on the embedded brand and store their outputs: ``python -m tests.regenerate_notebooks [NAME …]``."""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: nbformat.NotebookNode, work: Path) -> nbformat.NotebookNode:
    """Run a notebook from top to bottom, with ``work`` as its folder; an error in a cell is raised."""
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(work)}}).execute()
    return notebook


def store(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write what a reader sees who does not run it: no times of execution, and no progress bars, which are over."""
    notebook.metadata = {name: notebook.metadata[name] for name in ("kernelspec", "language_info")}
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = _in_few_colours(output.data["image/png"])
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _in_few_colours(png: str) -> str:
    """Give a plot the palette it needs: a third of the bytes, and to the eye the same."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.encodebytes(small.getvalue()).decode()


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("WXCOUPON_")]:
        del os.environ[name]
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as work:
                store(execute(nbformat.read(path, as_version=4), Path(work)), path)
            print(f"{path.name}: {path.stat().st_size:,} bytes")
