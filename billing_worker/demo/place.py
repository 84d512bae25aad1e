"""Where the demo lives, which ports it takes, and the environment of every process in it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
#: Everything the demo makes is in here; `DEMO_FOLDER` puts it elsewhere.
FOLDER = Path(os.environ.get("DEMO_FOLDER") or ROOT / "var" / "demo").resolve()
LOCK = FOLDER.with_name(f"{FOLDER.name}.lock")
COMPLETE = FOLDER / "complete.json"


class DemoError(Exception):
    """The demo can't go on. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """One demo's settings, kept beside its data so that `make run` serves exactly what `make demo` left."""

    period: str
    seed: int
    webhook_secret: str
    django_secret: str
    stripe_key: str

    @property
    def legacy_database(self) -> str:
        return f"sqlite:///{FOLDER / 'legacy.sqlite3'}"

    def build_environment(self, *, sandbox_port: int, web_port: int) -> dict[str, str]:
        """The environment of web, worker and commands: the embedded default, with the sandbox as Stripe."""
        from billing_worker.env import Environment

        inherited = {
            name: value for name, value in os.environ.items() if name not in Environment.model_fields
        }
        return inherited | {
            "DJANGO_SETTINGS_MODULE": "billing_worker.settings",
            "VAR_DIR": str(FOLDER),
            "DJANGO_SECRET_KEY": self.django_secret,
            "PUBLIC_URL": f"http://127.0.0.1:{web_port}",
            "STRIPE_API_BASE": f"http://127.0.0.1:{sandbox_port}",
            "STRIPE_SECRET_KEY": self.stripe_key,
            "STRIPE_WEBHOOK_SECRET": self.webhook_secret,
            "BILLING_BCC_ADDRESS": "crm@billing.example.com",
            "SHADOW": "false",
            "BILL_FROM": f"{self.period}-01T00:00:00Z",
            "LOG_LEVEL": "INFO",
            "PYTHONUNBUFFERED": "1",
        }

    def mark_complete(self) -> None:
        """Written last and at once: a folder without it is never served."""
        part = COMPLETE.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        part.replace(COMPLETE)


def make_place(*, period: str, seed: int) -> Place:
    """An empty demo folder; whatever an earlier run left, whole or not, is gone."""
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    FOLDER.mkdir(parents=True)
    return Place(
        period=period,
        seed=seed,
        webhook_secret=f"whsec_{secrets.token_hex(24)}",
        django_secret=secrets.token_urlsafe(50),
        stripe_key=f"sk_test_{secrets.token_hex(24)}",
    )


def load_place() -> Place:
    """What a finished demo left.

    Raises:
        DemoError: no demo has finished here.
    """
    try:
        return Place(**json.loads(COMPLETE.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DemoError("there is nothing to serve yet: run `make demo` first") from None
    except (ValueError, TypeError):
        raise DemoError(f"{COMPLETE} can't be read: run `make demo` again") from None


@contextmanager
def hold_place() -> Iterator[None]:
    """One demo or server at a time in this folder.

    Raises:
        DemoError: another one is running.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                "a demo is running in this folder: end it (Ctrl-C there), then try again"
            ) from None
        yield


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_port(port: int, *, name: str) -> int:
    """The port, if nothing listens there.

    Raises:
        DemoError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DemoError(
                f"port {port} on 127.0.0.1 is in use: end what listens there, or choose another with {name}=..."
            ) from None
    return port
