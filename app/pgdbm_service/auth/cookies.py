"""The cookies of the dashboard.

They are ``SameSite=Lax``: with Strict, a link in a chat, and the return from an identity provider, would lead to the
sign-in page although the browser is signed in. In addition, requests that change something must prove their origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.datastructures import Cookie

from ..web.headers import header_of

if TYPE_CHECKING:
    from litestar.types import Scope

    from ..trusted_proxies import TrustedProxies

SESSION = "pgdbm_session"
SIGN_IN = "pgdbm_sign_in"
"""The secret of an attempt to sign in at an identity provider; the provider's answer is checked against it."""

# A browser accepts a cookie with this name only from this host itself and over TLS: no other host can set it.
_HOST_ONLY = "__Host-"


class Cookies:
    """Reads and creates cookies that scripts cannot read, and that are sent over TLS only if the browser uses TLS."""

    def __init__(self, proxies: TrustedProxies, public_origin: str | None) -> None:
        self._proxies = proxies
        self._is_https = None if public_origin is None else public_origin.startswith("https://")

    def read(self, scope: Scope, name: str) -> str | None:
        """The value of the cookie; None if there is none, or there are several."""
        wanted = self._name(scope, name)
        header = header_of(scope, b"cookie")
        if header is None:
            return None
        pairs = (pair.strip().partition("=") for pair in header.split(";"))
        values = [value for found, _, value in pairs if found == wanted]
        return values[0] if len(values) == 1 else None

    def make(self, scope: Scope, name: str, value: str, max_age_s: float) -> Cookie:
        return Cookie(
            key=self._name(scope, name),
            value=value,
            max_age=int(max_age_s),
            path="/",
            httponly=True,
            samesite="lax",
            secure=self._is_secure(scope),
        )

    def clear(self, scope: Scope, name: str) -> Cookie:
        """A cookie that deletes the current one."""
        return self.make(scope, name, "", 0)

    def _name(self, scope: Scope, name: str) -> str:
        return _HOST_ONLY + name if self._is_secure(scope) else name

    def _is_secure(self, scope: Scope) -> bool:
        if self._is_https is not None:
            return self._is_https
        return (self._proxies.scheme_of(scope) or scope.get("scheme")) == "https"
