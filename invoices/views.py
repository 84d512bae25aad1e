"""Where the mail service reports deliveries, and where signed links to files lead."""

from __future__ import annotations

from typing import Any

from anymail.signals import AnymailTrackingEvent, tracking
from anymail.webhooks.mailgun import MailgunTrackingWebhookView
from django.dispatch import receiver
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from billing_worker.core.errors import BillingError
from invoices.downloads import CACHE_CONTROL, CONTENT_TYPE, open_file, open_link
from invoices.services.tracking import apply_tracking, is_tracking_on

_view = MailgunTrackingWebhookView.as_view()


@csrf_exempt
def take_tracking(request: HttpRequest) -> HttpResponse:
    """Mailgun's signed tracking webhooks. Anymail checks the signature (400 if it is wrong) and calls the receiver."""
    if not is_tracking_on():
        raise Http404("no mail service is configured")
    response: HttpResponse = _view(request)
    return response


@receiver(tracking, dispatch_uid="invoices.on_tracking")
def on_tracking(sender: Any, event: AnymailTrackingEvent, **kwargs: Any) -> None:
    now = timezone.now()
    apply_tracking(
        event_type=str(event.event_type),
        message_id=str(event.message_id or ""),
        recipient=str(event.recipient or ""),
        at=event.timestamp or now,
        detail=str(event.mta_response or event.description or event.reject_reason or ""),
        now=now,
    )


@require_safe
def serve_file(request: HttpRequest, token: str, file_name: str) -> HttpResponseBase:
    """The PDF behind a signed link of ours, in pieces. The link is the permission; 403 if it expired, 404 if forged."""
    try:
        download = open_link(token)
        file = open_file(download.document)
    except BillingError as error:
        return HttpResponse(str(error), status=error.http_status, content_type="text/plain; charset=utf-8")
    response = FileResponse(file, content_type=CONTENT_TYPE)
    response["Content-Disposition"] = download.disposition
    response["Cache-Control"] = CACHE_CONTROL
    return response
