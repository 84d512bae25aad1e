"""Lists of account ids as people type them."""

from __future__ import annotations

from billing_worker.core.errors import InvalidInput


def parse_account_ids(text: str, *, name: str, field: str = "") -> list[int]:
    """Ids separated by commas or spaces. `name` is what people call what they typed, `field` what the form does.

    Raises:
        InvalidInput: something that is no id.
    """
    parts = text.replace(",", " ").split()
    if bad := [part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 18)]:
        raise InvalidInput(
            f"{name} takes account ids, not {', '.join(bad)}", fields={field or name: ["is no account id"]}
        )
    return [int(part) for part in parts]
