"""Tahoe-LAFS: an introducer, two storage nodes, and a client node as everybody's gateway."""

import json
import urllib.request
from pathlib import Path

from ..process import Command, Stage
from .base import NODES, Rival, accepts, first_line, free_port, remove

# Every share is a complete copy, as for the other tools: any one of two is enough.
COPIES = ["--shares-needed=1", "--shares-happy=2", "--shares-total=2"]


class Tahoe(Rival):
    name = "tahoe"
    title = "Tahoe-LAFS"
    sources = "one"
    transport = "TLS"
    at_rest = "end to end"
    remark = "big file: a quarter of the size; folders by `cp -r`"
    part = 4

    def install(self) -> None:
        self.tools.pip(allmydata="tahoe-lafs")
        self.program = self.tools.pip_program("tahoe")

    def version(self) -> str:
        return first_line(self.program, "--version").rpartition("/")[2]

    def start(self, stage: Stage) -> None:
        super().start(stage)
        self._create("create-introducer", "introducer")
        self._run("introducer")
        furl_file = stage.folder / "introducer/private/introducer.furl"
        stage.until(furl_file.exists, "the introducer starts")
        furl = furl_file.read_text().strip()
        for node in NODES:
            self._create("create-node", f"node{node}", "--introducer", furl, "--webport=none")
            self._run(f"node{node}")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._create(
            "create-client", "gateway", "--introducer", furl, f"--webport=tcp:{port}:interface=127.0.0.1", *COPIES
        )
        self._run("gateway")
        stage.until(lambda: accepts("127.0.0.1", port), "the gateway starts")
        stage.until(lambda: self._connected() == len(NODES), "the gateway finds the nodes")

    def _create(self, kind: str, name: str, *flags: str) -> None:
        listen = []
        if kind != "create-client":
            port = free_port()
            listen = [f"--port=tcp:{port}:interface=127.0.0.1", f"--location=tcp:127.0.0.1:{port}"]
        self.stage.run(Command("create", [self.program, kind, *listen, *flags, str(self.stage.folder / name)]))

    def _run(self, name: str) -> None:
        self.stage.start(name, [self.program, "run", str(self.stage.folder / name)])

    def _connected(self) -> int:
        with urllib.request.urlopen(f"{self.url}/?t=json", timeout=10) as answer:
            servers = json.load(answer)["servers"]
        return sum(server["connection_status"].lower().startswith("connected") for server in servers)

    def share(self, source: Path) -> str:
        self.source_name = source.name
        if source.is_dir():
            (cap,) = self.stage.run(self._client("share", "mkdir"))
            self.stage.run(self._client("share", "cp", "-r", str(source), cap.strip()))
            return f"{cap.strip()}/{source.name}"
        (cap,) = self.stage.run(self._client("share", "put", str(source)))
        return cap.strip()

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        if handle.startswith("URI:DIR2"):
            return self._client("get", "cp", "-r", handle, str(into))
        return self._client("get", "get", handle, str(into / self.source_name))

    def drop(self, handle: str) -> None:
        # The same file again would be found to be there already: its key comes from its content.
        for node in NODES:
            shares = self.stage.folder / f"node{node}/storage/shares"
            for prefix in shares.iterdir():
                if prefix.name != "incoming":
                    remove(prefix)

    def _client(self, name: str, *arguments: str) -> Command:
        command, *rest = arguments
        return Command(name, [self.program, command, "--node-url", self.url, *rest])
