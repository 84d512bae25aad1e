"""How fast invoices are printed, beside Chromium printing the same HTML in the same run.

    .venv/bin/python -m tests.bench.bench_pdf [--renders 100] [--no-chromium]

Every document has other numbers, names and amounts. Where one process works alone the aims are held against the median
of its CPU time, because the machine may be shared; rates and comparisons with Chromium are times by the clock. `without
shortcuts` is WeasyPrint as it comes, every fourth render of the same loop.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from invoices.content import InvoiceContent

RENDERS_FOR_MEMORY = 1000


def _set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()


def build_twelve(number: int) -> InvoiceContent:
    """A one-page invoice of twelve lines, like no other number's."""
    from tests.invoices.samples import BUYER, build_content, build_job, build_line, build_tiers

    chance = random.Random(number)
    some = lambda: chance.randint(1_000, 4_000_000)  # noqa: E731
    lines = [
        build_line("sub", unit_amount_decimal=Decimal(some())),
        *build_tiers("ST", (1_000_000, "0"), (some(), "0.125"), (some(), "0.1")),
        *build_tiers("RM", (100_000, "0.45"), (some(), "0.3975")),
        *build_tiers("CV", (some(), "1.8")),
        *(build_job(f"Campaign {some()}, trafficking", some(), day) for day in range(1, 6)),
    ]
    buyer = BUYER.model_copy(update={"name": f"Northwind {some()} LLC"})
    return build_content(lines, number=f"NWA-{number:05d}", buyer=buyer)


def time_cpu(act: Callable[[], object]) -> float:
    """Milliseconds of CPU of this process."""
    started = time.process_time()
    act()
    return (time.process_time() - started) * 1000


def time_wall(act: Callable[[], object]) -> float:
    """Milliseconds of the clock."""
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


def bench_one_page(renders: int) -> tuple[list[float], list[float]]:
    """CPU milliseconds of one-page invoices, with and without shortcuts in turn."""
    from invoices.rendering import shortcuts
    from invoices.rendering.pdf import render_pdf

    short, plain = [], []
    for number in range(renders):
        content = build_twelve(number)
        short.append(time_cpu(partial(render_pdf, content)))
        if number % 4 == 0:
            with shortcuts.left_out():
                plain.append(time_cpu(partial(render_pdf, content)))
    return short, plain


def render_for(given: tuple[int, float]) -> int:
    """Print one-page invoices in this process until the time is up; how many."""
    first, seconds = given
    from invoices.rendering.pdf import render_pdf

    contents = [build_twelve(first + number) for number in range(200)]
    render_pdf(contents[0])
    done = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        render_pdf(contents[done % len(contents)])
        done += 1
    return done


def bench_processes(processes: int, seconds: float = 15) -> float:
    """Invoices a minute of that many worker processes at once."""
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_set_up) as pool:
        counts = pool.map(render_for, [(1000 * worker, seconds) for worker in range(processes)])
    return sum(counts) / seconds * 60


def write_page(content: InvoiceContent, folder: Path) -> Path:
    """The same HTML with its styles, fonts and pictures beside it, as Chromium can load it."""
    import segno

    from invoices.rendering.assets import BASE_URL, _find_assets
    from invoices.rendering.fonts import OWN_FONTS, list_families
    from invoices.rendering.pdf import QR_URL, render_html
    from invoices.rendering.versions import get_current_version, read_styles

    for name, path in _find_assets().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(path.read_bytes())
    segno.make_qr(content.hosted_invoice_url, error="m", mask=3).save(
        str(folder / "qr.png"), scale=4, border=0
    )
    faces = "".join(
        f"@font-face {{ font-family: '{font.family}'; font-weight: {font.weight}; src: url({font.url_path}) }}\n"
        for font in OWN_FONTS
    )
    styles = read_styles(get_current_version())
    for name, value in (
        ("family", list_families()),
        ("accent_soft", "#eef2fb"),
        ("accent", "#1e3a8a"),
        ("ink", "#111827"),
    ):
        styles = styles.replace(f"${name}", str(value))
    html = render_html(content).replace(QR_URL, "qr.png").replace(BASE_URL, "")
    page = folder / "invoice.html"
    page.write_text(html.replace("</head>", f"<style>{faces}{styles}</style></head>"), encoding="utf-8")
    return page


