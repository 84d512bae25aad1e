"""A served console, people who log in, and what they see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from billing_worker.accounts.roles import OUR_APPS, sync_roles
from tests.legacy.tables import legacy_tables_open

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

Login = Callable[..., "Page"]
PASSWORD = "a-long-enough-word"


@pytest.fixture
def console(transactional_db: None, live_server: Any) -> Iterator[str]:
    """The address of the console, with the roles and empty legacy tables in place."""
    # The emptied database of the last such test has lost what migrations and their signals had put there.
    for label in OUR_APPS:
        sync_roles(label)
    with legacy_tables_open():
        yield live_server.url


@pytest.fixture
def login(console: str, browser: Browser) -> Iterator[Login]:
    """Log a person in; the answer is the console's index in a browser of the person's own.

    Keywords are those of Playwright's `new_context`. A script error or a failed request on any page fails the test.
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def note(problem: str) -> None:
        problems.append(problem)

    def log_in(username: str, **options: Any) -> Page:
        context = browser.new_context(
            base_url=console, **{"viewport": {"width": 1440, "height": 900}, **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: note(f"{page.url}: {error}"))
        page.on(
            "response",
            lambda answer: note(f"{answer.url}: {answer.status}") if answer.status >= 500 else None,
        )
        page.goto("/admin/login/")
        page.fill("input[name=username]", username)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url("**/admin/")
        return page

    yield log_in
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(autouse=True)
def database_calls_beside_the_browser() -> Iterator[None]:
    """Playwright's loop runs in this thread; Django would take that for asynchronous code."""
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    yield
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
