"""rsync against two rsync daemons."""

import os
from pathlib import Path

from ..process import Command, Stage
from .base import NODES, Rival, accepts, first_line, free_port, remove

CONFIGURATION = """
use chroot = no
max connections = 0
{user}
[files]
    path = {folder}/files
    read only = no
"""


class Rsync(Rival):
    name = "rsync"
    title = "rsync daemon"
    sources = "one"
    remark = "two uploads at once, whole files"

    def install(self) -> None:
        self.tools.apt(rsync="rsync")

    def version(self) -> str:
        return first_line("rsync", "--version").split()[2]

    def start(self, stage: Stage) -> None:
        super().start(stage)
        self.urls = [self._server(node) for node in NODES]

    def _server(self, node: int) -> str:
        folder, host = self.node_folder(node), self.address(node)
        port = free_port(host)
        (folder / "files").mkdir()
        # A daemon that root starts becomes nobody otherwise, who may not write into the temporary folder.
        user = "uid = root\ngid = root" if os.getuid() == 0 else ""
        (folder / "rsyncd.conf").write_text(CONFIGURATION.format(folder=folder, user=user))
        argv = [
            "rsync",
            "--daemon",
            "--no-detach",
            f"--config={folder}/rsyncd.conf",
            f"--address={host}",
            f"--port={port}",
        ]
        self.stage.start(f"node{node}", argv)
        self.stage.until(lambda: accepts(host, port), f"rsync {node} starts")
        return f"rsync://{host}:{port}/files"

    def share(self, source: Path) -> str:
        self.stage.run(*(rsync("upload", str(source), f"{url}/") for url in self.urls))
        return source.name

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        return rsync("get", f"{self.urls[receiver % 2]}/{handle}", f"{into}/")

    def copies(self, handle: str) -> list[Path]:
        return [self.node_folder(node) / "files" / handle for node in NODES]

    def drop(self, handle: str) -> None:
        for copy in self.copies(handle):
            remove(copy)


def rsync(name: str, source: str, target: str) -> Command:
    return Command(name, ["rsync", "-a", "--whole-file", "--inplace", source, target])
