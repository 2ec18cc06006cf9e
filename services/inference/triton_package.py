"""A Triton server to run on this machine's processor, out of the PyPI package `nvidia-pytriton`.

It is put into a virtual environment of its own, since the server's Python models want numpy 1. That lies in
`$LANDLOOM_CACHE/triton`, by default `~/.cache/landloom/triton`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import LandloomError, StoreError

PACKAGES = ("nvidia-pytriton==0.7.0", "numpy==1.26.4", "onnxruntime==1.31.1")
"""Tested together: with numpy 2 this server answers with empty tensors and no error."""
_CACHE = "LANDLOOM_CACHE"
"""Environment variable: folder of what can be made anew."""


class TritonUnavailable(LandloomError):
    """No Triton server can be run on this machine."""


@dataclass(frozen=True)
class TritonPackage:
    """An installed server."""

    program: Path
    backends: Path
    environment: dict[str, str]
    """Environment variables to run it with."""


def triton_package() -> TritonPackage:
    """The server, installed at the first call (55 MB, some seconds).

    Raises:
        TritonUnavailable: it cannot be installed, or this Python cannot run its models.
        StoreError: the cache cannot be written.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    library = _python_library()
    cache = Path(os.environ.get(_CACHE) or Path.home() / ".cache" / "landloom") / "triton"
    folder = cache / "-".join([*(package.replace("==", "-") for package in PACKAGES), f"python-{python}"])
    if not folder.exists():
        try:
            _install(folder, python)
        except OSError as error:
            raise StoreError(f"{str(cache)!r} cannot be written: {error}. Set {_CACHE} to another folder.") from error
    packages = _packages(folder, python)
    paths: dict[str, list[Path | str]] = {
        # The program that runs the models is linked to "the" libpython: it must be the one that runs here.
        "LD_LIBRARY_PATH": [packages / "nvidia_pytriton.libs", library],
        # It heeds no PYTHONPATH, but takes the packages of the first python3 in the path.
        "PATH": [folder / "bin", os.environ.get("PATH", os.defpath)],
    }
    environment = {name: os.pathsep.join(map(str, parts)) for name, parts in paths.items()}
    program = packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    return TritonPackage(program, folder / "backends", {**os.environ, **environment})


def _packages(folder: Path, python: str) -> Path:
    return folder / "lib" / f"python{python}" / "site-packages"


def _python_library() -> Path:
    """Folder of libpython."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    if not sys.platform.startswith("linux") or ".so" not in name or not (folder / name).exists():
        raise TritonUnavailable(
            f"Triton's models run in a shared libpython on Linux, which this Python ({sys.base_prefix}) has not. "
            "Use another Python (Debian: libpython3.11, pyenv: --enable-shared), or a container: "
            "infra/images/triton.Dockerfile."
        )
    return folder


def _install(folder: Path, python: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        venv.create(made, symlinks=True)
        packages = _packages(made, python)
        uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
        installer = (
            [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
        )
        # Of the rest that they ask for (the Python client of pytriton) nothing is run here.
        command = [*installer, "--no-deps", "--target", str(packages), *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TritonUnavailable(
                f"{', '.join(PACKAGES)} cannot be installed: {done.stderr.strip()[-800:]}\n"
                "Look whether the package index is reached, or use a server elsewhere."
            )
        # A server that polls its repository takes a __pycache__ that appears beside model.py for a new version. The
        # program that runs the models heeds no PYTHONDONTWRITEBYTECODE.
        (packages / "no_bytecode.pth").write_text("import sys; sys.dont_write_bytecode = True\n")
        server = packages / "pytriton" / "tritonserver"
        stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
        if not stub.exists():
            raise TritonUnavailable(f"This Triton runs no models with Python {python}. Use Python 3.11 or 3.12.")
        backend = made / "backends" / "python"
        shutil.copytree(server / "backends" / "python", backend)
        shutil.copy(stub, backend)
        (backend / stub.name).chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            # Another process was faster.
            if not folder.exists():
                raise
