"""sendme: both sides online at once; a receiver takes from one node."""

import re
from pathlib import Path

from ..process import Command, Daemon, Stage
from .base import NODES, Rival, first_line, remove

QUIET = ["--no-progress", "--relay", "disabled"]


class Sendme(Rival):
    name = "sendme"
    title = "sendme"
    sources = "one"
    transport = "TLS 1.3 (QUIC)"
    remark = "a node that has received serves by another `sendme send`"

    def install(self) -> None:
        self.tools.cargo("sendme", "--no-default-features")
        self.program = self.tools.cargo_program("sendme")

    def version(self) -> str:
        return first_line(self.program, "--version").split()[1]

    def start(self, stage: Stage) -> None:
        super().start(stage)
        self.senders: list[Daemon] = []

    def share(self, source: Path) -> str:
        ticket = self._send("share", source, self.stage.folder)
        self.stage.run(*(self._receive(f"node{node}", ticket, self.node_folder(node)) for node in NODES))
        return source.name

    def offer(self, handle: str) -> None:
        self._stop()
        self.tickets = [
            self._send(f"node{node}", copy, self.node_folder(node))
            for node, copy in zip(NODES, self.copies(handle), strict=True)
        ]

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        return self._receive("get", self.tickets[receiver % 2], into)

    def copies(self, handle: str) -> list[Path]:
        return [self.node_folder(node) / handle for node in NODES]

    def drop(self, handle: str) -> None:
        self._stop()
        for copy in self.copies(handle):
            remove(copy)

    def _send(self, name: str, source: Path, cwd: Path) -> str:
        """Starts to serve; the ticket."""
        daemon = self.stage.start(
            name, [self.program, "send", *QUIET, "--ticket-type", "addresses", str(source)], cwd=cwd
        )
        self.senders.append(daemon)
        ticket = re.compile(r"sendme receive (\S+)")
        self.stage.until(lambda: ticket.search(daemon.output()), "sendme serves")
        return ticket.search(daemon.output())[1]

    def _receive(self, name: str, ticket: str, into: Path) -> Command:
        return Command(name, [self.program, "receive", *QUIET, ticket], cwd=into)

    def _stop(self) -> None:
        self.stage.stop(*self.senders)
        self.senders = []
        # What a sender that was ended leaves behind.
        for folder in (self.stage.folder, *map(self.node_folder, NODES)):
            for store in folder.glob(".sendme-*"):
                remove(store)
