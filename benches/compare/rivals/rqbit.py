"""rqbit: a server each for the sharer and the nodes, `rqbit download` for receivers. All are told whom to connect to
instead of asking a tracker."""

import json
import urllib.parse
import urllib.request
from pathlib import Path

from ..process import Command, Daemon, Stage
from . import torrent
from .base import NODES, SHARER, Rival, accepts, first_line, free_port, remove

PORT = 4240
ALONE = ["--disable-dht", "--disable-lsd", "--disable-trackers", "--disable-upnp-port-forward", "-v", "error"]


class Rqbit(Rival):
    name = "rqbit"
    title = "rqbit"
    remark = "BitTorrent, peers known beforehand"

    def install(self) -> None:
        # Without the web interface and the database, which would have to be built, too.
        self.tools.cargo("rqbit", "--no-default-features", "--features", "rust-tls")
        torrent.install(self.tools)
        self.program = self.tools.cargo_program("rqbit")

    def version(self) -> str:
        return first_line(self.program, "--version").split()[1]

    def start(self, stage: Stage) -> None:
        super().start(stage)
        self.torrent = stage.folder / "shared.torrent"
        self.sharer: Daemon | None = None
        self.control = {node: self._server(f"node{node}", node, self.node_folder(node))[1] for node in NODES}

    def _server(self, name: str, machine: int, folder: Path) -> tuple[Daemon, str]:
        port = free_port()
        argv = self._argv(
            self.address(machine),
            "--http-api-listen-addr",
            f"127.0.0.1:{port}",
            "server",
            "start",
            "--disable-persistence",
            str(folder),
        )
        daemon = self.stage.start(name, argv)
        self.stage.until(lambda: accepts("127.0.0.1", port), f"rqbit {machine} starts")
        return daemon, f"http://127.0.0.1:{port}"

    def share(self, source: Path) -> str:
        torrent.make_torrent(self.stage, source, self.torrent, None)
        self.sharer, control = self._server("share", SHARER, source.parent)
        self._add(control, source, source.parent)
        self.stage.until(lambda: self._is_complete(control), "the sharer is ready")
        for node in NODES:
            others = [SHARER, *(other for other in NODES if other != node)]
            self._add(self.control[node], source, self.node_folder(node), *map(self.address, others))
        self.stage.until(lambda: all(map(self._is_complete, self.control.values())), "both nodes are complete")
        return source.name

    def _add(self, control: str, source: Path, folder: Path, *peers: str) -> None:
        target = folder / source.name if source.is_dir() else folder
        query = {
            "overwrite": "true",
            "output_folder": str(target),
            "initial_peers": ",".join(f"{peer}:{PORT}" for peer in peers),
        }
        url = f"{control}/torrents?{urllib.parse.urlencode({key: value for key, value in query.items() if value})}"
        with urllib.request.urlopen(urllib.request.Request(url, self.torrent.read_bytes()), timeout=60) as answer:
            answer.read()

    def _is_complete(self, control: str) -> bool:
        with urllib.request.urlopen(f"{control}/torrents", timeout=60) as answer:
            (found,) = json.load(answer)["torrents"]
        with urllib.request.urlopen(f"{control}/torrents/{found['id']}/stats/v1", timeout=60) as answer:
            stats = json.load(answer)
        return stats["finished"] and stats["state"] == "live"

    def offer(self, handle: str) -> None:
        self.stage.stop(self.sharer)
        self.sharer = None

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        earlier = [self.receiver_address(other) for other in range(receiver)]
        peers = ",".join(f"{peer}:{PORT}" for peer in [*map(self.address, NODES), *earlier])
        flags = ["--exit-on-finish", "--disable-http-api", "--initial-peers", peers, "-o", str(into)]
        return Command("get", self._argv(self.receiver_address(receiver), "download", *flags, str(self.torrent)))

    def copies(self, handle: str) -> list[Path]:
        return [self.node_folder(node) / handle for node in NODES]

    def drop(self, handle: str) -> None:
        if self.sharer:
            self.offer(handle)
        for control, copy in zip(self.control.values(), self.copies(handle), strict=True):
            with urllib.request.urlopen(f"{control}/torrents", timeout=60) as answer:
                (found,) = json.load(answer)["torrents"]
            with urllib.request.urlopen(
                urllib.request.Request(f"{control}/torrents/{found['id']}/delete", b""), timeout=60
            ):
                remove(copy)

    def _argv(self, host: str, *rest: str) -> list[str]:
        return [self.program, *ALONE, "--listen-ip", host, "--listen-port", str(PORT), *rest]
