"""What the demo shows: a line a step while it runs, a table at the end, and the same as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Step:
    """One step of the story: what it was, what came of it, how long it took."""

    name: str
    outcome: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold at the end."""

    name: str
    expected: str
    found: str
    passed: bool


def _make_console() -> Console:
    """As wide as the terminal; where there is none, wide enough for the table."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    return console


@dataclass(slots=True)
class Narration:
    """Collects steps and checks, and shows them as they come."""

    total_steps: int
    console: Console = field(default_factory=_make_console)
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step. Set `outcome` on what this yields; an error ends the line with the step's name and leaves."""
        step = Step(name)
        self.steps.append(step)
        number = f"[{len(self.steps):>2}/{self.total_steps}]"
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(f"{number} {name}"):
                yield step
        else:
            yield step
        step.seconds = time.monotonic() - started
        self.console.print(f"{number} {name:<44} {step.outcome:<60} {step.seconds:6.1f} s", soft_wrap=True)

    def check(self, name: str, *, expected: object, found: object) -> None:
        """Note that `found` must equal `expected`."""
        self.checks.append(Check(name, str(expected), str(found), expected == found))

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    def show_summary(self) -> None:
        """The table of checks."""
        table = Table(title="What the month came to", show_lines=False)
        for column in ("check", "expected", "found", ""):
            table.add_column(column, overflow="fold")
        for check in self.checks:
            mark = "[green]holds[/green]" if check.passed else "[red]FAILS[/red]"
            table.add_row(check.name, check.expected, check.found, mark)
        self.console.print(table)

    def write_report(self, path: Path, *, seconds: float, facts: dict[str, Any]) -> None:
        """The same as JSON, in place whole or not at all."""
        report = {
            "passed": not self.failed,
            "seconds": round(seconds, 1),
            "facts": facts,
            "checks": [asdict(check) for check in self.checks],
            "steps": [{**asdict(step), "seconds": round(step.seconds, 2)} for step in self.steps],
        }
        part = path.with_suffix(".part")
        part.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
