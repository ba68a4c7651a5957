"""Servers on this machine that behave as networks do: they cut, hang, drip, lie, and show other people's certificates."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class FileServer(ThreadingHTTPServer):
    """Serves `content` at every path. What goes wrong is set on it by a test; `asked` keeps the ranges asked for."""

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.asked: list[int] = []
        self.cut = self.hang = None  # after so many bytes
        self.status, self.ranges, self.location = 200, True, ""
        self.over = threading.Event()
        self.host = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self):
        server = self.server
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        server.asked.append(start)
        if server.location:
            self.send_response(302)
            self.send_header("Location", server.location)
            self.end_headers()
            return
        if server.status != 200:
            return self.send_error(server.status)
        start = start if server.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        end = min(x for x in (server.cut, server.hang, len(server.content)) if x is not None)
        self.wfile.write(server.content[start:end])
        if server.hang is not None:
            self.wfile.flush()
            server.over.wait(60)

    def log_message(self, *_):
        """Nothing on stderr."""


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    server = FileServer(content)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A host that takes connections and says nothing, TLS included."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def foreign(folder: Path) -> Iterator[str]:
    """A web server under a certificate that it has written itself, as a captive portal's may be."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(b"please log in") as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server.host
