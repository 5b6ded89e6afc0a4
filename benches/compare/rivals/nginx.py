"""nginx with its WebDAV module, and curl: plain and with TLS. Folders travel as one tar stream, as people do it."""

import os
import shlex
from pathlib import Path

from ..process import Command, Stage
from .base import NODES, Rival, accepts, first_line, free_port, remove

CONFIGURATION = """
daemon off;
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/incoming;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {listen};
        {tls}
        root {folder}/files;
        location / {{ dav_methods PUT; }}
    }}
}}
"""
TLS = """
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.3;
        ssl_conf_command Options KTLS;
"""
CERTIFICATE = [
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-days",
    "2",
    "-subj",
    "/CN=localhost",
]


class Nginx(Rival):
    name = "nginx"
    title = "nginx + curl, http"
    sources = "one"
    remark = "two uploads at once; folders as tar"
    scheme = "http"

    def install(self) -> None:
        self.tools.apt(nginx="nginx-light", curl="curl", openssl="openssl")

    def version(self) -> str:
        curl = first_line("curl", "--version").split()[1]
        return f"{first_line('nginx', '-v').rpartition('/')[2]}, curl {curl}"

    def start(self, stage: Stage) -> None:
        super().start(stage)
        self.urls = [self._server(node) for node in NODES]

    def _server(self, node: int) -> str:
        folder, host = self.node_folder(node), self.address(node)
        port = free_port(host)
        (folder / "files").mkdir()
        tls = ""
        if self.scheme == "https":
            tls = TLS.format(folder=folder)
            self.stage.run(
                Command("openssl", [*CERTIFICATE, "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"])
            )
        # Started by root, workers are another user, who may not look into the temporary folder.
        user = "user root;" if os.getuid() == 0 else ""
        listen = f"{host}:{port}" + (" ssl" if tls else "")
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, listen=listen, tls=tls, user=user))
        self.stage.start(f"node{node}", ["nginx", "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])
        self.stage.until(lambda: accepts(host, port), f"nginx {node} starts")
        return f"{self.scheme}://{host}:{port}"

    def share(self, source: Path) -> str:
        if source.is_dir():
            uploads = [upload_folder(source, f"{url}/{source.name}.tar") for url in self.urls]
        else:
            uploads = [curl("upload", "-T", str(source), f"{url}/{source.name}") for url in self.urls]
        self.stage.run(*uploads)
        return source.name + (".tar" if source.is_dir() else "")

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        url = f"{self.urls[receiver % 2]}/{handle}"
        if handle.endswith(".tar"):
            return shell("get", f"{curl_text} {shlex.quote(url)} | tar -C {shlex.quote(str(into))} -xf -")
        return curl("get", "-o", str(into / handle), url)

    def copies(self, handle: str) -> list[Path]:
        return [] if handle.endswith(".tar") else [self.node_folder(node) / "files" / handle for node in NODES]

    def drop(self, handle: str) -> None:
        for node in NODES:
            remove(self.node_folder(node) / "files" / handle)


class NginxTls(Nginx):
    name = "nginx-tls"
    title = "nginx + curl, https"
    transport = "TLS 1.3"
    scheme = "https"


# An `Expect: 100-continue` would cost a second of waiting where the server does not answer it at once.
CURL = ["curl", "-sSfk", "-H", "Expect:"]
curl_text = shlex.join(CURL)


def curl(name: str, *arguments: str) -> Command:
    return Command(name, [*CURL, *arguments])


def upload_folder(source: Path, url: str) -> Command:
    parent, name = shlex.quote(str(source.parent)), shlex.quote(source.name)
    return shell("upload", f"tar -C {parent} -cf - {name} | {curl_text} -T - {shlex.quote(url)}")


def shell(name: str, pipeline: str) -> Command:
    return Command(name, ["bash", "-o", "pipefail", "-c", pipeline])
