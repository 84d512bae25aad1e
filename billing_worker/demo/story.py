"""One billing month, from the old service's tables to signed-off cohorts."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final

import requests

from billing_worker.demo import findings, holding
from billing_worker.demo.console_session import ConsoleSession
from billing_worker.demo.crediting import credit_an_invoice
from billing_worker.demo.following import change_language
from billing_worker.demo.holding import declare, list_accounts
from billing_worker.demo.narration import Narration
from billing_worker.demo.place import FOLDER, DemoError, Place, find_free_port, make_place
from billing_worker.demo.processes import Processes, run_program

COHORTS: Final = {
    "cohort-1": "Flat subscription only",
    "cohort-2": "Flat subscription and graduated usage",
    "cohort-3": "Custom arrangements and managed services",
}
#: Cohort 3 is planted with differences, so its gate has to stay shut.
CLEAN_COHORTS: Final = ("cohort-1", "cohort-2")
PROVISIONING: Final = {
    "cohort-1": ["--test-payment-method", "pm_card_visa"],
    "cohort-2": ["--test-payment-method", "pm_card_visa"],
    "cohort-3": ["--collection", "send_invoice", "--days-until-due", "30"],
}
BATCH: Final = 1000
#: How long webhooks, PDFs and mails may take: tries of so many seconds each, a dead process ends it at once.
SETTLE_TRIES: Final = 18
SETTLE_SECONDS: Final = 10
TOTAL_STEPS: Final = 25


@dataclass(slots=True)
class Scene:
    """What the steps of one run share."""

    place: Place
    tell: Narration
    processes: Processes
    web_url: str
    sandbox_url: str
    service_key: str = ""
    usage: list[dict[str, Any]] = field(default_factory=list)
    users: dict[str, dict[str, str]] = field(default_factory=dict)
    planted: list[dict[str, Any]] = field(default_factory=list)
    reconciled: dict[str, dict[str, Any]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)


def run_story(*, period: str, seed: int) -> int:
    """Run the whole month; 0 if every check held, 1 if one did not."""
    started = time.monotonic()
    place = make_place(period=period, seed=seed)
    tell = Narration(total_steps=TOTAL_STEPS)
    web_port, sandbox_port = find_free_port(), find_free_port()
    env = place.build_environment(sandbox_port=sandbox_port, web_port=web_port)
    with Processes() as processes:
        scene = Scene(
            place, tell, processes, f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{sandbox_port}"
        )
        with tell.step("Generate the old service's database") as step:
            step.outcome = _generate_legacy(scene)
        with tell.step("Start the sandbox as Stripe") as step:
            processes.start_sandbox(port=sandbox_port, web_port=web_port, webhook_secret=place.webhook_secret)
            step.outcome = scene.sandbox_url
        with tell.step("Create our database") as step:
            _start_django(env)
            _manage("migrate", run_syncdb=True, verbosity=0)
            _manage("collectstatic", interactive=False, verbosity=0)
            step.outcome = "SQLite under var/demo"
        with tell.step("Start the web and worker processes") as step:
            processes.start_web(port=web_port, env=env)
            processes.start_worker(env=env)
            step.outcome = scene.web_url
        _tell_story(scene)
        processes.require_alive()
    seconds = time.monotonic() - started
    tell.show_summary()
    tell.write_report(FOLDER / "report.json", seconds=seconds, facts=findings.gather_facts(scene))
    if tell.failed:
        tell.console.print(
            f"[red]{len(tell.failed)} checks failed[/red] in {seconds:.0f} s. Logs: {FOLDER / 'logs'}"
        )
        return 1
    place.mark_complete()
    tell.console.print(
        f"Every check holds, in {seconds:.0f} s. Report: var/demo/report.json. Look around with `make run`.",
        soft_wrap=True,
    )
    return 0


def _tell_story(scene: Scene) -> None:
    """The month itself, step by step, once everything runs."""
    tell = scene.tell
    period = scene.place.period
    for name, act in (
        ("Create the people and a service key", _create_people),
        ("Import the accounts", _import_accounts),
        ("Plan the catalog", lambda scene: _last_line(_manage("catalog_plan", "--at", f"{period}-01"))),
        ("Apply the catalog", lambda scene: _last_line(_manage("catalog_apply", "--at", f"{period}-01"))),
        ("Form three cohorts", _form_cohorts),
        ("Provision their customers and subscriptions", _provision),
        ("Start the dual run", _start_dual_run),
        (f"Post the daily usage of {period}", _post_usage),
        ("Roll it up into meter events", lambda scene: _first_line(_manage("roll_up_usage", period=period))),
        ("Move the clocks to the last evening", lambda scene: _advance(scene, hours=-0.5)),
        ("Declare the usage complete", _declare_complete),
        ("Send the meter events", lambda scene: _first_line(_manage("send_meter_events"))),
        (
            "Put the managed jobs on the bill",
            lambda scene: _last_line(_manage("bill_managed_jobs", period=period)),
        ),
        ("Move one customer over the month's end: its draft is held", holding.hold_one),
        ("Declare its usage complete: the draft is let go", holding.release_one),
        ("Move the clocks over the month's end", lambda scene: _advance(scene, hours=2)),
        (
            "Wait for webhooks, PDFs and mails",
            lambda scene: _last_line(_manage("wait_until_settled", timeout=1800)),
        ),
        ("Let the old service bill the month in shadow", _run_legacy_month),
        ("Reconcile, open the gates, sign", _reconcile_and_sign),
        ("Credit a part of one invoice", _credit),
        ("Change one account's language: its customer follows", change_language),
    ):
        with tell.step(name) as step:
            step.outcome = act(scene)
    findings.check_everything(scene)


def _generate_legacy(scene: Scene) -> str:
    place = scene.place
    run_program(
        *("-m", "sandbox.legacy", "generate", "--database", place.legacy_database),
        *("--seed", str(place.seed), "--period", place.period),
    )
    listing = run_program("-m", "sandbox.legacy", "cohorts", "--database", place.legacy_database)
    (FOLDER / "cohorts.json").write_text(listing, encoding="utf-8")
    usage = run_program(
        "-m", "sandbox.legacy", "usage", "--database", place.legacy_database, "--period", place.period
    )
    scene.usage = [json.loads(line) for line in usage.splitlines()]
    sizes = ", ".join(str(len(ids)) for ids in json.loads(listing).values())
    return f"cohorts of {sizes} accounts, {len(scene.usage):,} daily usage figures"


def _start_django(env: dict[str, str]) -> None:
    """This process becomes one more operator's shell: the same settings as web and worker."""
    os.environ.clear()
    os.environ.update(env)
    import django

    django.setup()
    # What web and worker would log goes beside their logs; the terminal is for the story.
    log = (FOLDER / "logs" / "story.log").open("a", encoding="utf-8")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(log)


