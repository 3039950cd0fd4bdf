"""Posts one delivery to its URL."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2

from pgdbm.version import __version__

from .addresses import RefusedAddressError, address_of
from .signatures import signature

TIMEOUT_S = 15.0
"""How long an attempt may take in total."""


class Outcome(NamedTuple):
    """``reason`` is None if the receiver has accepted the delivery."""

    http_status: int | None
    reason: str | None


class Sender:
    """Sends only to public addresses, unless ``allow_private``; follows no redirects and uses no proxy."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        # Uses the certificates that the environment names, but not its proxy.
        certificates = httpx2.create_ssl_context()
        self._client = httpx2.AsyncClient(
            verify=certificates, trust_env=False, timeout=TIMEOUT_S, follow_redirects=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, url: str, secrets: tuple[str, ...], message_id: str, body: bytes) -> Outcome:
        """Post ``body``, signed with each of ``secrets``."""
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"pgdbm/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signature(one, message_id, timestamp, body) for one in secrets),
        }
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._post(url, headers, body)
        except RefusedAddressError as error:
            return Outcome(None, str(error))
        except TimeoutError:
            return Outcome(None, f"no answer within {TIMEOUT_S:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Outcome(None, f"{type(error).__name__}: {error}"[:300])
        if 200 <= status < 300:
            return Outcome(status, None)
        return Outcome(status, f"the receiver answered {status}")

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await address_of(host, port, allow_private=self._allow_private)
        # Connect to the address that was checked; the certificate is still verified against the name.
        literal = f"[{address}]" if ":" in address else address
        target = parts._replace(netloc=f"{literal}:{port}").geturl()
        named = headers | {"Host": parts.netloc.rpartition("@")[2]}
        request = self._client.build_request(
            "POST", target, headers=named, content=body, extensions={"sni_hostname": host}
        )
        response = await self._client.send(request, stream=True)
        try:
            # The body of the response is not read, however long it is.
            return response.status_code
        finally:
            await response.aclose()
