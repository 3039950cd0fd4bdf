"""JWTs over HTTP, of an issuer that the test runs."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.http_server import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ...conftest import Databases

AUDIENCE = "pgdbm"
ACCOUNT = "system:serviceaccount:shop:orders"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass
class Issuer:
    """Publishes keys, and signs any claims."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    status: int = 200
    named: str | None = None

    def publish(self, kid: str, key: Any, **more: Any) -> None:
        algorithm: Any = jwt.algorithms.RSAAlgorithm
        if not isinstance(key, rsa.RSAPrivateKey):
            is_curve = isinstance(key, ec.EllipticCurvePrivateKey)
            algorithm = jwt.algorithms.ECAlgorithm if is_curve else jwt.algorithms.OKPAlgorithm
        self.keys.append(algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"} | more)

    def sign(self, kid: str | None = "rsa", key: Any = RSA_KEY, algorithm: str = "RS256", **claims: Any) -> str:
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ci", "iat": now, "exp": now + 300, "scope": "read"}
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(payload, key, algorithm, headers={} if kid is None else {"kid": kid})


@pytest.fixture(scope="module")
def database(databases: Databases, prepared: str) -> Iterator[str]:
    """One for all tests: they use the database only to look up tokens that do not exist."""
    with databases.fresh(template=prepared) as dsn:
        yield dsn


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append((self.path, self.headers["Authorization"]))
            documents: dict[str, Any] = {
                "/.well-known/openid-configuration": {
                    "issuer": issuer.named or issuer.url,
                    "jwks_uri": f"{issuer.url}/keys",
                },
                "/keys": {"keys": issuer.keys},
            }
            body = json.dumps(documents.get(self.path, {})).encode()
            self.send_response(issuer.status if self.path in documents else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with served(Handler) as port:
        issuer.url = f"http://127.0.0.1:{port}"
        issuer.publish("rsa", RSA_KEY)
        issuer.publish("ec", EC_KEY)
        yield issuer


@pytest.fixture
def serve(start: Callable[..., Any], issuer: Issuer, watch: Any) -> Callable[..., Callable[..., int]]:
    """``serve(**settings)``: a function that calls the service with a token and returns the status."""

    def run(**settings: Any) -> Callable[..., int]:
        usual = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "auth_failures_per_minute": 1000}
        service = start(auth="jwt", **(usual | settings))

        def ask(token: str, path: str = "/modules", method: str = "GET") -> int:
            if len(token) > 20:
                watch.plant("a JWT", token)
            headers = {"Authorization": f"Bearer {token}"}
            status: int = service.client.request(method, path, headers=headers).status_code
            return status

        return ask

    return run


def test_tokens_of_the_issuer_are_accepted(serve: Any, issuer: Issuer, make_token: Any) -> None:
    ask = serve()
    assert ask(issuer.sign()) == 200
    assert ask(issuer.sign("ec", EC_KEY, "ES256")) == 200
    assert ask(issuer.sign(aud=["other", AUDIENCE])) == 200
    # Clocks may differ by some seconds.
    assert ask(issuer.sign(exp=int(time.time()) - 5)) == 200
    assert ask(issuer.sign(nbf=int(time.time()) + 5)) == 200
    # The keys were fetched once, and found by discovery.
    assert [path for path, _ in issuer.asked] == ["/.well-known/openid-configuration", "/keys"]
    # The service's own tokens are accepted, too.
    assert ask(make_token("read")) == 200


def test_invalid_tokens_are_refused(serve: Any, issuer: Issuer) -> None:
    ask = serve()
    now = int(time.time())
    good = issuer.sign()
    assert ask(good) == 200
    head, body, signature = good.split(".")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))

    def forged(header: dict[str, Any], payload: dict[str, Any], key: bytes = b"") -> str:
        import hashlib
        import hmac

        parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, payload)]
        mac = hmac.digest(key, b".".join(parts), hashlib.sha256) if key else b""
        return b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()

    wrong = {
        "expired": issuer.sign(exp=now - 60),
        "not yet": issuer.sign(nbf=now + 60),
        "no exp": issuer.sign(exp=None),
        "no sub": issuer.sign(sub=None),
        "no aud": issuer.sign(aud=None),
        "no iss": issuer.sign(iss=None),
        "audience": issuer.sign(aud="other"),
        "issuer": issuer.sign(iss="https://issuer.example"),
        "issuer with a slash": issuer.sign(iss=f"{issuer.url}/"),
        "key": issuer.sign(key=other),
        "key of another type": issuer.sign("ec"),
        "key id": issuer.sign("nothing"),
        "no key id of two": issuer.sign(None),
        "subject": issuer.sign(sub="a\nb"),
        "long subject": issuer.sign(sub="a" * 256),
        "none": forged({"alg": "none"}, claims),
        "None": forged({"alg": "None", "kid": "rsa"}, claims),
        "HS256 with the public key": forged({"alg": "HS256", "kid": "rsa"}, claims, pem),
        "key of its own": forged({"alg": "RS256", "jwk": issuer.keys[0]}, claims),
        "no signature": f"{head}.{body}.",
        "signature": f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        "payload": ".".join([head, forged({}, claims | {"scope": "admin"}).split(".")[1], signature]),
        "no JSON": "a.b.c",
        "dots": "..",
    }
    assert {name: ask(token) for name, token in wrong.items()} == dict.fromkeys(wrong, 401)
    assert ask(good) == 200