def bench_chromium(renders: int) -> dict[str, float]:
    """Medians of wall time: ours, a Chromium page that is kept, a new context each time, the command line."""
    from playwright.sync_api import Browser

    from invoices.rendering.pdf import render_pdf
    from tests.support.browser import CHROMIUM_ARGUMENTS, find_chromium, open_chromium

    def print_new_context(browser: Browser, address: str) -> None:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.pdf(format="Letter")
        context.close()

    spent: dict[str, list[float]] = {"ours": [], "kept": [], "fresh": [], "command": []}
    with tempfile.TemporaryDirectory() as name, open_chromium() as browser:
        folder = Path(name)
        content = build_twelve(1)
        address = write_page(content, folder).as_uri()
        page = browser.new_page()

        def print_kept() -> None:
            page.goto(address)
            page.pdf(format="Letter")

        command = [
            *(find_chromium(), "--headless", *CHROMIUM_ARGUMENTS, f"--user-data-dir={name}/profile"),
            *("--no-pdf-header-footer", f"--print-to-pdf={name}/out.pdf", address),
        ]
        print_kept()
        for number in range(max(renders // 4, 5)):
            ours = build_twelve(number)
            spent["ours"].append(time_wall(partial(render_pdf, ours)))
            spent["kept"].append(time_wall(print_kept))
            spent["fresh"].append(time_wall(lambda: print_new_context(browser, address)))
            if number % 5 == 0:
                spent["command"].append(
                    time_wall(lambda: subprocess.run(command, check=True, capture_output=True, timeout=120))
                )
    return {kind: median(times) for kind, times in spent.items()}


def say(what: str, measured: str, aim: str = "", reached: bool | None = None) -> None:
    """One line: what was measured, how much, the aim, and whether it was reached."""
    verdict = "" if reached is None else ("yes" if reached else "NO")
    print(f"{what:46}{measured:>30}  {aim:28}{verdict}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renders", type=int, default=100, help="one-page renders to time")
    parser.add_argument("--memory-renders", type=int, default=RENDERS_FOR_MEMORY)
    parser.add_argument("--no-chromium", action="store_true")
    options = parser.parse_args()
    _set_up()
    from invoices.rendering.pdf import render_pdf
    from tests.bench.memory_probe import watch_worker
    from tests.invoices.samples import VARIANTS, build_content, build_long

    memory = watch_worker(options.memory_renders)
    say("first document of a process (clock)", f"{time_wall(lambda: render_pdf(build_content())):.0f} ms")
    short, plain = bench_one_page(options.renders)
    say(
        "one page, 12 lines (CPU)",
        f"{median(short):.0f} ms, fastest {min(short):.0f}",
        "under 90 ms",
        median(short) < 90,
    )
    say("  without shortcuts", f"{median(plain):.0f} ms, fastest {min(plain):.0f}")
    charted: Any = VARIANTS["twelve-lines"]()
    chart = [time_cpu(lambda: render_pdf(charted)) for _ in range(options.renders // 4)]
    say(
        "  with a chart of usage",
        f"{median(chart):.0f} ms, fastest {min(chart):.0f}",
        "under 90 ms",
        median(chart) < 90,
    )
    long = build_long(1500)
    times = [time_cpu(lambda: render_pdf(long)) for _ in range(3)]
    pages = render_pdf(long).pages
    say(
        f"1,500 lines, {pages} pages (CPU)",
        f"{median(times) / 1000:.1f} s",
        "under 3 s",
        median(times) < 3000,
    )
    rates = {processes: bench_processes(processes) for processes in (1, 2)}
    say("one worker process", f"{rates[1]:.0f} a minute")
    say("two worker processes (clock)", f"{rates[2]:.0f} a minute", "1,000 a minute", rates[2] >= 1000)
    say("  two cores to itself (from CPU time)", f"{2 * 60_000 / median(short):.0f} a minute")
    early, late = (at["pool"] for at in memory)
    grown = late["private"] - early["private"]
    flat = "flat, under 110 MB"
    say(
        f"memory of a worker after {options.memory_renders:,} documents",
        f"{late['share']:.0f} MB ({late['private']:.0f} its own)",
        *(flat, late["share"] < 110 and grown < 10),
    )
    say("  resident, as ps shows it", f"{late['resident']:.0f} MB", flat, late["resident"] < 110)
    say(f"  grown since the first {options.memory_renders // 10:,}", f"{grown:.1f} MB")
    say("  the worker's main process, resident", f"{memory[1]['main']['resident']:.0f} MB")
    if not options.no_chromium:
        clock = bench_chromium(options.renders)
        share = clock["ours"] / clock["fresh"]
        say("ours, beside Chromium (clock)", f"{clock['ours']:.0f} ms")
        say("Chromium, one page kept", f"{clock['kept']:.0f} ms")
        say(
            "Chromium, a new context each",
            f"{clock['fresh']:.0f} ms, ours {share:.2f} of it",
            "at most a third",
            share <= 1 / 3,
        )
        say("Chromium, command line", f"{clock['command']:.0f} ms")


if __name__ == "__main__":
    main()
