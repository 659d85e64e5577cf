"""From samples to tables. Everything is a median with its extremes: means hide what a noisy machine does."""

import statistics
from typing import NamedTuple

import machine

# Shares of what a task can have of its CPU: all of it, or under SCHED_RR what the kernel allows.
# The generator polls, so it uses all it gets; with less than this, something else ran on its CPU.
GENERATOR_CPU = 0.95
# Time in turns that found work. Whoever has more than this is what limits the row.
BUSY = 0.90

MARKS = {
    "n": "the machine was not quiet: steal, other processes' CPU time, or a load generator that did not get its CPU",
    "g": "the load generator was busy all the time and the target was not: the target can do more than this",
}


class Metric(NamedTuple):
    """What is compared: the name of its column, and its key in a sample."""

    title: str
    key: str


METRICS = {"iops": Metric("IOPS", "iops"), "busy": Metric("busy time per I/O", "target_busy_us_per_io"),
           "p99": Metric("p99", "p99_us")}


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def spread(values, form):
    """`median (least–greatest)`."""
    values = list(values)
    return f"{form(statistics.median(values))} ({form(min(values))}–{form(max(values))})"


def is_noisy(sample):
    return (sample["steal"] > machine.MAX_STEAL or sample["foreign"] > machine.MAX_FOREIGN
            or has_generator(sample) and sample["generator_cpu"] < GENERATOR_CPU * sample["cpu_ceiling"])


def has_generator(sample):
    """Whether the load came from a program of its own, whose CPU time is known."""
    return sample["generator_cpu"] is not None


def is_generator_bound(sample):
    ceiling = sample["cpu_ceiling"]
    return (has_generator(sample) and sample["generator_busy"] > BUSY * ceiling
            and sample["target_busy"] < BUSY * ceiling)


def marks(row, samples):
    """The letters of [`MARKS`] that hold for most of the samples."""
    def most(test):
        return 2 * sum(map(test, samples)) > len(samples)
    # With one command at a time both sides wait for each other; neither is the limit.
    bound = row.depth > 1 and most(is_generator_bound)
    return ("n" if most(is_noisy) else "") + ("g" if bound else "")


def ratio(taken, ours, theirs, metric):
    """Our median over theirs, or None where one of them is not known. `taken`: samples of one workload by name."""
    key = METRICS[metric].key
    sides = [taken.get(name) for name in (ours, theirs)]
    if not all(side and all(sample[key] for sample in side) for side in sides):
        return None
    return median(sides[0], key) / median(sides[1], key)


def paired(ours, theirs):
    """How many times our rate is theirs within each round."""
    return [a["iops"] / b["iops"] for a, b in zip(ours, theirs)]


def thousands(number):
    if number >= 1e6:
        return f"{number / 1e6:.2f} M"
    return f"{number / 1e3:.1f} K" if number < 1e5 else f"{number / 1e3:.0f} K"


def middle(samples, key, form):
    """The median in words; a dash where the program does not tell."""
    return form.format(median(samples, key)) if all(sample[key] is not None for sample in samples) else "–"


def markdown(header, rows, texts=1):
    """A table whose source is readable, too. The first `texts` columns are text, the others numbers."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]

    def line(cells):
        aligned = (cell.ljust(w) if i < texts else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths)))
        return "| " + " | ".join(aligned) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i < texts else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def results_table(rows, samples):
    """One line per workload and target."""
    header = ["workload", "target", "IOPS (least–greatest)", "MB/s", "p50 µs", "p99 µs", "busy µs/IO", "CPU µs/IO",
              "target busy", "generator busy", "marks"]
    lines = []
    for row in rows:
        for name, taken in samples[row.key].items():
            lines.append([
                row.title, name, spread((s["iops"] for s in taken), thousands),
                *(middle(taken, key, "{:.0f}") for key in ("mb_per_second", "p50_us", "p99_us")),
                *(middle(taken, key, "{:.2f}") for key in ("target_busy_us_per_io", "target_cpu_us_per_io")),
                *(middle(taken, key, "{:.0%}") for key in ("target_busy", "generator_busy")), marks(row, taken),
            ])
    return markdown(header, lines, texts=2)


def device_table(rows, samples):
    """The same for programs that make their own load."""
    header = ["workload", "who", "IOPS (least–greatest)", "p50 µs", "p99 µs", "CPU µs/IO", "marks"]
    lines = []
    for row in rows:
        for name, taken in samples[row.key].items():
            lines.append([
                row.title, name, spread((s["iops"] for s in taken), thousands),
                *(middle(taken, key, "{:.1f}") for key in ("p50_us", "p99_us")),
                middle(taken, "target_cpu_us_per_io", "{:.3f}"), marks(row, taken),
            ])
    return markdown(header, lines, texts=2)


def ratio_table(rows, ours, samples, metrics, goal):
    """Our medians over each peer's; bold where `goal(row key, peer, metric)` is a goal that is not met."""
    header = ["workload", "against", "× IOPS", "paired rounds", *(f"× {METRICS[name].title}" for name in metrics)]
    lines = []
    for row in rows:
        taken = samples[row.key]
        for peer in taken:
            # A variant of ours, such as "isere, lent", is not a peer.
            if peer.startswith(ours) or ours not in taken:
                continue
            cells = []
            for metric in ("iops", *metrics):
                value, wanted = ratio(taken, ours, peer, metric), goal(row.key, peer, metric)
                short = value is not None and wanted and not wanted.is_met(value)
                cells.append("–" if value is None else f"**{value:.2f}**" if short else f"{value:.2f}")
            cells.insert(1, spread(paired(taken[ours], taken[peer]), lambda n: f"{n:.2f}"))
            lines.append([row.title, peer, *cells])
    return markdown(header, lines, texts=2)


def legend(tables):
    """The marks that occur."""
    used = {letter for line in tables.splitlines() if line.startswith("|") for letter in line.split("|")[-2].strip()}
    return "\n".join(f"{letter}: {MARKS[letter]}." for letter in MARKS if letter in used)
