"""The ASGI application: authentication, idempotency, faults, and the answer on the wire."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sandbox.engine import control, mailgun
from sandbox.engine.account import ACCOUNT_ID, no_such_account
from sandbox.engine.core import Engine, RequestHeaders, encode_json
from sandbox.engine.errors import ParamError, StripeError, invalid
from sandbox.engine.faults import Faults, Rule
from sandbox.engine.form import decode_form
from sandbox.engine.idempotency import fingerprint
from sandbox.engine.params import API_VERSION
from sandbox.engine.routing import Operation, match

log = logging.getLogger("sandbox")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

MAX_BODY = 8 * 1024 * 1024
KEY_PREFIXES = ("sk_test_", "rk_test_")
_JSON = (b"content-type", b"application/json")


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class SandboxApp:
    """``SandboxApp(engine)`` is what uvicorn serves."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        body = await _read_body(receive)
        path: str = scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if body is None:
                status, out = (
                    413,
                    encode_json({"error": {"message": "Request too large", "type": "api_error"}}).encode(),
                )
                answer: Answer = (status, [_JSON], out)
            elif path.startswith("/_sandbox"):
                answer = await self._control(scope, path, headers, body)
            elif path.startswith("/v3/"):
                answer = mailgun.handle(self.engine, scope["method"], path, headers, body)
                await self.engine.committed()
            else:
                answer = await self._api(scope, headers, body)
        except Dropped:
            scope["sandbox.transport"].abort()
            return
        await _send(send, answer)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.engine.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.engine.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _control(self, scope: Scope, path: str, headers: dict[str, str], body: bytes) -> Answer:
        found = match(scope["method"], path)
        if found is not None:  # resources may register steps of their own below /_sandbox
            key = RequestHeaders("", None, None)
            try:
                status, answer = self.engine.execute(*found, json.loads(body) if body else {}, key)
            except (ParamError, json.JSONDecodeError) as error:
                refused = (
                    error
                    if isinstance(error, StripeError)
                    else ParamError(f"Invalid JSON: {error}", param="")
                )
                status, answer = refused.status, refused.body(key.request_id)
        else:
            query = decode_form(scope["query_string"].decode("latin-1"))
            status, answer = await control.handle(self.engine, scope["method"], path, query, body)
        await self.engine.committed()
        return status, [_JSON], encode_json(answer).encode()

    # -- the API ------------------------------------------------------------------------------------------------

    async def _api(self, scope: Scope, headers: dict[str, str], body: bytes) -> Answer:
        method, path = scope["method"], scope["path"]
        request = RequestHeaders("", headers.get("idempotency-key"), headers.get("stripe-version"))
        extra: list[tuple[bytes, bytes]] = []
        try:
            rule = self.engine.faults.hit_request(method, path) if self.engine.faults else None
            if rule is not None:
                await _fault_before(rule, self.engine.faults)
            operation, variables = _find(method, scope.get("raw_path", b"").decode("latin-1") or path)
            request.api_key = _api_key(headers, check=operation.auth)
            _check_account(headers)
            status, text = self._replayed_or_run(
                scope, operation, variables, request, headers, body, extra, rule
            )
            if rule is not None:
                status, text = await self._fault_after(rule, status, text, request)
        except StripeError as error:
            status, text = error.status, encode_json(error.body(request.request_id))
            if status == 409 or error.type == "rate_limit_error":
                extra.append((b"stripe-should-retry", b"true"))
        except Dropped:
            await self.engine.committed()
            raise
        except Exception:
            log.exception("%s %s failed inside the sandbox", method, path)
            broken = StripeError(500, "The sandbox failed; its log says why.", type="api_error")
            status, text = 500, encode_json(broken.body(request.request_id))
        await self.engine.committed()
        return status, [*_stripe_headers(request), *extra], text.encode()

    def _replayed_or_run(
        self,
        scope: Scope,
        operation: Operation,
        variables: dict[str, str],
        request: RequestHeaders,
        headers: dict[str, str],
        body: bytes,
        extra: list[tuple[bytes, bytes]],
        rule: Rule | None,
    ) -> tuple[int, str]:
        method, path = scope["method"], scope["path"]
        key = request.idempotency_key if method != "GET" else None
        mark = ""
        if key is not None:
            mark = fingerprint(method, path, body)
            extra.append((b"idempotency-key", key.encode("latin-1")))
            kept = self.engine.replays.find(request.api_key, key, mark)
            if kept is not None:
                extra.append((b"idempotent-replayed", b"true"))
                return kept
        raw = _parameters(method, scope["query_string"], headers, body)
        status, answer = self.engine.execute(operation, variables, raw, request)
        if rule is not None and rule.kind == "500_after":
            status, answer = 500, _api_error().body(request.request_id)
        if rule is not None and rule.kind == "400_duplicate" and status == 200:
            status, answer = 400, _duplicate(raw.get("identifier")).body(request.request_id)
        text = encode_json(answer)
        if key is not None:
            extra.append((b"original-request", request.request_id.encode()))
            self.engine.replays.keep(request.api_key, key, mark, status, text)
        return status, text

    async def _fault_after(
        self, rule: Rule, status: int, text: str, request: RequestHeaders
    ) -> tuple[int, str]:
        if rule.kind in ("timeout_after", "drop_after"):
            await self.engine.committed()
            if rule.kind == "timeout_after":
                await self.engine.faults.wait(rule)
            raise Dropped
        if rule.kind == "slow":
            key = request.idempotency_key
            await self.engine.committed()
            if key is not None:
                self.engine.replays.hold(request.api_key, key)
            try:
                await self.engine.faults.wait(rule)
            finally:
                if key is not None:
                    self.engine.replays.release(request.api_key, key)
        return status, text


