"""`POST /usage/samples`: high-volume ticks of sampled meters, signed and not keyed."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import IO, Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_worker.api import build_error
from billing_worker.core.errors import InvalidInput
from billing_worker.core.strict_json import loads_strict
from metering.api.views import MAX_BODY, BodyTooLarge
from metering.parsing import MAX_ACCOUNT_ID
from metering.samples.config import get_secrets
from metering.samples.ingest import SampleOutcome, store_samples
from metering.samples.models import MAX_BATCH
from metering.samples.parsing import (
    EVENT_ID_PATTERN,
    INSTANT_PATTERN,
    MAX_MEMORY_MB,
    METER_PATTERN,
    SampleInput,
    get_event_id,
    parse_sample,
)
from metering.signatures import verify_message

_TOO_LARGE = f"the body has more than {MAX_BODY} bytes: send at most {MAX_BATCH} samples at once"


class DimensionsSchema(serializers.Serializer[Any]):
    memory_mb = serializers.IntegerField(min_value=0, max_value=MAX_MEMORY_MB, required=False)
    cpu_count = serializers.FloatField(
        min_value=0, max_value=16_384, required=False, help_text="At most three decimals."
    )


class SampleSchema(serializers.Serializer[Any]):
    event_id = serializers.RegexField(rf"^{EVENT_ID_PATTERN}$", help_text="The same id is counted once.")
    account_id = serializers.IntegerField(min_value=1, max_value=MAX_ACCOUNT_ID)
    meter = serializers.RegexField(rf"^{METER_PATTERN}$")
    at = serializers.RegexField(
        rf"^{INSTANT_PATTERN}$", help_text="End of the interval, with zone. Finer than ms is cut off."
    )
    interval_s = serializers.FloatField(
        min_value=0.001, max_value=86_400, help_text="Seconds before `at`; at most three decimals."
    )
    dimensions = DimensionsSchema()


class SampleBatchSchema(serializers.Serializer[Any]):
    samples = serializers.ListField(child=SampleSchema(), min_length=1, max_length=MAX_BATCH)


class RefusalSchema(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="Position in the batch, from 0.")
    event_id = serializers.CharField(allow_null=True)
    error = serializers.DictField()
    held = serializers.DictField(required=False, help_text="What is held under this id.")
    given = serializers.DictField(required=False)


class SamplesAnswerSchema(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    rejected = serializers.IntegerField()
    reasons = RefusalSchema(many=True, help_text="One for each rejected sample.")


class WholeRefusalSchema(serializers.Serializer[Any]):
    error = serializers.DictField(
        help_text="Why no sample was looked at: the body is no batch of 1 to 1,000."
    )


class RawJSONParser(BaseParser):
    """The body as it was signed; nothing beyond `MAX_BODY` is read."""

    media_type = "application/json"

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        body: bytes = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise BodyTooLarge(_TOO_LARGE)
        return body


class SamplesView(APIView):
    """Signed, not keyed: senders are machines of ours, at a rate that a key's lookup would slow down."""

    authentication_classes = []
    permission_classes = []
    parser_classes = [RawJSONParser]

    @extend_schema(
        operation_id="post_usage_samples",
        auth=[],
        parameters=[
            OpenApiParameter("X-Timestamp", str, OpenApiParameter.HEADER, required=True),
            OpenApiParameter("X-Signature", str, OpenApiParameter.HEADER, required=True),
        ],
        request=PolymorphicProxySerializer(
            component_name="Samples",
            serializers=[SampleSchema, SampleBatchSchema],
            resource_type_field_name=None,
        ),
        responses={
            202: SamplesAnswerSchema,
            400: None,
            401: None,
            409: SamplesAnswerSchema,
            413: None,
            422: PolymorphicProxySerializer(
                component_name="SamplesRefusal",
                serializers=[SamplesAnswerSchema, WholeRefusalSchema],
                resource_type_field_name=None,
            ),
            503: None,
        },
    )
    def post(self, request: Request) -> Response:
        """Tell what was in use: one sample, or `{"samples": [...]}` of up to 1,000.

        202 if any was taken now or before. If every one was refused: 409 where all are known with other content, else
        422; the answer has the same form. `X-Signature` is the hex HMAC-SHA256 of `{X-Timestamp}.{body}`.
        """
        secrets, now = get_secrets(), timezone.now()
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY:
            raise BodyTooLarge(_TOO_LARGE)
        data: object = request.data
        body = data if isinstance(data, bytes) else b""
        verify_message(
            message=body,
            what="body",
            stamp=request.headers.get("X-Timestamp", ""),
            signature=request.headers.get("X-Signature", ""),
            secrets=secrets,
            now=now,
        )
        return _answer(_take_samples(_read(body), now))


def _read(body: bytes) -> list[Any]:
    try:
        parsed = loads_strict(body)
    except ValueError as error:
        raise exceptions.ParseError(f"the body is not valid JSON: {error}") from error
    if not isinstance(parsed, dict) or "samples" not in parsed:
        return [parsed]
    samples = parsed["samples"]
    if set(parsed) != {"samples"} or not isinstance(samples, list) or not 0 < len(samples) <= MAX_BATCH:
        raise InvalidInput(
            "a batch is an object with `samples` alone",
            fields={"samples": [f"must be a list of 1 to {MAX_BATCH} samples"]},
        )
    return samples


def _take_samples(raw_samples: list[Any], now: datetime) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Check and store; how many of each outcome, and a reason for each that was refused, in order."""
    parsed: dict[int, SampleInput] = {}
    reasons: dict[int, dict[str, Any]] = {}
    for index, raw in enumerate(raw_samples):
        try:
            parsed[index] = parse_sample(raw, now=now)
        except InvalidInput as error:
            refusal = build_error(error.code, str(error), error.fields)
            reasons[index] = {"index": index, "event_id": get_event_id(raw), **refusal}
    outcomes = store_samples(samples=list(parsed.values()), now=now)
    counts = Counter(outcome.status for outcome in outcomes)
    counts["invalid"] += len(reasons)
    for (index, sample), outcome in zip(parsed.items(), outcomes, strict=True):
        if outcome.status in ("conflict", "invalid"):
            reasons[index] = _explain(index, sample, outcome)
    return Counter(counts), [reasons[index] for index in sorted(reasons)]


def _explain(index: int, sample: SampleInput, outcome: SampleOutcome) -> dict[str, Any]:
    code = "conflict" if outcome.status == "conflict" else "invalid_input"
    reason = {
        "index": index,
        "event_id": sample.event_id,
        **build_error(code, outcome.message, outcome.fields),
    }
    if outcome.held is not None:
        reason |= {"held": outcome.held, "given": sample.describe()}
    return reason


def _answer(taken: tuple[Counter[str], list[dict[str, Any]]]) -> Response:
    counts, reasons = taken
    rejected = counts["invalid"] + counts["conflict"]
    body = {
        "accepted": counts["accepted"],
        "duplicate": counts["duplicate"],
        "rejected": rejected,
        "reasons": reasons,
    }
    if counts["accepted"] or counts["duplicate"]:
        return Response(body, status=202)
    return Response(body, status=409 if counts["conflict"] == rejected else 422)
