"""How fast invoices are printed, beside Chromium printing the same HTML in the same run.

    .venv/bin/python -m tests.bench.bench_pdf [--renders 100] [--no-chromium]

Times are medians of wall time after warming up. They depend on the machine: trust the ratios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from invoices.content import InvoiceContent


def _set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()


def measure(act: Callable[[], object], times: int) -> float:
    """Median milliseconds of a call."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        act()
        spent.append((time.perf_counter() - started) * 1000)
    return median(spent)


def render_for(seconds: float) -> int:
    """Print one-page invoices in this process until the time is up; how many."""
    _set_up()
    from invoices.rendering.pdf import render_pdf
    from tests.invoices.samples import build_content

    content = build_content()
    render_pdf(content)
    done = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        render_pdf(content)
        done += 1
    return done


def bench_processes(processes: int, seconds: float = 10) -> float:
    """Invoices a minute of that many worker processes at once."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        counts = pool.map(render_for, [seconds] * processes)
    return sum(counts) / seconds * 60


def bench_memory(content: InvoiceContent, renders: int) -> tuple[float, float]:
    """Resident memory in MB after a tenth of the renders, and after all of them."""
    from invoices.rendering.pdf import render_pdf

    first = 0.0
    for number in range(renders):
        render_pdf(content)
        if number == renders // 10:
            first = _read_resident()
    return first, _read_resident()


def _read_resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def bench_chromium(html: str, times: int) -> dict[str, float]:
    """The same HTML through Chromium: one page kept, a new context each time, the command line."""
    from playwright.sync_api import Browser

    from tests.support.browser import CHROMIUM_ARGUMENTS, find_chromium, open_chromium

    def print_new_context(browser: Browser) -> None:
        context = browser.new_context()
        page = context.new_page()
        page.set_content(html)
        page.pdf(format="Letter")
        context.close()

    with open_chromium() as browser:
        page = browser.new_page()

        def print_kept() -> None:
            page.set_content(html)
            page.pdf(format="Letter")

        print_kept()
        kept = measure(print_kept, times)
        fresh = measure(lambda: print_new_context(browser), max(times // 3, 3))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "invoice.html"
        source.write_text(html)
        command = [
            *(find_chromium(), "--headless", *CHROMIUM_ARGUMENTS, f"--user-data-dir={folder}/profile"),
            *("--no-pdf-header-footer", f"--print-to-pdf={folder}/out.pdf", source.as_uri()),
        ]

        def print_by_command() -> None:
            subprocess.run(command, check=True, capture_output=True, timeout=60)

        by_command = measure(print_by_command, max(times // 10, 3))
    return {"one page kept": kept, "a new context each": fresh, "command line": by_command}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--renders", type=int, default=100, help="one-page renders to time and to watch the memory of"
    )
    parser.add_argument("--no-chromium", action="store_true")
    options = parser.parse_args()
    _set_up()
    from invoices.rendering.pdf import render_html, render_pdf
    from tests.invoices.samples import VARIANTS, build_content, build_long

    content, twelve = build_content(), VARIANTS["twelve-lines"]()
    started = time.perf_counter()
    render_pdf(content)
    print(f"first render of a process   {(time.perf_counter() - started) * 1000:8.0f} ms")
    print(f"one page, 6 lines           {measure(lambda: render_pdf(content), options.renders):8.0f} ms")
    print(f"one page, 12 lines          {measure(lambda: render_pdf(twelve), options.renders):8.0f} ms")
    long = build_long(1500)
    print(f"1,500 lines, {render_pdf(long).pages} pages       {measure(lambda: render_pdf(long), 3):8.0f} ms")
    print(f"memory, peak so far         {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:8.0f} MB")
    for processes in (1, 2):
        print(f"{processes} process(es), one page    {bench_processes(processes):8.0f} invoices a minute")
    with multiprocessing.get_context("spawn").Pool(1, initializer=_set_up) as pool:
        early, late = pool.apply(bench_memory, (content, options.renders))
    print(
        f"memory of a worker          {late:8.0f} MB after {options.renders} renders ({early:.0f} MB after a tenth)"
    )
    if not options.no_chromium:
        for name, milliseconds in bench_chromium(render_html(content), options.renders // 3).items():
            print(f"Chromium, {name:18}{milliseconds:8.0f} ms")


if __name__ == "__main__":
    main()
