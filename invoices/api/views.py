"""`POST /managed-services` and `GET /managed-services/{reference}`."""

from __future__ import annotations

from io import BytesIO
from typing import IO, Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_worker.accounts.authentication import ServiceCaller, require_scope
from billing_worker.accounts.jobs import request_job
from billing_worker.accounts.models import ManagedJob
from billing_worker.alerts.kicks import kick
from billing_worker.api import StrictJSONParser
from billing_worker.core.errors import BillingError, NotFound
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoiceLine
from invoices.api.parsing import parse_job_request
from invoices.api.schemas import ManagedServiceRequestSchema, ManagedServiceSchema
from invoices.models import ManagedCharge
from invoices.states import ChargeState

#: Far more than one request can hold.
MAX_BODY: Final = 10_000


class UnknownReference(NotFound):
    """No managed service was requested under this reference."""

    code = "unknown_reference"


class BodyTooLarge(BillingError):
    """The body is larger than any request can be. Send one request at a time."""

    code = "body_too_large"
    http_status = 413


class SmallJSONParser(StrictJSONParser):
    """Strict JSON of at most `MAX_BODY` bytes; nothing beyond that is read."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise BodyTooLarge(f"the body has more than {MAX_BODY} bytes: send one request at a time")
        return super().parse(BytesIO(body), media_type, parser_context)


class ManagedServicesView(APIView):
    parser_classes = [SmallJSONParser]
    permission_classes = [require_scope("jobs:write")]

    @extend_schema(
        operation_id="post_managed_service",
        request=ManagedServiceRequestSchema,
        responses={
            200: ManagedServiceSchema,
            201: ManagedServiceSchema,
            400: None,
            401: None,
            403: None,
            404: None,
            409: None,
            413: None,
            422: None,
        },
    )
    def post(self, request: Request) -> Response:
        """Ask for a finished managed service to be billed, with its exact amount, once.

        The same request again is a 200 and changes nothing; the same reference for something else is a 409. It stands
        on the invoice of its month, or on the next one if that is finalized.
        """
        caller: object = request.user
        assert isinstance(caller, ServiceCaller)
        job, is_new = request_job(
            request=parse_job_request(request.data), author=caller.name, now=timezone.now()
        )
        if is_new:
            assert job.completed_at is not None
            kick("invoices.bill_managed_jobs", str(Period.of(job.completed_at)))
        return Response(present(job), status=201 if is_new else 200)


class ManagedServiceView(APIView):
    permission_classes = [require_scope("jobs:write") | require_scope("invoices:read")]

    @extend_schema(operation_id="get_managed_service", responses={200: ManagedServiceSchema, 404: None})
    def get(self, request: Request, reference: str) -> Response:
        """Where a requested managed service is: waiting, at Stripe, and on which invoice."""
        job = ManagedJob.objects.filter(reference=reference).first()
        if job is None:
            raise UnknownReference("no managed service was requested under this reference")
        return Response(present(job))


def present(job: ManagedJob) -> dict[str, Any]:
    """A requested job and how far its billing is."""
    assert job.completed_at is not None
    charge = ManagedCharge.objects.filter(job=job).first()
    item = charge.stripe_invoice_item_id if charge else None
    line = _find_line(charge) if charge and item else None
    return {
        "reference": job.reference,
        "account_id": job.account_id,
        "amount_minor": job.amount_minor,
        "currency": job.currency,
        "title": job.title,
        "completed_on": job.completed_at.date().isoformat(),
        "state": charge.state if charge else ChargeState.PENDING.value,
        "reason": charge.last_error if charge else "",
        "invoice_item": item,
        "invoice": (line.invoice.number or line.invoice.stripe_invoice_id) if line else None,
    }


def _find_line(charge: ManagedCharge) -> StripeInvoiceLine | None:
    """The line that bills it: on the newest invoice, since a voided one gives its items back."""
    lines = StripeInvoiceLine.objects.select_related("invoice").filter(
        invoice__customer=charge.customer, invoice_item=charge.stripe_invoice_item_id
    )
    return lines.order_by("-invoice__created_at").first()
