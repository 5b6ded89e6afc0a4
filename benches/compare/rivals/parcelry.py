"""parcelry: a tracker and two peers."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from ..install import Unavailable
from ..process import Command, Daemon, Stage
from .base import NODES, Rival, first_line


class Parcelry(Rival):
    name = "parcelry"
    title = "parcelry"
    transport = "TLS 1.3"
    at_rest = "end to end"
    remark = "copies are synced before `share` ends"

    def install(self) -> None:
        self.program = os.environ.get("PARCELRY_BIN") or self._build()
        if not Path(self.program).exists():
            raise Unavailable(f"{self.program} does not exist")

    def _build(self) -> str:
        if self.tools.may_install and shutil.which("cargo"):
            if subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"]).returncode:
                raise Unavailable("it does not build")
        return str(Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve() / "release/parcelry")

    def version(self) -> str:
        return first_line(self.program, "--version").removeprefix("parcelry ")

    def start(self, stage: Stage) -> None:
        super().start(stage)
        home = stage.folder / "home"
        self.settings = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("STATE", "CONFIG", "DATA")}
        tracker = self._server("tracker", "--listen", "127.0.0.1:0", "--heartbeat", "1s", "--dead-after", "1m")
        for node in NODES:
            self._server(
                f"node{node}",
                "--invite",
                tracker["peer_invite"],
                "--listen",
                "127.0.0.1:0",
                "--name",
                f"node{node}",
                "--keep-free",
                "0B",
            )
        self.settings["PARCELRY_INVITE"] = tracker["sender_invite"]
        self.tracker_url = re.match(r"https://[^/]+", tracker["sender_invite"])[0]

    def _server(self, name: str, *flags: str) -> dict:
        """Starts a tracker or peer, and waits for its first line."""
        role = "tracker" if name == "tracker" else "peer"
        argv = [self.program, role, "--data", str(self.stage.folder / name), *flags, "--json"]
        daemon: Daemon = self.stage.start(name, argv, env=self.settings)
        self.stage.until(lambda: "\n" in daemon.output(), f"{name} starts")
        return json.loads(daemon.output().splitlines()[0])

    def share(self, source: Path) -> str:
        (output,) = self.stage.run(self._client("share", "share", str(source), "--json"))
        return re.findall(r'"link":"([^"]*)"', output)[-1]

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        return self._client("get", "get", handle, "-o", str(into))

    def drop(self, handle: str) -> None:
        self.stage.run(self._client("rm", "rm", "--quiet", handle))
        chunks = [self.stage.folder / f"node{node}" / "store/chunks" for node in NODES]
        self.stage.until(lambda: not any(has_file(folder) for folder in chunks), "the peers drop the chunks")

    def reference(self) -> Command | None:
        if not shutil.which("curl"):
            return None
        return Command("healthz", ["curl", "-sSfk", "-o", "/dev/null", f"{self.tracker_url}/healthz"])

    def _client(self, name: str, *arguments: str) -> Command:
        return Command(name, [self.program, *arguments], env=self.settings)


def has_file(folder: Path) -> bool:
    return any(files for _, _, files in os.walk(folder))
