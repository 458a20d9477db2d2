"""The reference of every key, generated from the settings themselves (``docs/reference/ingest-toml.md``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

from sanstream.config import (
    ArchiveSettings,
    FeedSettings,
    HttpSettings,
    Key,
    LimitSettings,
    RetrainSettings,
    keys_of,
)
from sanstream.config_values import literal
from sanstream.errors import InputError
from sanstream.feeds import feed_class, schemes
from sanstream.modality import MODALITIES

_HEAD = """# ingest.toml

Every key that `sanstream ingest --config ingest.toml` knows; unknown ones are refused. Generated from the settings by
`python -m pipelines.references`. `sanstream ingest --config ingest.toml --check` prints what is in force, connects to
every feed, and writes nothing but a trial file.

Durations are written `"90d"`, `"1h30m"`, `"5s"`, `"250ms"`; sizes `"4GiB"`, `"64MiB"`, `"10GB"`. Secrets stand in
environment variables, the file names these.
"""
_TABLES = (
    ("[archive]", ArchiveSettings),
    ("[[feed]]", FeedSettings),
    ("[retrain]", RetrainSettings),
    ("[http]", HttpSettings),
    ("[limits]", LimitSettings),
)
_OWN = """They stand in the feed's own `[[feed]]` table, or in its URL's query: `sim://ecg?streams=20&speed=10`.
Those that share a name with a common key stand in the query only.
"""
_COLUMNS = "| key | default | allowed | |\n|---|---|---|---|"


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [_HEAD]
    for head, table in _TABLES:
        rows = [_row(key) for key in keys_of(table).values()]
        about = str(table.__doc__).splitlines()[0].partition(": ")[2]
        parts.append(f"## {head}\n\n{about[:1].upper()}{about[1:]}\n\n{_COLUMNS}\n" + "\n".join(rows) + "\n")
        if table is ArchiveSettings:
            parts.append(_quality())
    parts.append(_identity())
    parts.append("## Keys of the feeds\n\n" + _OWN)
    parts += _feeds()
    return "\n".join(parts)


def _row(key: Key) -> str:
    if key.shown:
        default = key.shown
    else:
        default = "required" if key.default is MISSING else f"`{key.kind.write(key.default)}`"
    return f"| `{key.key}` | {default} | {_cell(key.kind.what)} | {_cell(key.help)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _quality() -> str:
    return f"""## [quality]

What every window and channel must keep. The key says for whom: `default`, a modality
({", ".join(MODALITIES)}), or a channel's label, wildcards allowed. A label that looks like a misspelt
one of these is refused; write it as `"[d]efualt"`.
A label goes before a modality, a modality before the default, a later label before an earlier one.

| key | default | allowed | |
|---|---|---|---|
| `default` | `"lossless"` | quality | `lossless`, `prdn=5`, `rmse=10uV`, `max-error=4adu`, `sparse`; not `bits` |
"""


def _identity() -> str:
    return """## [identity]

| key | default | allowed | |
|---|---|---|---|
| `map` | `{}` | table of texts | What any source calls itself to the recording's name; never printed. |

For `mllp:` a key may be, the first that fits: a patient's PID-3 whole (`MRN1^^^HOSP`) or its first component (`MRN1`),
the place PV1-3 whole or its first three components (`ICU^1^BED2`), the device in OBX-18 or PRT-10 (first component), or
the sender in MSH-3 (first component), where it is one bed. A message with neither a key here nor a device is refused
(`AE`): beds behind one gateway must not end in one recording. A device's recording goes on when its bed has another
patient; where it must not, map patients.
"""


def _feeds() -> Iterator[str]:
    common = keys_of(FeedSettings)
    for scheme in schemes():
        try:
            options: dict[str, tuple[type, Any, str]] = dict(feed_class(f"{scheme}://").OPTIONS)
        except InputError:
            continue
        lines = [f"### {scheme}:\n"]
        lines += [_COLUMNS] if options else ["None."]
        for name, (kind, default, text) in options.items():
            shown = f"?{name}=" if name in common else name
            lines.append(f"| `{shown}` | `{literal(default)}` | {kind.__name__} | {_cell(text)} |")
        yield "\n".join(lines) + "\n"
