"""An identity provider on loopback: discovery, keys, a page to sign in, and the endpoint that redeems codes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.http_server import served

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = "pgdbm-dashboard"
SECRET = "a secret & of the client"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class IdentityProvider:
    """``claims`` change those of the next ID tokens (None removes one), ``answer`` the query of the redirect."""

    url: str = ""
    subject: str = "ada"
    scope: str | None = "read"
    claims: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, str | None] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    key: Any = KEY
    algorithm: str = "RS256"
    status: int = 200
    secret: str | None = SECRET
    asks: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)
    ended: list[dict[str, str]] = field(default_factory=list)
    redeemed: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def configuration(self) -> dict[str, Any]:
        usual = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "authorization_response_iss_parameter_supported": True,
        }
        return {name: value for name, value in (usual | self.discovery).items() if value is not None}

    def keys(self) -> dict[str, Any]:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return {"keys": [public | {"kid": "rsa", "use": "sig"}]}

    def back(self, query: dict[str, str]) -> str:
        """The redirect of the browser after it has signed in."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        answer = {"code": code, "state": query["state"], "iss": self.url, "session_state": "x"} | self.answer
        return f"{query['redirect_uri']}?{urlencode({name: one for name, one in answer.items() if one is not None})}"

    def redeem(self, form: dict[str, str], authorization: str | None) -> tuple[int, dict[str, Any]]:
        """A code is accepted once, from the client, with the verifier that its challenge was made of."""
        self.redeemed.append(form)
        if self.status != 200:
            return self.status, {"error": "server_error"}
        client, secret = form.get("client_id", ""), form.get("client_secret")
        if authorization is not None:
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            client, secret = (unquote_plus(one) for one in pair.split(":"))
        if (client, secret) != (CLIENT, self.secret):
            return 401, {"error": "invalid_client"}
        query = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
        sent = {"redirect_uri": form["redirect_uri"], "code_challenge": challenge.rstrip("=")}
        if query is None or not (sent | {"code_challenge_method": "S256"}).items() <= query.items():
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": self.id_token(query["nonce"])}

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        usual = {"iss": self.url, "aud": CLIENT, "sub": self.subject, "iat": now, "exp": now + 60, "nonce": nonce}
        claims = usual | {"scope": self.scope} | self.claims
        payload = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            return jwt.encode(payload, None, algorithm="none", headers={"kid": "rsa"})
        return jwt.encode(payload, self.key, algorithm=self.algorithm, headers={"kid": "rsa"})


@contextlib.contextmanager
def running() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            if parts.path == "/.well-known/openid-configuration":
                self._json(200, provider.configuration())
            elif parts.path == "/keys":
                self._json(200, provider.keys())
            elif parts.path == "/authorize":
                provider.requests.append(query)
                if provider.asks:
                    # Its pages have a different origin from the service's, like those of a real provider.
                    self._page(f'<title>Acme</title><h1>Acme</h1><a href="/granted?{parts.query}">Sign in as ada</a>')
                else:
                    self._redirect(provider.back(query))
            elif parts.path == "/granted":
                self._redirect(provider.back(query))
            elif parts.path == "/end":
                provider.ended.append(query)
                self._redirect(query["post_logout_redirect_uri"])
            elif parts.path == "/evil":
                self._page(f'<form method="post" action="{query["to"]}"><button>Win a prize</button></form>')
            else:
                self._json(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._json(*provider.redeem(dict(parse_qsl(body)), self.headers.get("Authorization")))

        def _json(self, status: int, document: dict[str, Any]) -> None:
            self._answer(status, "application/json", json.dumps(document))

        def _page(self, body: str) -> None:
            self._answer(200, "text/html", f'<!doctype html><link rel="icon" href="data:,">{body}')

        def _redirect(self, place: str) -> None:
            self.send_response(302)
            self.send_header("Location", place)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self, status: int, kind: str, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as port:
        # Another host name than the service's: to a browser they are two sites.
        provider.url = f"http://localhost:{port}"
        yield provider
