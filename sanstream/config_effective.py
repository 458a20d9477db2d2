"""Settings back to TOML, to be looked at: every key, defaults too; no secret and no source's own name is in it."""

from __future__ import annotations

from typing import Any

from sanstream.config import Settings, keys_of
from sanstream.config_values import literal, quoted


def effective(settings: Settings) -> str:
    """Return the configuration in force as TOML that reads back the same.

    Secrets are names of environment variables anyway; ``identity`` maps names of patients or devices and is only
    counted.
    """
    parts = [_table("[archive]", settings.archive)]
    parts.append("\n".join(["[quality]", *(f"{_bare(k)} = {quoted(v)}" for k, v in settings.quality.items())]))
    for feed in settings.feeds:
        lines = [_table("[[feed]]", feed), *(f"{_bare(k)} = {literal(v)}" for k, v in feed.options.items())]
        parts.append("\n".join(lines))
    parts += [_table(f"[{name}]", getattr(settings, name)) for name in ("retrain", "http", "limits")]
    parts.append(f"[identity]\nmap = {{}}  # {len(settings.identity)} names, not shown")
    return "\n\n".join(parts) + "\n"


def _table(head: str, table: Any) -> str:
    lines = [head]
    for key in keys_of(type(table)).values():
        value = getattr(table, key.attribute)
        if key.attribute == "identity":
            lines.append(f"identity = {{}}  # {len(value)} names, not shown")
        else:
            lines.append(f"{key.key} = {key.kind.write(value)}")
    return "\n".join(lines)


def _bare(key: str) -> str:
    return key if key and key.replace("_", "").replace("-", "").isalnum() and key.isascii() else quoted(key)
