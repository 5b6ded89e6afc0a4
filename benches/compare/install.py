"""Brings the tools onto this machine: Debian packages, Python packages in a venv, Rust programs from its registry.

Python and Rust programs go below `target/rivals`, which `cargo clean` removes. Debian packages are installed for
the whole machine; whether Debian then starts a service is Debian's decision.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path


class Unavailable(Exception):
    """A tool is not to be had here; the text says why."""


class Tools:
    """Where the tools are. With `may_install` false, only what is there already is used."""

    def __init__(self, root: Path, may_install: bool):
        self.root, self.may_install = root, may_install
        self._apt_updated = False

    @property
    def python(self) -> str:
        return str(self.root / "venv/bin/python")

    def pip_program(self, name: str) -> str:
        return str(self.root / "venv/bin" / name)

    def cargo_program(self, name: str) -> str:
        return str(self.root / "cargo/bin" / name)

    def apt(self, **programs: str) -> None:
        """Installs Debian packages for programs that are missing: `program="package"`, with _ for -."""
        missing = {name.replace("_", "-"): package for name, package in programs.items()}
        missing = {name: package for name, package in missing.items() if not shutil.which(name)}
        if missing:
            self._may_install(", ".join(missing))
            sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
            if not self._apt_updated:
                self._do([*sudo, "apt-get", "update"])
                self._apt_updated = True
            environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
            packages = sorted(set(missing.values()))
            self._do([*sudo, *environment, "apt-get", "install", "--yes", "--no-install-recommends", *packages])

    def pip(self, *modules: str, **packages: str) -> None:
        """Installs Python packages: by the name of their module, or `module="package"` where the names differ."""
        wanted = {module: module for module in modules} | packages
        if not Path(self.python).exists():
            self._may_install("the Python packages")
            self._do([sys.executable, "-m", "venv", str(self.root / "venv")])
        missing = [package for module, package in wanted.items() if not self._has_module(module)]
        if missing:
            self._may_install(", ".join(missing))
            self._do([self.python, "-m", "pip", "install", "--quiet", *missing])

    def cargo(self, name: str, *flags: str) -> None:
        """Builds a program from the registry of Rust packages; the number of cores that may be used is CARGO_BUILD_JOBS, as always."""
        if not Path(self.cargo_program(name)).exists():
            self._may_install(name)
            settings = {"CARGO_TARGET_DIR": str(self.root / "build")}
            self._do(
                ["cargo", "install", "--quiet", "--locked", "--root", str(self.root / "cargo"), *flags, name], settings
            )

    def _has_module(self, module: str) -> bool:
        return subprocess.run([self.python, "-c", f"import {module}"], capture_output=True).returncode == 0

    def _may_install(self, what: str) -> None:
        if not self.may_install:
            raise Unavailable(f"not installed: {what}")

    def _do(self, argv: list[str], settings: dict[str, str] | None = None) -> None:
        print(f"installing: {' '.join(argv)}", file=sys.stderr)
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                argv, env=os.environ | (settings or {}), capture_output=True, text=True, errors="replace"
            )
        except FileNotFoundError as error:
            raise Unavailable(f"{argv[0]} is not on this machine") from error
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
            raise Unavailable(f"{argv[0]} failed: {' / '.join(lines[-3:])}"[:400])
