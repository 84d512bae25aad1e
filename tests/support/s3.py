"""A private S3 server (moto, with presigned addresses checked), configured as an R2 account."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import PYTHON, ServerProcess, accepts_connections, find_free_port


class S3Server(ServerProcess):
    """One server in memory; `environment(bucket)` is what points the project at it."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            [PYTHON, "-m", "tests.support.s3_process", str(self.port)],
            is_ready=lambda: accepts_connections(self.port),
            log=folder / "s3.log",
        )

    def environment(self, bucket: str) -> dict[str, str]:
        """The settings of the project for a bucket here, made with `create_bucket`."""
        return {
            "R2_INVOICE_BUCKET": bucket,
            "R2_ENDPOINT_URL": self.url,
            "R2_ACCESS_KEY_ID": "tests",
            "R2_SECRET_ACCESS_KEY": "tests",
        }

    def create_bucket(self, name: str) -> None:
        import boto3

        boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="tests",
            aws_secret_access_key="tests",
        ).create_bucket(Bucket=name)
