"""A store in a local (or mounted) folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from catalog.errors import StoreError
from catalog.store import PIECE, NotFound, ObjectInfo, Store, check_key

_SCRATCH = ".landloom"
"""Folder of unfinished files and of the lock; on the same file system as the results, so that renaming is atomic."""
_REMEDIES = {
    errno.ENOSPC: "The disk is full: free space or give another output. What is staged stays, and the run resumes.",
    errno.EDQUOT: "The quota is used up: free space or give another output. What is staged stays.",
    errno.EACCES: "Give a folder that this user may write to.",
    errno.EPERM: "Give a folder that this user may write to.",
    errno.EROFS: "The file system is read-only: give another output.",
    errno.ENOTDIR: "A part of the path is a file: give a folder.",
    errno.EISDIR: "A folder stands where a file should: give another output.",
}


@dataclass(frozen=True)
class DiskStore(Store):
    """Objects are files below `root`; hidden ones do not count."""

    root: Path

    def read(self, key: str) -> bytes:
        """See `Store`."""
        with self._explained("read", key):
            return self._path(key).read_bytes()

    def info(self, key: str) -> ObjectInfo:
        """See `Store`."""
        with self._explained("read", key):
            path = self._path(key)
            found = path.stat()
            if not path.is_file():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
        tag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
        return ObjectInfo(found.st_size, tag, datetime.fromtimestamp(found.st_mtime, UTC))

    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See `Store`."""
        with self._explained("read", key), self._path(key).open("rb") as file:
            file.seek(start)
            left = stop - start if stop is not None else None
            while piece := file.read(PIECE if left is None else min(PIECE, left)):
                left = None if left is None else left - len(piece)
                yield piece

    def write(self, key: str, content: bytes) -> None:
        """See `Store`."""
        self._put(key, content)

    def upload(self, key: str, path: Path) -> None:
        """See `Store`."""
        self._put(key, path)

    def exists(self, key: str) -> bool:
        """See `Store`."""
        with self._explained("look for", key):
            return self._path(key).is_file()

    def list(self, prefix: str = "") -> list[str]:
        """See `Store`."""
        found: list[str] = []
        top = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self.root
        with self._explained("list", prefix):
            for folder, folders, files in os.walk(top, onerror=_unless_missing):
                folders[:] = [name for name in folders if not name.startswith(".")]
                base = Path(folder).relative_to(self.root)
                found += [(base / name).as_posix() for name in files if not name.startswith(".")]
        return sorted(key for key in found if key.startswith(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`. Folders that become empty go too."""
        for key in keys:
            path = self._path(key)
            with self._explained("delete", key):
                path.unlink(missing_ok=True)
                for folder in path.parents:
                    if folder == self.root or not _removed_empty(folder):
                        break

    def href(self, key: str) -> str:
        """See `Store`."""
        return str(self._path(key))

    def version(self, key: str) -> str | None:
        """See `Store`. A hash of the content: file times are too coarse to tell two writes apart."""
        with self._explained("read", key):
            try:
                with self._path(key).open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                return None

    def read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """See `Store`."""
        try:
            content = self.read(key)
        except NotFound:
            return None, None
        return content, hashlib.sha256(content).hexdigest()

    def write_if(self, key: str, content: bytes | Path, version: str | None) -> bool:
        """See `Store`. Writers of one store take turns while they compare and replace."""
        with self._explained("write", key):
            scratch = self.root / _SCRATCH
            scratch.mkdir(parents=True, exist_ok=True)
            with (scratch / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.version(key) != version:
                    return False
                self._put(key, content)
                return True

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _put(self, key: str, content: bytes | Path) -> None:
        path = self._path(key)
        unfinished = self.root / _SCRATCH / uuid.uuid4().hex
        with self._explained("write", key):
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("wb") as file:
                    if isinstance(content, Path):
                        with content.open("rb") as source:
                            shutil.copyfileobj(source, file, 1 << 20)
                    else:
                        file.write(content)
                    # Without it, a power cut after the rename can leave an empty file under the final name.
                    file.flush()
                    os.fsync(file.fileno())
                while True:
                    try:
                        path.parent.mkdir(parents=True, exist_ok=True)
                        unfinished.replace(path)
                        return
                    except FileNotFoundError:
                        # Another process removed the folder as empty between the two calls.
                        if not unfinished.exists():
                            raise
            finally:
                unfinished.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            no_such = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
            if verb == "read" and (no_such or error.errno == errno.ENAMETOOLONG):
                raise NotFound(f"There is no {self.root / key}. Check the address of the output.") from error
            remedy = _REMEDIES.get(error.errno or 0, "Check the disk and the path.")
            raise StoreError(f"Cannot {verb} {self.root / key}: {error.strerror or error}. {remedy}") from error


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _removed_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
