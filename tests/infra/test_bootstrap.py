"""bin/bootstrap on machines that lack something, played by a PATH of stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

#: What a minimal Debian has; everything else is a stand-in or missing.
BASE_PROGRAMS = (
    *(
        "awk",
        "bash",
        "cat",
        "chmod",
        "comm",
        "cut",
        "dirname",
        "env",
        "flock",
        "grep",
        "head",
        "ls",
        "mkdir",
        "mv",
    ),
    *("paste", "readlink", "rm", "sed", "sha256sum", "sort", "tac", "tail", "tee", "timeout", "true"),
)
RUN_PACKAGES = (
    "fonts-dejavu-core fonts-droid-fallback fonts-morisawa-bizud-gothic fonts-nanum gcc "
    "libc6-dev libharfbuzz-subset0 libharfbuzz0b libmariadb-dev libpango-1.0-0 libpangoft2-1.0-0 "
    "pkg-config python3-dev python3-venv"
).split()
OPTIONAL_PACKAGE = "fonts-morisawa-bizud-gothic"
#: Answers like an interpreter of Debian's, and makes an environment whose pip and uv are stand-ins too.
PYTHON = """
case "$*" in
    "-I -") echo debian ;;
    *"-m venv "*)
        for folder; do :; done
        mkdir -p "$folder/bin"
        cp "$STANDINS/venv-python" "$folder/bin/python" ;;
esac
"""
VENV_PYTHON = """
echo "pip $*" >>"$CALLS"
case "$*" in
    *"pip install"*)
        if [ -e "$STANDINS/offline" ]; then echo "Temporary failure in name resolution" >&2; exit 1; fi
        cp "$STANDINS/uv" "${0%/*}/uv" ;;
    *"config get"*) exit 1 ;;
esac
"""
UV = """
echo "uv $*" >>"$CALLS"
case "$*" in
    --version) echo "uv $UV_VERSION" ;;
    venv*) mkdir -p .venv/bin; cp "$STANDINS/venv-python" .venv/bin/python ;;
    *"pip sync"*) if [ -e "$STANDINS/broken" ]; then echo "error: No space left on device (os error 28)"; exit 2; fi ;;
