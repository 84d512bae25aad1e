#!/usr/bin/env python3
"""Django's command line, with refused commands and bad settings told in plain lines."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_worker.settings")
    from django.core.management import execute_from_command_line

    from billing_worker.env import ConfigurationError

    try:
        execute_from_command_line(sys.argv)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
