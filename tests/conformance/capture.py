"""A proxy that stands between a client and a cloud and keeps every call with its answer, as both were on the wire."""

from __future__ import annotations

import http.client
import re
import threading
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What concerns one connection alone (RFC 9110, section 7.6.1), and what this proxy does again by itself.
OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "expect"}
# The sandbox's own interface, which is not AWS's.
NOT_AWS = "/_sandbox/"


@dataclass(frozen=True)
class Call:
    """One call and its answer. Header names are in lower case."""

    method: str
    # Path and query, as they were sent.
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int
    answer_headers: tuple[tuple[str, str], ...]
    answer: bytes

    def header(self, name: str, default: str = "") -> str:
        return dict(self.headers).get(name, default)

    @property
    def form(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def query(self) -> list[tuple[str, str]]:
        return urllib.parse.parse_qsl(urllib.parse.urlsplit(self.target).query, keep_blank_values=True)

    @property
    def scope(self) -> tuple[str, str] | None:
        """Region and service that the call was signed for, in its header or, where it was presigned, in its query."""
        credential = self.header("authorization") or dict(self.query).get("X-Amz-Credential", "")
        found = re.search(r"(?:Credential=)?[^/\s]+/\d{8}/([^/]+)/([^/]+)/aws4_request", credential)
        return (found[1], found[2]) if found else None


class Capture:
    """The proxy, on a free port. What a client sends to `endpoint` goes to the cloud at `upstream`."""

    def __init__(self, upstream: str):
        self.calls: list[Call] = []
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.upstream = urllib.parse.urlsplit(upstream).netloc
        self._server.keep = self.calls.append
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Server(ThreadingHTTPServer):
    """A thread for each connection, which nobody waits for."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    upstream: str

    def handle_error(self, request, client_address):
        """Commands are killed and sandboxes are stopped in tests, which ends connections: that is no error here."""


class Handler(BaseHTTPRequestHandler):
    """One connection of a client. Each of its requests goes to the cloud on a new connection, which is never an idle one
    that the cloud is just closing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def forward(self):
        body = self.read_chunks() if self.headers.get("Transfer-Encoding") else self.read_length()
        cloud = http.client.HTTPConnection(self.server.upstream)
        # With its name as it was sent: headers are signed.
        cloud.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in OF_ONE_CONNECTION:
                cloud.putheader(name, value)
        if self.headers.get("Transfer-Encoding"):
            cloud.putheader("Content-Length", str(len(body)))
        cloud.endheaders(body)
        answer = cloud.getresponse()
        content = answer.read()
        cloud.close()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in OF_ONE_CONNECTION]
        if not self.path.startswith(NOT_AWS):
            self.server.keep(
                Call(
                    self.command,
                    self.path,
                    tuple((name.lower(), value) for name, value in self.headers.items()),
                    body,
                    answer.status,
                    tuple((name.lower(), value) for name, value in headers),
                    content,
                )
            )
        self.send_response_only(answer.status)
        for name, value in headers:
            self.send_header(name, value)
        if answer.getheader("Transfer-Encoding"):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

    def read_length(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body
