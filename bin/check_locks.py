"""Hold the lock files against pyproject.toml, without the network.

Checked: every requirement has a pinned version that satisfies it, every pin has hashes, the two locks agree, and
nothing is pinned that no requirement leads to (judged by the metadata of what is installed). `make lock` mends it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: *; *(?P<marker>[^\\]+?))? *\\?$")


class Pin:
    """One pinned version of a lock file."""

    def __init__(self, name: str, version: str, marker: str | None) -> None:
        self.name = canonicalize_name(name)
        self.version = Version(version)
        self.applies = marker is None or Marker(marker).evaluate()
        self.hashes = 0


def read_lock(path: Path) -> list[Pin]:
    """The pins of a lock file, for this and for other platforms."""
    pins: list[Pin] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := PIN.match(line):
            pins.append(Pin(match["name"], match["version"], match["marker"]))
        elif line.startswith("    --hash=sha256:"):
            pins[-1].hashes += 1
        elif line.strip() and not line.startswith("#"):
            raise SystemExit(f"{path.name}: not a pin: {line}")
    return pins


def find_faults(lock: str, pins: list[Pin], requirements: list[Requirement]) -> Iterator[str]:
    """One line for each thing wrong with one lock file."""
    for pin in pins:
        if not pin.hashes:
            yield f"{lock}: {pin.name} has no hash"
    pinned = {pin.name: pin.version for pin in pins if pin.applies}
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate():
            continue
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{lock}: {requirement.name} is required and not pinned"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{lock}: {requirement.name} is pinned to {version}, required is {requirement.specifier}"
    for name in sorted(set(pinned) - reach(requirements)):
        yield f"{lock}: {name} is pinned and nothing requires it"


def reach(requirements: Iterable[Requirement]) -> set[str]:
    """Names of everything that the requirements lead to here, extras included."""
    waiting = list(requirements)
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needed = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            for text in needed:
                child = Requirement(text)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    waiting.append(child)
    return {name for name, _ in seen}


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    run = [Requirement(text) for text in project["project"]["dependencies"]]
    dev = [*run, *(Requirement(text) for text in project["dependency-groups"]["dev"])]
    locks = {name: read_lock(ROOT / name) for name in ("requirements.lock", "requirements-dev.lock")}
    faults = [
        *find_faults("requirements.lock", locks["requirements.lock"], run),
        *find_faults("requirements-dev.lock", locks["requirements-dev.lock"], dev),
    ]
    tested = {(pin.name, pin.version) for pin in locks["requirements-dev.lock"]}
    faults += [
        f"requirements.lock: {pin.name} {pin.version} is not what requirements-dev.lock tests"
        for pin in locks["requirements.lock"]
        if (pin.name, pin.version) not in tested
    ]
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print("run: make lock", file=sys.stderr)
        return 1
    print(f"lock files agree with pyproject.toml: {len(tested)} pins")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
