"""The report in Markdown, section by section."""

import goals
import machine
import tables
import workloads

OURS = "isere"
NOISY = "**The machine was not quiet: take these numbers for a sign of life, not for a result.**"
SHORT = "Bold: short of its goal."


def rows_of(section, samples):
    """The workloads of a table that were measured."""
    rows = workloads.TARGETS if section == "peers" else workloads.SECTIONS[section]
    return [row for row in rows if row.key in samples]


def describe(section, samples, facts, settings):
    """One section. `facts`: the banner, and what the run added to it."""
    every = [sample for taken in samples.values() for runs in taken.values() for sample in runs]
    rows = rows_of(section, samples)
    rounds = "1 round" if settings["rounds"] == 1 else f"{settings['rounds']} rounds"
    steal, foreign = (max(sample[key] for sample in every) for key in ("steal", "foreign"))
    parts = [
        f"{machine.describe(facts)} {rounds} of {settings['seconds']} s after {settings['warmup']} s of warm-up"
        f"{', under SCHED_RR' if settings['realtime'] else ''}. At worst {steal:.1%} steal and {foreign:.0%} of a CPU "
        "used by others. Versions: "
        + ", ".join(f"{name} {version}" for name, version in facts["versions"][section].items()) + "."
        + "".join(f" {note}." for note in facts["notes"][section]),
    ]
    if not is_quiet(facts, every):
        parts.append(NOISY)
    if not rows:
        return "\n\n".join(parts) + "\n"
    table = (tables.results_table if section == "peers" else tables.device_table)(rows, samples)
    metrics = {"peers": ("busy", "p99"), "block-layer": (), "files": ("p99",)}[section]
    ratios = tables.ratio_table(rows, OURS, samples, metrics, lambda *which: goals.find(section, *which))
    parts += [table, tables.legend(table), ratios, SHORT if "**" in ratios else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def is_quiet(facts, samples):
    """Whether the machine was, before and for most of the runs."""
    return facts["quiet"] and 2 * sum(map(tables.is_noisy, samples)) <= len(samples)