def test_a_key_for_another_use_is_ignored(serve: Any, issuer: Issuer) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer.publish("encrypts", key, use="enc")
    issuer.publish("longer", key, alg="RS512")
    secret = base64.urlsafe_b64encode(b"x" * 32).decode().rstrip("=")
    issuer.keys.append({"kty": "oct", "k": secret, "kid": "oct", "alg": "HS256"})
    issuer.keys.append({"kty": "RSA", "kid": "broken"})
    ask = serve()
    assert ask(issuer.sign()) == 200
    assert ask(issuer.sign("encrypts", key)) == 401
    assert ask(issuer.sign("longer", key)) == 401
    assert ask(issuer.sign("longer", key, "RS512")) == 200
    assert ask(issuer.sign("oct", b"x" * 32, "HS256")) == 401


def test_a_single_key_needs_no_id(serve: Any, issuer: Issuer) -> None:
    del issuer.keys[1]
    assert serve()(issuer.sign(None)) == 200


def test_a_new_key_is_fetched_at_a_limited_rate(serve: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgdbm_service.auth import issuer as module

    monkeypatch.setattr(module, "_ASK_AGAIN_S", 0.0)
    ask = serve(jwks_url=f"{issuer.url}/keys")
    assert ask(issuer.sign()) == 200
    new = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer.publish("new", new)
    assert ask(issuer.sign("new", new)) == 200
    assert ask(issuer.sign("new", new)) == 200
    assert len(issuer.asked) == 2
    monkeypatch.setattr(module, "_ASK_AGAIN_S", 3600.0)
    for number in range(5):
        assert ask(issuer.sign(f"unknown{number}")) == 401
    assert len(issuer.asked) == 2


def test_a_withdrawn_key_stops_working(serve: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgdbm_service.auth import issuer as module

    monkeypatch.setattr(module, "_ASK_AGAIN_S", 0.0)
    ask = serve()
    assert ask(issuer.sign("ec", EC_KEY, "ES256")) == 200
    del issuer.keys[1]
    monkeypatch.setattr(module, "_KEYS_FOR_S", 0.0)
    assert ask(issuer.sign("ec", EC_KEY, "ES256")) == 401
    # The known keys stay valid while the issuer does not answer.
    issuer.status = 500
    assert ask(issuer.sign()) == 200


@pytest.mark.parametrize("fault", ["status", "another issuer", "no such page", "away"])
def test_an_unreachable_issuer_is_reported(
    serve: Any, issuer: Issuer, fault: str, monkeypatch: pytest.MonkeyPatch, make_token: Any
) -> None:
    from pgdbm_service.auth import issuer as module

    monkeypatch.setattr(module, "_ASK_AGAIN_S", 0.0)
    settings = {}
    if fault == "status":
        issuer.status = 500
    elif fault == "another issuer":
        issuer.named = "https://issuer.example"
    else:
        settings["jwks_url"] = f"{issuer.url}/nothing" if fault == "no such page" else "http://127.0.0.1:1/keys"
    ask = serve(**settings)
    assert ask(issuer.sign()) == 503
    # A token of the service does not need the issuer.
    assert ask(make_token("read")) == 200
    if fault == "status":
        issuer.status = 200
        assert ask(issuer.sign()) == 200


def test_the_claim_with_scopes_is_configurable(serve: Any, issuer: Issuer, repo: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    ask = serve(jwt_scope_claim="pgdbm")
    # Unknown words are ignored, and so are other claims.
    assert ask(issuer.sign(pgdbm="openid read profile")) == 200
    assert ask(issuer.sign(pgdbm=["read", 3, None])) == 200
    for claim in (None, "", "openid", ["Read"], 7, {"read": True}, "migrate:[a-z]*"):
        assert ask(issuer.sign(pgdbm=claim, scope="read admin")) == 403, claim
    migrate = ("/modules/orders/migrate", "POST")
    assert ask(issuer.sign(pgdbm="read migrate:users"), *migrate) == 403
    assert ask(issuer.sign(pgdbm="read migrate:order?"), *migrate) == 200
    assert ask(issuer.sign(pgdbm="admin"), "/tokens") == 200


def test_scopes_by_the_values_of_other_claims(serve: Any, issuer: Issuer, repo: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    ask = serve(
        jwt_claim_scopes={
            "groups": {"dba": ["admin"], "team-*": ["read"]},
            "email": {"*@example.com": ["read"]},
        }
    )
    assert ask(issuer.sign(scope=None, groups=["staff", "dba"]), "/tokens") == 200
    assert ask(issuer.sign(scope=None, groups="team-orders")) == 200
    assert ask(issuer.sign(scope=None, groups=["team-orders"]), "/tokens") == 403
    for groups in ([], ["DBA"], ["xdba"], [["dba"]], {"dba": True}, None, "dba team"):
        assert ask(issuer.sign(scope=None, groups=groups)) == 403, groups
    assert ask(issuer.sign(scope=None, email="ada@example.com", email_verified=True)) == 200
    for email, verified in (
        ("ada@example.com", None),
        ("ada@example.com", False),
        ("ada@example.com", "true"),
        ("ada@example.com.evil", True),
    ):
        assert ask(issuer.sign(scope=None, email=email, email_verified=verified)) == 403, (email, verified)


def test_service_accounts_of_kubernetes_get_scopes_by_subject(
    serve: Any, issuer: Issuer, repo: Any, tmp_path: Path
) -> None:
    repo.write("orders", _001_a="SELECT 1")
    (tmp_path / "token").write_text("token-of-the-pod-itself\n")
    ask = serve(
        jwt_subject_scopes={
            "system:serviceaccount:shop:*": ["read"],
            "system:serviceaccount:*:orders": ["migrate:orders"],
        },
        jwks_url=f"{issuer.url}/keys",
        jwks_token_file=tmp_path / "token",
    )
    kubernetes = {"namespace": "shop", "serviceaccount": {"name": "orders"}}

    def sign(subject: str) -> str:
        return issuer.sign(sub=subject, scope=None, **{"kubernetes.io": kubernetes})

    assert ask(sign(ACCOUNT)) == 200
    assert ask(sign(ACCOUNT), "/modules/orders/migrate", "POST") == 200
    assert ask(sign("system:serviceaccount:shop:users")) == 200
    assert ask(sign("system:serviceaccount:shop:users"), "/modules/orders/migrate", "POST") == 403
    assert ask(sign("system:serviceaccount:other:users")) == 403
    assert ask(sign("shop")) == 403
    assert issuer.asked == [("/keys", "Bearer token-of-the-pod-itself")]


def test_the_audit_distinguishes_subjects_from_tokens(start: Any, issuer: Issuer, make_token: Any) -> None:
    service = start(auth="jwt", jwt_issuer=issuer.url, jwt_audience=AUDIENCE)
    admin = make_token("admin", name="ci")
    token = issuer.sign(sub="token:ci", scope="admin")
    answer = service.post(
        "/tokens", headers={"Authorization": f"Bearer {token}"}, json={"name": "x", "scopes": ["read"]}
    )
    assert answer.json()["created_by"] == "jwt:token:ci"
    answer = service.post(
        "/tokens", headers={"Authorization": f"Bearer {admin}"}, json={"name": "y", "scopes": ["read"]}
    )
    assert answer.json()["created_by"] == "token:ci"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *((name, RSA_KEY) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("ES512", ec.generate_private_key(ec.SECP521R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        ("EdDSA", ed448.Ed448PrivateKey.generate()),
    ],
)
def test_algorithms(serve: Any, issuer: Issuer, algorithm: str, key: Any) -> None:
    issuer.keys.clear()
    issuer.publish("key", key)
    ask = serve()
    assert ask(issuer.sign("key", key, algorithm)) == 200
    other = issuer.sign("key", EC_KEY, "ES256") if algorithm != "ES256" else issuer.sign("key", RSA_KEY)
    assert ask(other) == 401


def test_the_reason_of_a_refusal(start: Any, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """The answer names the claim, the log has its value."""
    service = start(auth="jwt", jwt_issuer=issuer.url, jwt_audience=AUDIENCE, log_level="info")
    now = int(time.time())
    reasons = {
        "audience (aud)": issuer.sign(aud="shop"),
        "issuer (iss)": issuer.sign(iss=f"{issuer.url}/"),
        "expired (exp)": issuer.sign(exp=now - 60),
        "not valid yet (nbf": issuer.sign(nbf=now + 60),
        "no claim exp": issuer.sign(exp=None),
        "signature": issuer.sign(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "key id (kid)": issuer.sign("nothing"),
        "algorithm (alg)": issuer.sign(None, "a secret of sufficient length, for HS256", "HS256"),
    }
    for reason, token in reasons.items():
        refused = service.get("/modules", headers={"Authorization": f"Bearer {token}"})
        assert (refused.status_code, reason in refused.json()["detail"]) == (401, True), (reason, refused.text)
        assert "shop" not in refused.text
    logged = [record.msg for record in caplog.records if "JWT refused" in str(record.msg)]
    assert len(logged) == len(reasons)
    assert "'shop'" in str(logged[0])
    assert f"{issuer.url}/" in str(logged[1])


def test_valid_tokens_are_not_limited_by_failures(start: Any, issuer: Issuer, make_token: Any) -> None:
    """Clients behind one ingress share an address."""
    service = start(auth="jwt", jwt_issuer=issuer.url, jwt_audience=AUDIENCE, auth_failures_per_minute=5)

    def ask(token: str) -> int:
        status: int = service.get("/modules", headers={"Authorization": f"Bearer {token}"}).status_code
        return status

    expired = issuer.sign(exp=int(time.time()) - 60)
    assert [ask(expired) for _ in range(8)] == [401] * 5 + [429] * 3
    assert ask(issuer.sign()) == 200
    # A token of the service that this process has not seen.
    assert ask(make_token("read")) == 200
    assert ask("pgdbm_0123456789ab_" + "x" * 43) == 429
    assert ask(expired) == 429


def test_a_revoked_token_is_limited(start: Any, make_token: Any, sql: Any) -> None:
    service = start(auth="tokens", auth_failures_per_minute=5)
    token = make_token("read")
    headers = {"Authorization": f"Bearer {token}"}
    assert service.get("/modules", headers=headers).status_code == 200
    sql("UPDATE pgdbm_service.tokens SET revoked_at = now()")
    time.sleep(3.1)
    assert [service.get("/modules", headers=headers).status_code for _ in range(8)] == [401] * 5 + [429] * 3


def test_several_issuers(serve: Any, issuer: Issuer, tmp_path: Path) -> None:
    from pgdbm_service.settings import SettingsError, read_settings

    more = {
        "issuer": "https://ci.example.com",
        "audience": "shop",
        "jwks_url": f"{issuer.url}/keys",
        "subject_scopes": {"repo:*": ["read"]},
    }
    variables = {
        "DATABASE_URL": "postgresql://localhost/x",
        "PGDBM_AUTH": "jwt",
        "PGDBM_JWT_ISSUER": issuer.url,
        "PGDBM_JWT_AUDIENCE": AUDIENCE,
        "PGDBM_JWT_ISSUERS": json.dumps([more]),
    }
    ask = serve(jwt_issuers=read_settings(variables).jwt_issuers)
    assert ask(issuer.sign()) == 200
    ours = {"iss": "https://ci.example.com", "sub": "repo:shop", "scope": None}
    assert ask(issuer.sign(aud="shop", **ours)) == 200
    assert ask(issuer.sign(aud=AUDIENCE, **ours)) == 401
    assert ask(issuer.sign(aud="shop")) == 401
    for wrong in (
        [more, more],
        [more | {"issuer": issuer.url}],
        [more | {"issuer": "http://ci.example.com"}],
        [{"issuer": "https://ci.example.com"}],
        [more | {"subject_scopes": {"*": ["nonsense"]}}],
        [more | {"jwks_ca_file": str(tmp_path / "none")}],
        [more | {"nonsense": 1}],
    ):
        with pytest.raises(SettingsError, match="PGDBM_JWT_ISSUERS"):
            read_settings(variables | {"PGDBM_JWT_ISSUERS": json.dumps(wrong)})