esac
"""


class Machine:
    """A checkout of the set-up alone, on a machine that has what `standins` says."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.path = folder / "path"
        self.calls_file = folder / "calls"
        self.policy_file = folder / "policy-rc.d"
        self.calls_file.touch()
        self.path.mkdir()
        (folder / "home").mkdir()
        shutil.copytree(ROOT / "bin", self.checkout / "bin")
        for lock in ROOT.glob("requirements*.lock"):
            shutil.copy(lock, self.checkout)
        for program in (*BASE_PROGRAMS, "cp", "id", "df"):
            (self.path / program).symlink_to(str(shutil.which(program)))
        version = (ROOT / "requirements-tools.lock").read_text().partition("\nuv==")[2].split()[0]
        self.environment = {
            "PATH": str(self.path),
            "HOME": str(folder / "home"),
            "BOOTSTRAP_PYTHON": "python3",
            "STANDINS": str(self.path),
            "CALLS": str(self.calls_file),
            "UV_VERSION": version,
            "BOOTSTRAP_POLICY_FILE": str(self.policy_file),
        }
        self.has("python3", PYTHON)
        self.has("venv-python", VENV_PYTHON)
        self.has("uv", UV)
        self.has("apt-get", 'echo "apt-get $* (policy: $(tail -n 1 "$BOOTSTRAP_POLICY_FILE"))" >>"$CALLS"')
        self.has("systemctl", 'echo "systemctl $*" >>"$CALLS"')
        self.has("sudo", 'echo "sudo $*" >>"$CALLS"; [ "$1" != -n ] || shift; exec "$@"')
        self.has_packages(*RUN_PACKAGES)

    def has(self, program: str, script: str) -> None:
        target = self.path / program
        target.unlink(missing_ok=True)
        target.write_text(f"#!/bin/bash\n{script}\n")
        target.chmod(0o755)

    def lacks(self, program: str) -> None:
        (self.path / program).unlink()

    def has_packages(self, *names: str) -> None:
        lines = "\n".join(f"{name} installed" for name in names)
        self.has("dpkg-query", f"cat <<'LIST'\n{lines}\nrc-only config-files\nLIST\nexit 1")

    def is_not_root(self) -> None:
        self.has("id", "echo 1000")

    def bootstrap(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / "bin" / "bootstrap", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()

    def calls_of(self, beginning: str) -> list[str]:
        return [call for call in self.calls if call.startswith(beginning)]

    def stamps(self) -> set[str]:
        folder = self.checkout / ".tools" / "stamps"
        return {stamp.name for stamp in folder.glob("python-*") if stamp.name != "python-is-debians"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_set_up_machine_is_left_alone_and_quickly(machine: Machine) -> None:
    assert machine.bootstrap("run").returncode == 0
    machine.calls_file.write_text("")

    before = os.times()
    again = machine.bootstrap("run")

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine.calls == []
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.5  # seconds of a core; usually 0.03
    assert machine.bootstrap("--check", "run").returncode == 0


def test_installs_exactly_the_locked_packages(machine: Machine) -> None:
    done = machine.bootstrap("run")

    assert done.returncode == 0, done.stderr
    (call,) = machine.calls_of("uv pip sync")
    assert call.startswith("uv pip sync --no-config --require-hashes --compile-bytecode ")
    assert call.endswith(" --build-constraints requirements-tools.lock requirements.lock")
    assert machine.calls_of("apt-get") == []
    assert machine.stamps() == {"python-run"}


def test_check_names_what_is_missing_and_changes_nothing(machine: Machine) -> None:
    machine.has_packages(*[name for name in RUN_PACKAGES if not name.startswith("libpango")])

    done = machine.bootstrap("--check", "run")

    assert done.returncode == 1
    assert "missing Debian packages: libpango-1.0-0 libpangoft2-1.0-0\n" in done.stdout
    assert machine.calls == []
    assert not (machine.checkout / ".tools").exists()


def test_debian_packages_come_with_sudo_remove_nothing_and_start_no_service(machine: Machine) -> None:
    machine.is_not_root()
    machine.has_packages(*RUN_PACKAGES, "mariadb-server-core", "postgresql")
    machine.has("chromium", "echo Chromium 1")

    done = machine.bootstrap("dev")

    assert done.returncode == 0, done.stderr
    assert "with sudo" in done.stdout
    update, install = machine.calls_of("apt-get")
    assert " update " in update
    assert (
        " install --no-install-recommends --no-remove poppler-utils redis-server (policy: exit 101)"
        in install
    )
    assert not machine.policy_file.exists()
    assert machine.calls_of("systemctl") == ["systemctl --quiet disable redis-server"]
    assert {call.split()[1] for call in machine.calls_of("sudo")} == {"-n"}


def test_a_policy_of_the_machines_own_is_left_alone(machine: Machine) -> None:
    machine.policy_file.write_text("#!/bin/sh\nexit 0\n")
    machine.has_packages(*[name for name in RUN_PACKAGES if name != "gcc"])

    assert machine.bootstrap("run").returncode == 0

    assert "(policy: exit 0)" in machine.calls_of("apt-get")[1]
    assert machine.policy_file.read_text() == "#!/bin/sh\nexit 0\n"


def test_without_sudo_it_says_what_an_administrator_has_to_run(machine: Machine) -> None:
    machine.is_not_root()
    machine.lacks("sudo")
    machine.has_packages(*[name for name in RUN_PACKAGES if name != "gcc"])

    done = machine.bootstrap("run")

    assert done.returncode == 2
    assert done.stderr == (
        "bootstrap: Debian packages are missing and there is no sudo here; "
        "ask an administrator for: apt-get install --no-install-recommends gcc\n"
    )
    assert machine.stamps() == set()


def test_a_sudo_that_wants_a_password_without_a_terminal_is_refused(machine: Machine) -> None:
    machine.is_not_root()
    machine.has("sudo", "exit 1")
    machine.has_packages(*[name for name in RUN_PACKAGES if name != "gcc"])

    done = machine.bootstrap("run")

    assert done.returncode == 2
    assert "sudo wants a password; ask an administrator for: apt-get install" in done.stderr


def test_an_optional_package_is_installed_where_the_release_has_it(machine: Machine) -> None:
    machine.has_packages(*[name for name in RUN_PACKAGES if name != OPTIONAL_PACKAGE])
    machine.has("apt-cache", "exit 0")

    assert machine.bootstrap("run").returncode == 0

    assert f"--no-remove {OPTIONAL_PACKAGE} " in machine.calls_of("apt-get")[1]
    assert not (machine.checkout / ".tools/stamps" / f"without-{OPTIONAL_PACKAGE}").exists()


def test_a_release_without_an_optional_package_is_set_up_without_it_and_asked_once(machine: Machine) -> None:
    machine.has_packages(*[name for name in RUN_PACKAGES if name not in (OPTIONAL_PACKAGE, "gcc")])
    machine.has("apt-cache", "exit 100")

    done = machine.bootstrap("run")

    assert done.returncode == 0, done.stderr
    assert f"going on without {OPTIONAL_PACKAGE}: this release does not have it" in done.stdout
    assert "--no-remove gcc (" in machine.calls_of("apt-get")[1]
    machine.has_packages(*[name for name in RUN_PACKAGES if name != OPTIONAL_PACKAGE])
    machine.calls_file.write_text("")
    assert machine.bootstrap("run").stdout == ""
    assert machine.calls == []


def test_an_optional_package_alone_needs_no_administrator(machine: Machine) -> None:
    machine.is_not_root()
    machine.lacks("sudo")
    machine.has_packages(*[name for name in RUN_PACKAGES if name != OPTIONAL_PACKAGE])

    done = machine.bootstrap("run")

    assert done.returncode == 0, done.stderr
    assert f"going on without {OPTIONAL_PACKAGE}: ask an administrator to install it" in done.stdout
    assert machine.calls_of("apt-get") == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'it is 3.9'", "python3: it is 3.9"),
        ("echo 'it has no Python.h'", "python3: it has no Python.h"),
        ("exit 127", "python3: it does not run"),
    ],
)
def test_an_unfit_python_is_refused_with_its_reason(machine: Machine, script: str, reason: str) -> None:
    machine.has("python3", script)

    done = machine.bootstrap("run")

    assert done.returncode == 2
    assert "Python 3.11 or newer is needed" in done.stderr
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_network_it_says_so_in_one_line(machine: Machine) -> None:
    (machine.path / "offline").touch()

    done = machine.bootstrap("run")

    assert done.returncode == 2
    assert done.stderr.startswith(
        "bootstrap: installing uv failed: no way to the package servers; check the network"
    )
    assert done.stderr.count("\n") == 1
    assert machine.stamps() == set()


