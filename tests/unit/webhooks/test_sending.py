"""Deliveries over TLS, to a receiver whose certificate a private authority has signed."""

from __future__ import annotations

import contextlib
import http.server
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from pgdbm_service.features.webhooks.sending import Outcome, Sender
from tests.support.http_server import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@contextlib.contextmanager
def receiving(certificate: trustme.LeafCert) -> Iterator[int]:
    """The port of a receiver with TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    class Handler(http.server.BaseHTTPRequestHandler):
        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            with self.request, contextlib.suppress(OSError):
                super().handle()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as port:
        yield port


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "authority.crt")
    return made


async def sent(port: int) -> Outcome:
    sender = Sender(allow_private=True)
    try:
        return await sender.send(f"https://localhost:{port}/hooks", (SECRET,), "msg_1", b"{}")
    finally:
        await sender.close()


async def test_the_authorities_are_those_of_the_environment(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(authority.issue_cert("localhost")) as port:
        refused = await sent(port)
        assert refused.http_status is None
        assert "CERTIFICATE_VERIFY_FAILED" in (refused.reason or "")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.crt"))
        assert await sent(port) == Outcome(204, None)


async def test_the_certificate_has_to_be_for_the_name_in_the_url(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the connection is to the address that was checked."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.crt"))
    with receiving(authority.issue_cert("elsewhere.test", "127.0.0.1")) as port:
        assert "localhost" in ((await sent(port)).reason or "")


async def test_no_proxy_is_used(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.crt"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with receiving(authority.issue_cert("localhost")) as port:
        assert await sent(port) == Outcome(204, None)
