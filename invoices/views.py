"""Where the mail service reports deliveries."""

from __future__ import annotations

from typing import Any

from anymail.signals import AnymailTrackingEvent, tracking
from anymail.webhooks.mailgun import MailgunTrackingWebhookView
from django.dispatch import receiver
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

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