def test_a_half_finished_set_up_is_done_again(machine: Machine) -> None:
    (machine.path / "broken").touch()
    failed = machine.bootstrap("run")
    assert failed.returncode == 2
    assert (
        failed.stderr == "bootstrap: uv pip sync failed: the disk is full; free some space and run it again\n"
    )
    assert machine.stamps() == set()
    assert machine.bootstrap("--check", "run").returncode == 1

    (machine.path / "broken").unlink()

    assert machine.bootstrap("run").returncode == 0
    assert machine.stamps() == {"python-run"}


def test_a_nearly_full_disk_is_refused_before_anything_is_fetched(machine: Machine) -> None:
    machine.has("df", "echo head; echo /dev/disk 100 88 12 88% /")

    done = machine.bootstrap("run")

    assert done.returncode == 2
    assert "need 700 MB" in done.stderr
    assert "12 MB are free" in done.stderr
    assert machine.calls == []


def test_the_demo_keeps_the_test_tools(machine: Machine) -> None:
    machine.has_packages(*RUN_PACKAGES, "mariadb-server-core", "postgresql", "poppler-utils", "redis-server")
    machine.has("chromium", "echo Chromium 1")
    assert machine.bootstrap("dev").returncode == 0
    machine.calls_file.write_text("")

    assert machine.bootstrap("run").returncode == 0
    assert machine.calls == []

    # A changed lock brings the environment up to date as what it is, not as less.
    with (machine.checkout / "requirements-dev.lock").open("a") as lock:
        lock.write("# changed\n")
    assert machine.bootstrap("run").returncode == 0
    assert [call.split()[-1] for call in machine.calls_of("uv pip sync")] == ["requirements-dev.lock"]


def test_pips_mirror_is_used(machine: Machine) -> None:
    machine.environment["PIP_INDEX_URL"] = "https://mirror.example.com/simple"
    machine.has("uv", UV + '\necho "index $UV_DEFAULT_INDEX" >>"$CALLS"')

    assert machine.bootstrap("run").returncode == 0

    assert machine.calls_of("index")[-1] == "index https://mirror.example.com/simple"


def test_a_moved_checkout_is_set_up_anew(machine: Machine) -> None:
    assert machine.bootstrap("run").returncode == 0
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("moved"))
    assert machine.bootstrap("--check", "run").returncode == 1


def test_an_unknown_word_is_refused(machine: Machine) -> None:
    done = machine.bootstrap("deploy")
    assert done.returncode == 2
    assert "usage: bin/bootstrap" in done.stderr
