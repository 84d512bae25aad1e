"""Fixtures: a real sandbox process, shared by the session and reset for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stripe

from tests.sandbox.process import SandboxProcess
from tests.stripe_cli.runner import StripeCli


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    """One sandbox in memory for the whole session."""
    process = SandboxProcess.start("--memory", "--webhook-retries", "0.05,0.05,0.1,0.1,0.2,0.5,1")
    yield process
    process.kill()


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    """The session's sandbox, empty: ``sandbox.client`` is the SDK, ``sandbox.url`` the address."""
    sandbox_process.reset()
    return sandbox_process


@pytest.fixture
def client(sandbox: SandboxProcess) -> stripe.StripeClient:
    """The SDK's client on an empty sandbox."""
    return sandbox.client


@pytest.fixture
def stripe_cli(tmp_path: Path) -> Callable[[str], StripeCli]:
    """Make Stripe's own command line for a base URL: ``stripe_cli(sandbox.url).trigger("invoice.paid")``."""
    return lambda base_url: StripeCli(base_url, home=tmp_path)
