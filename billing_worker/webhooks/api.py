"""`POST /webhook/stripe`: Stripe's way in.

Reads the raw body, checks the signature, stores the event, answers. Nothing of Stripe or of dj-stripe is called, and
the broker may be down: the row is the queue of record.
"""

from __future__ import annotations

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing_worker import gateway
from billing_worker.alerts.metrics import WEBHOOKS_REFUSED
from billing_worker.api import build_error
from billing_worker.core.errors import InvalidInput
from billing_worker.webhooks.services import receive_event

log = structlog.get_logger(__name__)

#: Stripe's events stay far below (an invoice carries at most its first ten lines).
MAX_BODY_BYTES = 1_000_000


@csrf_exempt
@require_POST
def receive_stripe_webhook(request: HttpRequest) -> JsonResponse:
    """200 `{"received": true, "duplicate": bool}` once the event is stored; 400 or 413 if it never will be."""
    body = _read_body(request)
    if body is None:
        return _refuse("too_large", 413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    env = settings.ENV
    now = timezone.now()
    try:
        payload = gateway.verify_webhook(
            body=body,
            signature=request.headers.get("Stripe-Signature", ""),
            secrets=[secret.get_secret_value() for secret in env.STRIPE_WEBHOOK_SECRET],
            tolerance_seconds=env.STRIPE_WEBHOOK_TOLERANCE_SECONDS,
            now=now,
        )
        # The payload was parsed, so its bytes are text.
        receipt = receive_event(payload=payload, text=body.decode(), now=now)
    except gateway.SignatureRejected as error:
        return _refuse(error.reason, 400, str(error), code=error.code)
    except InvalidInput as error:
        return _refuse("not_an_event", 400, str(error), code=error.code)
    return JsonResponse({"received": True, "duplicate": receipt.is_duplicate})


def _read_body(request: HttpRequest) -> bytes | None:
    """The raw body, or None if it is too large, judged by its announced length before anything is read."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        return None
    try:
        body = request.body
    except RequestDataTooBig:
        return None
    except UnreadablePostError:
        # The sender hung up; whatever is answered, nobody hears it, and Stripe sends the event again.
        return b""
    return body if len(body) <= MAX_BODY_BYTES else None


def _refuse(reason: str, status: int, message: str, *, code: str = "too_large") -> JsonResponse:
    WEBHOOKS_REFUSED.labels(reason=reason).inc()
    log.warning("webhook_refused", reason=reason)
    return JsonResponse(build_error(code, message), status=status)
