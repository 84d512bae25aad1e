"""One way to call Stripe: the SDK's client underneath, plain parsed JSON out, our errors on the way.

Amounts never pass through a float: the answer's text is parsed with `Decimal`. The SDK's own retries are on only where
an idempotency key makes a repetition harmless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import requests
import stripe
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from billing_worker.gateway.errors import (
    DuplicateMeterEvent,
    GatewayError,
    GatewayNotConfigured,
    GatewayNotFound,
    GatewayRateLimited,
    GatewayRejected,
    GatewayUnavailable,
    PaymentDeclined,
)
from billing_worker.gateway.version import STRIPE_API_VERSION

Method = Literal["get", "post", "delete"]
#: Which of Stripe's addresses a call goes to.
Base = Literal["api", "meter_events"]

#: Seconds to open a connection; the answer may take `STRIPE_TIMEOUT_SECONDS`.
CONNECT_TIMEOUT_SECONDS = 5
#: Stripe's greatest page. https://docs.stripe.com/api/pagination
PAGE_SIZE = 100
_RETRIES = 2
#: Connections kept open to each of Stripe's addresses: as many as threads may call at once.
_POOL_SIZE = 32


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def loads(text: str | bytes) -> Any:
    """Stripe's JSON with `Decimal` for every fraction.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def dumps(payload: Mapping[str, Any]) -> str:
    """Compact JSON that `loads` reads back; a fraction is written as text, so that no digit is lost."""
    return json.dumps(payload, separators=(",", ":"), default=str)


def is_configured() -> bool:
    """True when there is a key, so that calls can be made at all."""
    return settings.ENV.STRIPE_SECRET_KEY is not None


def get_client() -> stripe.StripeClient:
    """The SDK's client for the present settings. Thread-safe: connections are kept per thread.

    Raises:
        GatewayNotConfigured: there is no `STRIPE_SECRET_KEY`.
    """
    env = settings.ENV
    if env.STRIPE_SECRET_KEY is None:
        raise GatewayNotConfigured("Stripe can't be called without STRIPE_SECRET_KEY: set it and try again")
    return _build_client(
        env.STRIPE_SECRET_KEY.get_secret_value(),
        env.STRIPE_API_BASE.rstrip("/"),
        env.meter_events_base,
        env.STRIPE_TIMEOUT_SECONDS,
    )


@lru_cache(maxsize=8)
def _build_client(key: str, base: str, meter_events: str, timeout_seconds: int) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_version=STRIPE_API_VERSION,
        base_addresses={"api": base, "files": base, "connect": base, "meter_events": meter_events},
        max_network_retries=0,
        http_client=stripe.RequestsClient(
            timeout=(CONNECT_TIMEOUT_SECONDS, timeout_seconds), session=_open_session(base, meter_events)
        ),
    )


def _open_session(*bases: str) -> requests.Session:
    """One pool of connections for all threads. `HTTPS_PROXY` and `NO_PROXY` are read here, once.

    `requests` would read them (and `~/.netrc`) again for each call, which takes a fifth of a meter event's time.
    """
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for base in bases:
        host = urlsplit(base).hostname
        for scheme, proxy in get_environ_proxies(base, None).items():
            session.proxies[f"{scheme}://{host}"] = proxy
    for prefix in ("https://", "http://"):
        session.mount(prefix, HTTPAdapter(pool_maxsize=_POOL_SIZE))
    return session


def make_path(*parts: str) -> str:
    """`("invoices", "in_1", "lines")` to `/v1/invoices/in_1/lines`, every part quoted."""
    return _join("v1", *parts)


def make_v2_path(*parts: str) -> str:
    """`make_path` for API v2, whose bodies are JSON."""
    return _join("v2", *parts)


def _join(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def call(
    method: Method,
    path: str,
    params: Mapping[str, Any] | None = None,
    *,
    idempotency_key: str | None = None,
    base: Base = "api",
    token: str | None = None,
) -> dict[str, Any]:
    """One request to Stripe and its parsed answer. `token` stands in for the key where Stripe wants another.

    GET requests and requests with an idempotency key are tried up to three times by the SDK; others once.

    Raises:
        GatewayError: the subclass says what happened, see `billing_worker.gateway.errors`.
    """
    options: dict[str, Any] = {
        "max_network_retries": _RETRIES if idempotency_key or method == "get" else 0,
        "base": base,
    }
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    if token:
        options["api_key"] = token
    client = get_client()
    try:
        answer = client.raw_request(method, path, **{**(params or {}), **options})
    except stripe.StripeError as error:
        raise translate(error, what=f"{method.upper()} {path}") from error
    parsed: dict[str, Any] = loads(answer.body)
    return parsed


def iterate(path: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Every object of a list, newest first, fetched in pages of 100 as they are needed."""
    query = {**(params or {}), "limit": PAGE_SIZE}
    while True:
        page = call("get", path, query)
        yield from page["data"]
        if not page["has_more"] or not page["data"]:
            return
        query["starting_after"] = page["data"][-1]["id"]


def translate(error: stripe.StripeError, *, what: str) -> GatewayError:
    """The SDK's error in our words. Messages are Stripe's, which never contain the key."""
    status = error.http_status or 0
    message = f"Stripe, {what}: {error.user_message or error}"
    if isinstance(error, stripe.APIConnectionError):
        return GatewayUnavailable(
            f"Stripe could not be reached ({what}): {_describe_connection(error)}",
            outcome_unknown=not _was_never_sent(error),
        )
    if isinstance(error, stripe.RateLimitError) or status == 409:
        return GatewayRateLimited(message)
    if isinstance(error, stripe.APIError) or status >= 500:
        return GatewayUnavailable(message, outcome_unknown=True)
    code = error.code or getattr(getattr(error, "error", None), "code", None)
    details: dict[str, Any] = {
        "stripe_code": code,
        "param": getattr(error, "param", None),
        "status": status,
        "request_id": error.request_id,
    }
    return _classify_refusal(error, code, status)(message, **details)


def _classify_refusal(error: stripe.StripeError, code: str | None, status: int) -> type[GatewayRejected]:
    if isinstance(error, stripe.CardError):
        return PaymentDeclined
    if status == 404 or code == "resource_missing":
        return GatewayNotFound
    if _names_used_identifier(error, code):
        return DuplicateMeterEvent
    return GatewayRejected


def _names_used_identifier(error: stripe.StripeError, code: str | None) -> bool:
    """Stripe answers a repeated meter event with a code, or with none and a message that names the identifier.

    https://github.com/langfuse/langfuse/issues/16292 has the second form from production.
    """
    if code == "duplicate_meter_event":
        return True
    text = (error.user_message or "").lower()
    return code is None and "identifier" in text and "already" in text


def _was_never_sent(error: stripe.APIConnectionError) -> bool:
    """True when the connection could not even be opened; a reset or a time-out later leaves the outcome open."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, requests.exceptions.ConnectTimeout):
        return True
    if isinstance(cause, requests.exceptions.ConnectionError) and cause.args:
        reason = getattr(cause.args[0], "reason", None)
        return type(reason).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}
    return False


def _describe_connection(error: stripe.APIConnectionError) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, requests.exceptions.Timeout):
        return "no answer in time"
    if not _was_never_sent(error):
        return "the connection broke"
    hint = (
        "start the sandbox (python -m sandbox)"
        if settings.ENV.uses_sandbox
        else "check this machine's network"
    )
    return f"nothing answers at {settings.ENV.STRIPE_API_BASE}: {hint} or correct STRIPE_API_BASE"
