"""`python -m billing_worker.demo`: run the story. `python -m billing_worker.demo serve`: serve what it left."""

from __future__ import annotations

import argparse
import os
import sys

from billing_worker.demo.place import DemoError, hold_place


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m billing_worker.demo", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "serve"], default="run")
    parser.add_argument(
        "--period", default="2026-10", help="The month that is billed (default: %(default)s)."
    )
    parser.add_argument(
        "--seed", type=int, default=20261001, help="Seed of the legacy sample (default: %(default)s)."
    )
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("PORT", "8000")), help="Port of `serve`."
    )
    options = parser.parse_args()
    try:
        with hold_place():
            if options.command == "serve":
                from billing_worker.demo.serve import serve

                return serve(port=options.port)
            from billing_worker.demo.story import run_story

            return run_story(period=options.period, seed=options.seed)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: interrupted; every process that it started has ended", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
