"""The table of all metrics, generated from their list (``docs/reference/metrics.md``)."""

from __future__ import annotations

from sanstream.telemetry import OTHER, PREFIX, WORDS, BoundedCounter, BoundedHistogram, metrics

_HEAD = """# Metrics

What the daemon serves on `/metrics`; base units. Generated from the list in `sanstream/telemetry.py` by
`python -m pipelines.references`. Beside these stand `process_*`: memory, processor time, open files.

No label ever holds a stream, a recording, a patient, a URL or a hash: names of feeds are the operator's own, all others
are the fixed words below, and what is none of them becomes `other`.

| metric | type | labels | |
|---|---|---|---|
"""


def metrics_reference() -> str:
    """Return the table as Markdown."""
    lines = []
    for name, metric in metrics().items():
        counted = issubclass(metric.kind, BoundedCounter)
        kind = "counter" if counted else "histogram" if issubclass(metric.kind, BoundedHistogram) else "gauge"
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{PREFIX}{name}{'_total' if counted else ''}` | {kind} | {labels} | {metric.text} |")
    words = [f"| `{label}` | {', '.join(sorted({*values, OTHER}))} |" for label, values in WORDS.items()]
    table = "\n| label | values |\n|---|---|\n| `feed` | names of feeds |\n"
    return _HEAD + "\n".join(lines) + "\n" + table + "\n".join(words) + "\n"