def _manage(command: str, *arguments: str, **options: Any) -> str:
    """Run a management command; what it printed.

    Raises:
        DemoError: it refused, with its own line.
    """
    from django.core.management import CommandError, call_command

    out = io.StringIO()
    try:
        call_command(command, *arguments, stdout=out, **options)
    except CommandError as error:
        raise DemoError(f"{command}: {error}") from error
    return out.getvalue()


def _last_line(text: str) -> str:
    return _pick_line(text, -1)


def _first_line(text: str) -> str:
    return _pick_line(text, 0)


def _pick_line(text: str, index: int) -> str:
    lines = text.strip().splitlines()
    return lines[index].strip()[:100] if lines else "done"


def _create_people(scene: Scene) -> str:
    users = json.loads(_manage("create_demo_users", "--json"))
    (FOLDER / "users.json").write_text(json.dumps(users, indent=2), encoding="utf-8")
    scene.users = {user["role"]: user for user in users}
    scene.service_key = (
        _manage("create_service_key", "--name", "admin-api", "--scope", "usage:write")
        .strip()
        .splitlines()[-1]
    )
    return ", ".join(user["username"] for user in users)


def _import_accounts(scene: Scene) -> str:
    """Take the accounts over; one in Germany wants its invoices for machines, too."""
    from django.utils import timezone

    from billing_worker.accounts.models import Account
    from billing_worker.accounts.services import change_document_settings
    from billing_worker.accounts.states import InvoiceFormat

    imported = _last_line(_manage("import_accounts"))
    german = Account.objects.filter(address_country="DE", parent=None).order_by("pk").first()
    if german is None:
        return imported
    change_document_settings(
        account_id=german.pk,
        locale=german.locale,
        invoice_format=InvoiceFormat.FACTURX,
        tax_id_type=german.tax_id_type,
        tax_id_value=german.tax_id_value,
        actor="demo",
        reason="asked for Factur-X",
        now=timezone.now(),
    )
    return f"{imported}; {german.pk} gets Factur-X"


def _form_cohorts(scene: Scene) -> str:
    for name, description in COHORTS.items():
        _manage(
            "create_cohort", name, "--from-file", str(FOLDER / "cohorts.json"), "--description", description
        )
    return ", ".join(COHORTS)


def _provision(scene: Scene) -> str:
    for name in COHORTS:
        _manage(
            "provision_cohort", name, "--period", scene.place.period, "--test-clocks", *PROVISIONING[name]
        )
    from billing_worker.accounts.models import Account, TestClock

    customers = Account.objects.filter(stripe_customer_id__isnull=False).count()
    return f"{customers} customers on {TestClock.objects.count()} test clocks"


def _start_dual_run(scene: Scene) -> str:
    for name in COHORTS:
        _manage("start_dual_run", name)
    return f"Stripe bills {scene.place.period}, the old service runs in shadow"


def _post_usage(scene: Scene) -> str:
    """Every daily figure through `POST /usage`, then the first batch once more: nothing may count twice."""
    created = _post_batches(scene, scene.usage).get("created", 0)
    again = scene.usage[:BATCH]
    unchanged = _post_batches(scene, again).get("unchanged", 0)
    scene.tell.check("Usage figures taken", expected=len(scene.usage), found=created)
    scene.tell.check("Usage sent twice is taken once", expected=len(again), found=unchanged)
    return f"{created:,} taken; {unchanged:,} sent again, all unchanged"


