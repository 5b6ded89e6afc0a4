"""libtorrent by its Python binding: the fastest BitTorrent engine, told whom to connect to instead of a tracker."""

from pathlib import Path

from ..process import Command, Stage
from .base import NODES, SHARER, Rival, first_line

PROGRAM = Path(__file__).with_name("libtorrent_node.py")
PORT = 6881


class Libtorrent(Rival):
    name = "libtorrent"
    title = "libtorrent"
    remark = "preset for fast seeding, v1 torrents, peers known beforehand"

    def install(self) -> None:
        self.tools.pip("libtorrent")

    def version(self) -> str:
        return first_line(self.tools.python, "-c", "import libtorrent; print(libtorrent.__version__)")

    def start(self, stage: Stage) -> None:
        super().start(stage)
        self.torrent = stage.folder / "shared.torrent"
        self.sharer = None
        self.nodes = [stage.start(f"node{node}", self._argv("node", self.address(node))) for node in NODES]
        self._until_said("ready", 1)

    def share(self, source: Path) -> str:
        self.sharer = self.stage.start(
            "share", self._argv("share", self.address(SHARER), str(source), str(self.torrent))
        )
        self.stage.until(lambda: "seeding" in self.sharer.output(), "the sharer seeds")
        # The two nodes also get from each other: each is told of the sharer and of the other.
        peers = {
            node: [peer(self.address(SHARER)), *(peer(self.address(other)) for other in NODES if other != node)]
            for node in NODES
        }
        said = self._said("complete")
        for node, daemon in zip(NODES, self.nodes, strict=True):
            daemon.ask(f"add {self.torrent} {self.node_folder(node)} {' '.join(peers[node])}")
        self._until_said("complete", said + 1)
        return source.name

    def offer(self, handle: str) -> None:
        self.stage.stop(self.sharer)
        self.sharer = None

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        # Receivers that come at once would learn of each other from a tracker, and share what they have.
        earlier = [peer(self.receiver_address(other)) for other in range(receiver)]
        peers = [*(peer(self.address(node)) for node in NODES), *earlier]
        return Command("get", self._argv("get", self.receiver_address(receiver), str(self.torrent), str(into), *peers))

    def copies(self, handle: str) -> list[Path]:
        return [self.node_folder(node) / handle for node in NODES]

    def drop(self, handle: str) -> None:
        if self.sharer:
            self.offer(handle)
        said = self._said("dropped")
        for daemon in self.nodes:
            daemon.ask("drop")
        self._until_said("dropped", said + 1)
        self.stage.until(
            lambda: not any(copy.exists() for copy in self.copies(handle)), "the nodes delete their copies"
        )

    def _argv(self, role: str, host: str, *rest: str) -> list[str]:
        # -P: the folder of the program, where this file is, must not hide the module of the same name.
        return [self.tools.python, "-P", str(PROGRAM), role, host, str(PORT), *rest]

    def _said(self, word: str) -> int:
        return min(daemon.output().count(word) for daemon in self.nodes)

    def _until_said(self, word: str, times: int) -> None:
        self.stage.until(lambda: self._said(word) >= times, f"the nodes say {word}")


def peer(host: str) -> str:
    return f"{host}:{PORT}"
