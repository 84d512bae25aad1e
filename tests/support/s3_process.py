"""The S3 server as a process: `python -m tests.support.s3_process PORT`.

Moto takes every presigned address, however old or wrong. S3 and R2 do not, so these are checked in front of it: the
signature as S3 computes it, and the age.
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SECRET = "tests"
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def find_fault(environ: dict[str, Any]) -> str | None:
    """What S3 has against a presigned request, in its own words; None if nothing, or if it is not presigned."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    signature = query.pop("X-Amz-Signature", None)
    if signature is None:
        return None
    signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if datetime.now(UTC) > signed_at + timedelta(seconds=int(query["X-Amz-Expires"])):
        return "Request has expired"
    key, _, region, *_ = query["X-Amz-Credential"].split("/")
    url = f"http://{environ['HTTP_HOST']}{environ['PATH_INFO']}?{urlencode(query, quote_via=quote, safe='-_.~')}"
    request = AWSRequest(environ["REQUEST_METHOD"], url, headers={"host": environ["HTTP_HOST"]})
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(Credentials(key, SECRET), "s3", region, expires=int(query["X-Amz-Expires"]))
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return None if hmac.compare_digest(expected, signature) else "SignatureDoesNotMatch"


def guard(app: App) -> App:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fault = find_fault(environ)
        if fault is None:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [f"<Error><Code>AccessDenied</Code><Message>{fault}</Message></Error>".encode()]

    return answer


if __name__ == "__main__":
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    server: Any = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(sys.argv[1]), guard(server), threaded=True)
