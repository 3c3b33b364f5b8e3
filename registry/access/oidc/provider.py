"""What an issuer offers to browsers, and the code of a login turned into its id_token.

The endpoints are those of the issuer's own discovery document. Nothing of a token answer is used
but the id_token, which is believed by its signature alone. RFC 6749, section 4.1; RFC 7636; OpenID
Connect Core 1.0, section 3.1.3. Everything here blocks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote_plus

from registry.access.oidc.fetching import FetchError, discover, post_form
from registry.access.oidc.settings import IssuerSettings, is_safe_url

_SECRET_LIMIT: Final = 4096
_WORDS: Final = 200
_BASIC: Final = "client_secret_basic"
_POST: Final = "client_secret_post"


@dataclass(frozen=True, slots=True)
class Provider:
    """The endpoints of an issuer.

    ``says_iss`` is whether every answer of its authorization endpoint names it (RFC 9207).
    """

    authorization: str
    token: str
    logout: str
    methods: tuple[str, ...]
    says_iss: bool

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read a discovery document.

        Raises:
            FetchError: it names no safe endpoints.
        """
        endpoints = {}
        for name in ("authorization_endpoint", "token_endpoint"):
            url = document.get(name)
            if not isinstance(url, str) or not is_safe_url(url) or "#" in url:
                raise FetchError(f"its discovery document names no safe {name}")
            endpoints[name] = url
        logout = document.get("end_session_endpoint")
        methods = document.get("token_endpoint_auth_methods_supported", [_BASIC])
        return cls(
            endpoints["authorization_endpoint"],
            endpoints["token_endpoint"],
            logout if isinstance(logout, str) and is_safe_url(logout) else "",
            tuple(map(str, methods)) if isinstance(methods, list) else (_BASIC,),
            document.get("authorization_response_iss_parameter_supported") is True,
        )


@dataclass(frozen=True, slots=True)
class Code:
    """The code of one login, with what it was asked for by."""

    code: str
    redirect_uri: str
    verifier: str


def read_provider(settings: IssuerSettings) -> Provider:
    """The endpoints of an issuer as it has them now.

    Raises:
        FetchError: it does not answer, or with something else.
    """
    return Provider.of(discover(settings))


def redeem(settings: IssuerSettings, provider: Provider, code: Code) -> str:
    """The id_token that the token endpoint gives for a code, unverified.

    Raises:
        FetchError: it gives none; the text says what it says instead.
    """
    fields = {
        "grant_type": "authorization_code",
        "code": code.code,
        "redirect_uri": code.redirect_uri,
        "code_verifier": code.verifier,
    }
    headers = _authenticate(settings, provider, fields)
    status, data = post_form(settings, provider.token, fields, headers)
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"its token endpoint answers {status} without JSON") from error
    if not isinstance(answer, dict):
        raise FetchError(f"its token endpoint answers {status} without an object")
    if status != HTTPStatus.OK:
        raise FetchError(f"its token endpoint refuses: {told(answer) or status}")
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise FetchError("its token endpoint gives no id_token; the scope openid is needed")
    return token


def told(answer: Mapping[str, Any]) -> str:
    """An OAuth error as a phrase: its code, and the words that come with it."""
    words = [answer.get("error"), answer.get("error_description")]
    texts = [word[:_WORDS] for word in words if isinstance(word, str) and word]
    return ": ".join(texts)


def _authenticate(
    settings: IssuerSettings, provider: Provider, fields: dict[str, str]
) -> dict[str, str]:
    """Say which client asks: headers, and further fields (RFC 6749, sections 2.3.1 and 3.2.1)."""
    login = settings.login
    assert login.client_id is not None, "logins begin at issuers that have a client alone"
    if login.client_secret_file is None:
        fields["client_id"] = login.client_id
        return {}
    secret = _secret(login.client_secret_file)
    if _BASIC not in provider.methods and _POST in provider.methods:
        fields.update(client_id=login.client_id, client_secret=secret)
        return {}
    pair = f"{quote_plus(login.client_id)}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode('ascii')).decode()}"}


def _secret(path: Path) -> str:
    """The client's secret, read each time: it may be replaced while we serve."""
    try:
        with path.open("rb") as file:
            data = file.read(_SECRET_LIMIT + 1)
        text = data.decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FetchError("the secret of this registry's client cannot be read") from error
    if not text or len(data) > _SECRET_LIMIT:
        raise FetchError("the file with the secret of this registry's client holds none")
    return text
