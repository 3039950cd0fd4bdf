"""A reverse proxy that ends TLS, and publishes a service below a path."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEADLINE_S = 30
_OF_ONE_CONNECTION = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})


@contextlib.contextmanager
def tls_proxy(target: str, prefix: str, folder: Path) -> Iterator[str]:
    """The origin of a proxy, ``https://127.0.0.1:PORT``, that forwards requests below ``prefix`` to ``target``.

    Its certificate, written to ``folder``, is signed by itself.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            _Forwarder(target, prefix),
            ssl_certfile=_certificate(folder),
            access_log=False,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            eventually(lambda: server.started)
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_DEADLINE_S)
            assert not thread.is_alive()


class _Forwarder:
    def __init__(self, target: str, prefix: str) -> None:
        self._target = target
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        # The next message says that the browser is gone: a stream would not end otherwise.
        tasks = {asyncio.create_task(self._forward(scope, body, send)), asyncio.create_task(receive())}
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in done:
            task.result()

    async def _forward(self, scope: Any, body: bytes, send: Any) -> None:
        path = scope["raw_path"].decode()
        if not path.startswith(f"{self._prefix}/"):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        address = f"{self._target}{path.removeprefix(self._prefix)}?{scope['query_string'].decode()}".rstrip("?")
        headers = [pair for pair in scope["headers"] if pair[0] not in _OF_ONE_CONNECTION]
        headers += [
            (b"x-forwarded-for", scope["client"][0].encode()),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-prefix", self._prefix.encode()),
        ]
        async with (
            httpx2.AsyncClient(timeout=None, verify=False) as client,
            client.stream(scope["method"], address, headers=headers, content=body) as answer,
        ):
            kept = [(name.lower(), value) for name, value in answer.headers.raw]
            kept = [pair for pair in kept if pair[0] not in _OF_ONE_CONNECTION]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for part in answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})


def _certificate(folder: Path) -> Path:
    """A file with a private key and a certificate for 127.0.0.1 that it signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "proxy.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
