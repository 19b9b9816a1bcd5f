"""The card of a reader: its facts, in sentences and tables, and nothing that was not measured."""

from __future__ import annotations

from layerwise.atlas._facts import DRAWS, Facts


def card(facts: Facts, size: int) -> str:
    """The card in Markdown.

    Args:
        facts: of the reader.
        size: bytes of its other files.
    """
    return "\n".join(
        [
            f"# Reads {facts.target}",
            "",
            *_what(facts),
            "",
            "## How well",
            "",
            *_score(facts),
            "",
            "## What it costs",
            "",
            *_costs(facts, size),
            "",
            "## Where it comes from",
            "",
            *_origin(facts),
            "",
            "## Limits",
            "",
            *_limits(facts),
            "",
        ]
    )


def _what(facts: Facts) -> list[str]:
    layers = ", ".join(f"`{layer}` ({pooling})" for layer, pooling in facts.columns)
    what = f"one of {len(facts.classes)} classes" if facts.classes else "a quantity"
    fusion = f" combined by {facts.fusion}," if facts.fusion else ""
    setting = "" if facts.setting is None else f" (setting {facts.setting:g})"
    lines = [
        f"It reads {facts.target}, {what}, off {layers} of {facts.network},{fusion} with the "
        f"readout {facts.readout}{setting}.",
    ]
    if facts.classes:
        lines += ["", f"Classes: {', '.join(facts.classes)}."]
    return lines


def _score(facts: Facts) -> list[str]:
    train, held, test = facts.samples
    rows = [
        "| on test samples | |",
        "|---|--:|",
        f"| {facts.quality.metric} | {facts.quality.score:.3f} |",
        f"| 95 % interval | {facts.quality.low:.3f} to {facts.quality.high:.3f} |",
        f"| knowing nothing | {facts.quality.chance:.3f} |",
    ]
    if facts.quality.calibration is not None:
        before, after = facts.quality.calibration
        rows += [
            f"| calibration error before | {before:.3f} |",
            f"| calibration error after | {after:.3f} |",
        ]
    if facts.quality.covered is not None:
        rows += [
            f"| quantities inside their {facts.level:.0%} interval | {facts.quality.covered:.1%} |"
        ]
    if facts.quality.draws is not None:
        low, high = facts.quality.draws
        rows += [f"| with {DRAWS} other draws of {facts.shots} a class | {low:.3f} to {high:.3f} |"]
    rows += [f"| called unfamiliar | {facts.quality.alarms:.1%} |"]
    return [
        *rows,
        "",
        f"{train} samples fitted it, {held} others chose its setting and calibrated it, and {test} "
        "more were only used for these numbers.",
    ]


def _costs(facts: Facts, size: int) -> list[str]:
    rows = [
        "| | whole network | cut |",
        "|---|--:|--:|",
        f"| parameters | {facts.parameters[0]:,} | {facts.parameters[1]:,} |",
        f"| MB in memory | {facts.bytes[0] / 1e6:.2f} | {facts.bytes[1] / 1e6:.2f} |",
    ]
    rows += [
        f"| milliseconds, batch of {batch} | {before:.2f} | {after:.2f} |"
        for batch, (before, after) in zip(facts.batches, facts.milliseconds, strict=True)
    ]
    machine = ", ".join(f"{name} {value}" for name, value in facts.machine.items())
    note = [f"Not all could be cut away: {facts.note}.", ""] if facts.note else []
    return [*rows, "", *note, f"The files take {size / 1e6:.2f} MB. Measured on: {machine}."]


def _origin(facts: Facts) -> list[str]:
    versions = ", ".join(f"{name} {value}" for name, value in facts.versions.items())
    return [
        f"- Network: `{facts.source}`. {facts.card}",
        f"- Weights of the whole network: SHA-256 `{facts.weights_sha256}`.",
        f"- Preparation: `{facts.preparation}`.",
        f"- Data: {facts.data}, SHA-256 over their content `{facts.data_sha256}`, split with seed "
        f"{facts.seed}.",
        f"- Made {facts.made} with {versions}.",
    ]


def _limits(facts: Facts) -> list[str]:
    lines = [
        f"- It knows the data above and no others. About {1 - facts.level:.0%} of samples like "
        "them are called unfamiliar by design; what is called familiar may be foreign too.",
        "- Scores hold for samples drawn like the test samples.",
    ]
    if facts.set_aside:
        lines.append(f"- {facts.set_aside} samples could not be read and are not counted.")
    if facts.truncated:
        lines.append(
            f"- {facts.truncated} texts were longer than the network takes; their ends were not "
            "read."
        )
    return lines
