"""`POST /usage` and `GET /usage/{account_id}/{period}`."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from typing import IO, Any

from django.utils import timezone
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_worker.accounts.authentication import ServiceCaller, require_scope
from billing_worker.accounts.selectors import get_account
from billing_worker.api import StrictJSONParser, build_error
from billing_worker.core.errors import BillingError, InvalidInput
from billing_worker.core.periods import Period
from metering.api.presenting import present_period
from metering.api.schemas import (
    BatchOutcomeSchema,
    OutcomeSchema,
    PeriodUsageSchema,
    UsageBatchSchema,
    UsageRecordSchema,
)
from metering.parsing import MAX_BATCH, UsageInput, parse_record
from metering.selectors import get_period_usage
from metering.services.ingest import RecordOutcome, store_usage

#: A thousand records with long reasons fit twice.
MAX_BODY = 2_000_000
_TOO_LARGE = f"the body has more than {MAX_BODY} bytes: send at most {MAX_BATCH} records at once"
_HTTP_STATUS = {"created": 201, "unchanged": 200, "restated": 200, "conflict": 409, "invalid": 422}


class BodyTooLarge(BillingError):
    """The body is larger than any batch of records can be. Send smaller batches."""

    code = "body_too_large"
    http_status = 413


class BoundedJSONParser(StrictJSONParser):
    """Strict JSON of at most `MAX_BODY` bytes; nothing beyond that is read."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise BodyTooLarge(_TOO_LARGE)
        return super().parse(BytesIO(body), media_type, parser_context)


class UsageView(APIView):
    parser_classes = [BoundedJSONParser]
    permission_classes = [require_scope("usage:write")]

    @extend_schema(
        operation_id="post_usage",
        request=PolymorphicProxySerializer(
            component_name="Usage",
            serializers=[UsageRecordSchema, UsageBatchSchema],
            resource_type_field_name=None,
        ),
        responses={
            200: BatchOutcomeSchema,
            201: OutcomeSchema,
            207: BatchOutcomeSchema,
            400: None,
            401: None,
            403: None,
            409: OutcomeSchema,
            413: None,
            422: None,
        },
    )
    def post(self, request: Request) -> Response:
        """State usage: one record, or `{"records": [...]}` of up to 1,000.

        The same key and quantity again is `unchanged`. Another quantity is a restatement and needs a `reason`; it is
        kept as a new revision. A batch is answered record by record: 200 if all were taken, 207 if some were refused.
        """
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY:
            raise BodyTooLarge(_TOO_LARGE)
        body = request.data
        if isinstance(body, dict) and "records" in body:
            return self._post_batch(body, get_caller(request).name)
        result = _store([body], get_caller(request).name)[0]
        return Response(result, status=_HTTP_STATUS[result["status"]])

    def _post_batch(self, body: dict[str, Any], author: str) -> Response:
        records = body["records"]
        if set(body) != {"records"} or not isinstance(records, list) or not 0 < len(records) <= MAX_BATCH:
            raise InvalidInput(
                "a batch is an object with `records` alone",
                fields={"records": [f"must be a list of 1 to {MAX_BATCH} records"]},
            )
        results = _store(records, author)
        counts = Counter(result["status"] for result in results)
        refused = counts["conflict"] + counts["invalid"]
        return Response({"results": results, "counts": dict(counts)}, status=207 if refused else 200)


class PeriodUsageView(APIView):
    permission_classes = [require_scope("usage:write") | require_scope("usage:read")]

    @extend_schema(operation_id="get_usage", responses={200: PeriodUsageSchema, 404: None, 422: None})
    def get(self, request: Request, account_id: int, period: str) -> Response:
        """What is held for an account's month: days and types, revisions, what was sent, what is invoiced.

        `period` is a month like 2026-10.
        """
        account = get_account(account_id)
        month = Period.parse(period)
        return Response(present_period(get_period_usage(account.pk, month), account))


def get_caller(request: Request) -> ServiceCaller:
    """The key that calls; the permission class has let nobody else in."""
    caller: object = request.user
    assert isinstance(caller, ServiceCaller)
    return caller


def _store(raw_records: list[Any], author: str) -> list[dict[str, Any]]:
    """Check and store; one answer for each record, in order."""
    now = timezone.now()
    answers: list[dict[str, Any] | None] = [None] * len(raw_records)
    parsed: list[UsageInput] = []
    for position, raw in enumerate(raw_records):
        try:
            parsed.append(parse_record(raw, today=now.date()))
        except InvalidInput as error:
            answers[position] = {"status": "invalid", **build_error(error.code, str(error), error.fields)}
    outcomes = iter(zip(parsed, store_usage(records=parsed, author=author, now=now), strict=True))
    return [answer if answer is not None else _present(*next(outcomes)) for answer in answers]


def _present(record: UsageInput, outcome: RecordOutcome) -> dict[str, Any]:
    answer: dict[str, Any] = {"status": outcome.status, "key": record.text_key}
    if outcome.status == "conflict":
        answer |= build_error("conflict", outcome.message, outcome.fields)
        if outcome.held_quantity is not None:
            answer |= {"held_quantity": outcome.held_quantity, "given_quantity": record.quantity}
        return answer
    if outcome.status == "invalid":
        return answer | build_error("invalid_input", outcome.message, outcome.fields)
    answer |= {"quantity": outcome.quantity, "revision": outcome.revision, "delta": outcome.delta}
    if outcome.status == "restated":
        answer["held_quantity"] = outcome.held_quantity
    return answer
