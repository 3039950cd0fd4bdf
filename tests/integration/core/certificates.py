"""Certificates for a server and its clients, created for each run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = "porter"
"""The user that the client's certificate is for."""


class Certificates:
    """Files in ``folder``; ``key_password`` is what ``client-encrypted.key`` is encrypted with."""

    def __init__(self, folder: Path, key_password: str) -> None:
        ours, other = trustme.CA(), trustme.CA()
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self.authority = folder / "authority.crt"
        self.other_authority = folder / "other-authority.crt"
        self.server, self.server_key = folder / "server.crt", folder / "server.key"
        self.expired, self.expired_key = folder / "expired.crt", folder / "expired.key"
        self.elsewhere, self.elsewhere_key = folder / "elsewhere.crt", folder / "elsewhere.key"
        self.client, self.client_key = folder / "client.crt", folder / "client.key"
        self.client_encrypted_key = folder / "client-encrypted.key"
        self.untrusted, self.untrusted_key = folder / "untrusted.crt", folder / "untrusted.key"
        ours.cert_pem.write_to_path(self.authority)
        other.cert_pem.write_to_path(self.other_authority)
        _write(ours.issue_cert("localhost", "127.0.0.1"), self.server, self.server_key)
        _write(ours.issue_cert("localhost", "127.0.0.1", not_after=yesterday), self.expired, self.expired_key)
        _write(ours.issue_cert("elsewhere.test"), self.elsewhere, self.elsewhere_key)
        client = ours.issue_cert(common_name=CLIENT)
        _write(client, self.client, self.client_key)
        _write(other.issue_cert(common_name=CLIENT), self.untrusted, self.untrusted_key)
        self.client_encrypted_key.write_bytes(
            load_pem_private_key(client.private_key_pem.bytes(), None).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(key_password.encode())
            )
        )
        self.client_encrypted_key.chmod(0o600)


def _write(issued: trustme.LeafCert, certificate: Path, key: Path) -> None:
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    # PostgreSQL refuses a key file that others may read.
    key.chmod(0o600)