async def _fault_before(rule: Rule, faults: Faults) -> None:
    if rule.kind == "429":
        raise StripeError(
            429,
            "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
            type="rate_limit_error",
            code="rate_limit",
        )
    if rule.kind == "409":
        raise StripeError(
            409,
            "This object cannot be accessed right now because another API request or Stripe process is currently "
            "accessing it.",
            code="lock_timeout",
        )
    if rule.kind == "500_before":
        raise _api_error()
    if rule.kind == "timeout_before":
        await faults.wait(rule)
        raise Dropped
    if rule.kind == "drop_before":
        raise Dropped


def _api_error() -> StripeError:
    return StripeError(
        500,
        "An unknown error occurred. Please try again, or contact support if the problem continues.",
        type="api_error",
    )


def _duplicate(identifier: object) -> StripeError:
    message = f"An event already exists with identifier {identifier}."
    return invalid("identifier", message, "duplicate_meter_event")


def _find(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    found = match(method, path.partition("?")[0])
    if found is None:
        raise StripeError(
            404,
            f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
            "https://support.stripe.com/.",
        )
    return found


def _api_key(headers: dict[str, str], *, check: bool) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    key = value.strip()
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key, validate=True).decode("latin-1").partition(":")[0]
        except (binascii.Error, ValueError):
            key = ""
    if not check:
        return key
    if not key:
        raise StripeError(
            401,
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
            "https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/.",
        )
    if not key.startswith(KEY_PREFIXES):
        hidden = key[:8] + "*" * max(0, len(key) - 12) + key[-4:] if len(key) > 12 else "*" * len(key)
        raise StripeError(401, f"Invalid API Key provided: {hidden}")
    return key


def _check_account(headers: dict[str, str]) -> None:
    account = headers.get("stripe-account", ACCOUNT_ID)
    if account != ACCOUNT_ID:
        raise no_such_account(account)


def _parameters(method: str, query: bytes, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    raw = decode_form(query.decode("latin-1")) if query else {}
    if not body:
        return raw
    if headers.get("content-type", "").startswith("application/json"):
        try:
            decoded = json.loads(body)
        except ValueError as error:
            raise ParamError(f"Invalid JSON: {error}", param="") from error
        if not isinstance(decoded, dict):
            raise ParamError("Invalid object", param="")
        raw.update(decoded)
        return raw
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ParamError("Invalid request: the body is not UTF-8.", param="") from error
    raw.update(decode_form(text))
    return raw


def _stripe_headers(request: RequestHeaders) -> list[tuple[bytes, bytes]]:
    return [
        _JSON,
        (b"request-id", request.request_id.encode()),
        (b"stripe-version", (request.version or API_VERSION).encode("latin-1")),
        (b"cache-control", b"no-cache, no-store"),
    ]


async def _read_body(receive: Receive) -> bytes | None:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    chunks, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY:
            chunks.append(chunk)
    return b"".join(chunks) if size <= MAX_BODY else None


async def _send(send: Send, answer: Answer) -> None:
    status, headers, body = answer
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
