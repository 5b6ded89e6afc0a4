"""aria2: as a BitTorrent client with opentracker, and as an HTTP client of two nginx servers at once."""

import base64
from pathlib import Path

from ..process import Command, Daemon, Stage
from . import torrent
from .base import NODES, SHARER, Rival, accepts, first_line, free_port, post_json, remove
from .nginx import Nginx

# What finds peers by itself is off, as for all BitTorrent clients here; so is what limits.
BITTORRENT = [
    "--no-conf",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--bt-max-peers=0",
    "--bt-request-peer-speed-limit=0",
    "--max-upload-limit=0",
    "--file-allocation=none",
    "--disk-cache=64M",
    "--allow-overwrite=true",
    "--summary-interval=0",
    "--quiet",
]
PORT = 6881


class Aria2(Rival):
    name = "aria2"
    title = "aria2 + opentracker"
    remark = "BitTorrent"

    def install(self) -> None:
        self.tools.apt(aria2c="aria2")
        torrent.install(self.tools)

    def version(self) -> str:
        return aria2_version()

    def start(self, stage: Stage) -> None:
        super().start(stage)
        self.torrent = stage.folder / "shared.torrent"
        self.tracker = torrent.Tracker(stage, self.address(SHARER))
        self.sharer: Daemon | None = None
        self.control = {node: self._node(node) for node in NODES}

    def _node(self, node: int) -> str:
        """Starts a node that stays, and is told by RPC what to fetch."""
        port = free_port()
        argv = self._argv(
            self.address(node),
            "--seed-ratio=0",
            "--enable-rpc",
            f"--rpc-listen-port={port}",
            f"--dir={self.node_folder(node)}",
        )
        self.stage.start(f"node{node}", argv)
        self.stage.until(lambda: accepts("127.0.0.1", port), f"aria2 {node} starts")
        return f"http://127.0.0.1:{port}/jsonrpc"

    def share(self, source: Path) -> str:
        torrent.make_torrent(self.stage, source, self.torrent, self.tracker)
        seed = ["--seed-ratio=0", "--bt-seed-unverified", f"--dir={source.parent}", str(self.torrent)]
        self.sharer = self.stage.start("share", self._argv(self.address(SHARER), *seed))
        self.tracker.until_seeds(self.torrent, 1)
        content = base64.b64encode(self.torrent.read_bytes()).decode()
        self.downloads = {node: self._ask(node, "addTorrent", content, [], {}) for node in NODES}
        self.stage.until(lambda: all(self._is_complete(node) for node in NODES), "both nodes are complete")
        return source.name

    def _is_complete(self, node: int) -> bool:
        return self._ask(node, "tellStatus", self.downloads[node], ["seeder"]).get("seeder") == "true"

    def _ask(self, node: int, method: str, *parameters: object):
        request = {"jsonrpc": "2.0", "id": "1", "method": f"aria2.{method}", "params": parameters}
        return post_json(self.control[node], request)["result"]

    def offer(self, handle: str) -> None:
        self.stage.stop(self.sharer)
        self.sharer = None
        self.tracker.until_seeds(self.torrent, 2)

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        return Command(
            "get", self._argv(self.receiver_address(receiver), "--seed-time=0", f"--dir={into}", str(self.torrent))
        )

    def copies(self, handle: str) -> list[Path]:
        return [self.node_folder(node) / handle for node in NODES]

    def drop(self, handle: str) -> None:
        if self.sharer:
            self.offer(handle)
        for node, copy in zip(NODES, self.copies(handle), strict=True):
            self._ask(node, "forceRemove", self.downloads[node])
            self.stage.until(
                lambda: self._ask(node, "tellStatus", self.downloads[node])["status"] != "active", "removal"
            )
            self._ask(node, "removeDownloadResult", self.downloads[node])
            remove(copy)

    def _argv(self, host: str, *rest: str) -> list[str]:
        return [
            "aria2c",
            *BITTORRENT,
            f"--interface={host}",
            f"--listen-port={PORT + int(host.rpartition('.')[2])}",
            *rest,
        ]


class Aria2Http(Nginx):
    name = "aria2-http"
    title = "aria2 + nginx, http"
    sources = "two"
    remark = "8 connections, 4 to each server; shares, and folders, with curl"

    def install(self) -> None:
        super().install()
        self.tools.apt(aria2c="aria2")

    def version(self) -> str:
        return f"{aria2_version()}, nginx {super().version()}"

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        if handle.endswith(".tar"):
            return super().get(handle, into, receiver)
        flags = [
            "--no-conf",
            "--quiet",
            "--file-allocation=none",
            "--split=8",
            "--max-connection-per-server=4",
            "--min-split-size=1M",
        ]
        return Command("get", ["aria2c", *flags, f"--dir={into}", *(f"{url}/{handle}" for url in self.urls)])


def aria2_version() -> str:
    return first_line("aria2c", "--version").rpartition(" ")[2]