def _declare_complete(scene: Scene) -> str:
    """The senders' word that the month is all there, but for one account: its draft will wait for it."""
    late = holding.choose_late_account(scene)
    ids = [pk for pk in list_accounts() if pk != late]
    declare(scene, ids)
    return f"{scene.place.period} of {len(ids)} accounts; {late} is late"


def _post_batches(scene: Scene, records: list[dict[str, Any]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    with requests.Session() as http:
        http.headers["Authorization"] = f"Api-Key {scene.service_key}"
        for first in range(0, len(records), BATCH):
            answer = http.post(
                f"{scene.web_url}/usage", json={"records": records[first : first + BATCH]}, timeout=300
            )
            if not answer.ok:
                raise DemoError(f"POST /usage answers {answer.status_code}: {answer.text[:200]}")
            for name, count in answer.json()["counts"].items():
                totals[name] = totals.get(name, 0) + count
    return totals


def _advance(scene: Scene, *, hours: float) -> str:
    """Move every test clock to some hours after (or before) the end of the period."""
    from datetime import timedelta

    from billing_worker.core.periods import Period

    instant = Period.parse(scene.place.period).end_at + timedelta(hours=hours)
    return _last_line(_manage("advance_test_clocks", "--to", instant.isoformat().replace("+00:00", "Z")))


def _wait_until_settled(scene: Scene) -> str:
    """First every webhook has to arrive, then everything that follows from them has to be done."""
    left = findings.wait_for_deliveries(scene, timeout=120)
    if left:
        raise DemoError(
            f"{left} webhooks did not arrive within two minutes: see {FOLDER / 'logs' / 'web.log'}"
        )
    for _ in range(SETTLE_TRIES - 1):
        scene.processes.require_alive()
        try:
            return _last_line(_manage("wait_until_settled", timeout=SETTLE_SECONDS))
        except DemoError:
            continue  # still busy: look whether everything is alive, then go on waiting
    return _last_line(_manage("wait_until_settled", timeout=SETTLE_SECONDS))


def _run_legacy_month(scene: Scene) -> str:
    path = FOLDER / "planted.json"
    run_program(
        *("-m", "sandbox.legacy", "run-month", "--database", scene.place.legacy_database),
        *("--period", scene.place.period, "--shadow", "--plant-differences", "--planted-out", str(path)),
    )
    scene.planted = json.loads(path.read_text(encoding="utf-8"))
    return f"{len(scene.planted)} differences planted in cohort 3"


def _reconcile_and_sign(scene: Scene) -> str:
    for name in COHORTS:
        scene.reconciled[name] = _reconcile(name, scene.place.period)
    for name in CLEAN_COHORTS:
        _manage("open_gate", name)
        _sign_twice(scene, name)
    _check_closed_gate(scene, "cohort-3")
    drifting = scene.reconciled["cohort-3"]["accounts_with_drift"]
    return f"cohorts 1 and 2 without a cent of drift and signed, cohort 3 with {drifting} drifts held back"


def _reconcile(name: str, period: str) -> dict[str, Any]:
    """`reconcile` exits with 1 where it finds drift; what it found is on its standard output either way."""
    from django.core.management import call_command

    out = io.StringIO()
    try:
        call_command("reconcile", "--period", period, "--cohort", name, "--json", stdout=out)
    except SystemExit as leave:
        if leave.code != 1:
            raise
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def _credit(scene: Scene) -> str:
    outcome = credit_an_invoice(scene)
    _wait_until_settled(scene)
    return outcome


def _check_closed_gate(scene: Scene, name: str) -> None:
    from django.core.management import CommandError, call_command

    try:
        call_command("open_gate", name, stdout=io.StringIO())
        found = "opened"
    except CommandError:
        found = "shut"
    scene.tell.check(f"The gate of {name}, which drifts", expected="shut", found=found)


def _sign_twice(scene: Scene, name: str) -> None:
    """The ops person signs, tries to sign once more, then finance signs; the page says what came of it."""
    for role in ("ops", "finance"):
        user = scene.users[role]
        person = ConsoleSession(base_url=scene.web_url, username=user["username"], password=user["password"])
        page_path = person.find_cohort_path(name)
        page = person.get(page_path)
        shown = re.search(r'name="evidence_hash" value="([0-9a-f]{64})"', page)
        if shown is None:
            raise DemoError(f"the page of {name} offers {user['username']} nothing to sign")
        sign_path = page_path.replace("/change/", "/sign-off/")
        person.press(page_path, sign_path, {"evidence_hash": shown[1]})
        if role == "ops":
            again = person.press(page_path, sign_path, {"evidence_hash": shown[1]})
            refused = "has signed already" in again
            scene.tell.check(
                f"One person signs {name} twice", expected="refused", found="refused" if refused else "taken"
            )
        scene.pages[name] = person.get(page_path)
