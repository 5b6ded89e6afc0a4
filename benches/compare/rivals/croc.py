"""croc: written in Go, and in none of the package registries that the harness installs from."""

from ..install import Unavailable
from .base import Rival


class Croc(Rival):
    name = "croc"
    title = "croc"

    def install(self) -> None:
        raise Unavailable("packaged neither for Debian, Python nor Rust")
