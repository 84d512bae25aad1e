"""Serve what the demo left, until Ctrl-C."""

from __future__ import annotations

import json
import os
import time

from billing_worker.demo.place import FOLDER, load_place, require_port
from billing_worker.demo.processes import Processes

SANDBOX_PORT = 12111


def serve(*, port: int) -> int:
    """Web, worker with schedule, and sandbox over the finished demo's data. Comes back only by an interrupt."""
    place = load_place()
    require_port(port, name="PORT")
    sandbox_port = require_port(int(os.environ.get("SANDBOX_PORT", SANDBOX_PORT)), name="SANDBOX_PORT")
    env = place.build_environment(sandbox_port=sandbox_port, web_port=port)
    with Processes() as processes:
        processes.start_sandbox(port=sandbox_port, web_port=port, webhook_secret=place.webhook_secret)
        processes.start_web(port=port, env=env)
        processes.start_worker(env=env)
        print(f"\nConsole   http://127.0.0.1:{port}/admin/")
        print(f"Sandbox   http://127.0.0.1:{sandbox_port} (key {place.stripe_key})")
        print("Users")
        for user in json.loads((FOLDER / "users.json").read_text(encoding="utf-8")):
            print(f"  {user['role']:<10} {user['username']:<12} {user['password']}")
        print(f"Logs      {FOLDER / 'logs'}\nCtrl-C ends everything.", flush=True)
        while True:
            processes.require_alive()
            time.sleep(0.5)
