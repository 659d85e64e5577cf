"""From samples to tables. Everything is a median with its extremes: means hide what a noisy machine does."""

import statistics

import machine

# Shares of what a task can have of its CPU: all of it, or under SCHED_RR what the kernel allows.
# The generator polls, so it uses all it gets. With less than this, something else ran on its CPU; with more, it is
# what limits the row, unless the target is busy, too.
GENERATOR_BUSY = 0.95
TARGET_BUSY = 0.90

MARKS = {
    "n": "the machine was not quiet: steal, other processes' CPU time, or a load generator that did not get its CPU",
    "g": "the load generator had no CPU left and the target had: the target can do more than this",
}


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def spread(values, form):
    """`median (least–greatest)`."""
    values = list(values)
    return f"{form(statistics.median(values))} ({form(min(values))}–{form(max(values))})"


def is_noisy(sample):
    return (sample["steal"] > machine.MAX_STEAL or sample["foreign"] > machine.MAX_FOREIGN
            or sample["generator_cpu"] < GENERATOR_BUSY * sample["cpu_ceiling"])


def is_generator_bound(sample):
    ceiling = sample["cpu_ceiling"]
    return sample["generator_cpu"] > GENERATOR_BUSY * ceiling and sample["target_busy"] < TARGET_BUSY * ceiling


def marks(row, samples):
    """The letters of [`MARKS`] that hold for most of the samples."""
    def most(test):
        return 2 * sum(map(test, samples)) > len(samples)
    # With one command at a time both sides wait for each other; neither is the limit.
    bound = row.depth > 1 and most(is_generator_bound)
    return ("n" if most(is_noisy) else "") + ("g" if bound else "")


def ratios(ours, theirs):
    """How many times our rate is theirs: of the medians, and in each round."""
    paired = [a["iops"] / b["iops"] for a, b in zip(ours, theirs)]
    return {
        "of_medians": median(ours, "iops") / median(theirs, "iops"),
        "paired_median": statistics.median(paired),
        "paired_min": min(paired),
        "paired_max": max(paired),
    }


def thousands(number):
    return f"{number / 1e3:.1f} K" if number < 1e5 else f"{number / 1e3:.0f} K"


def markdown(header, rows, texts=1):
    """A table whose source is readable, too. The first `texts` columns are text, the others numbers."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]

    def line(cells):
        aligned = (cell.ljust(w) if i < texts else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths)))
        return "| " + " | ".join(aligned) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i < texts else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def results_table(rows, names, samples):
    """One line per workload and target."""
    header = ["workload", "target", "IOPS (least–greatest)", "MB/s", "p50 µs", "p99 µs", "busy µs/IO", "CPU µs/IO",
              "target busy", "generator CPU", "marks"]
    lines = []
    for row in rows:
        for name in names:
            taken = samples[row.key][name]
            lines.append([
                row.title, name, spread((s["iops"] for s in taken), thousands), f"{median(taken, 'mb_per_second'):.0f}",
                f"{median(taken, 'p50_us'):.0f}", f"{median(taken, 'p99_us'):.0f}",
                f"{median(taken, 'target_busy_us_per_io'):.1f}", f"{median(taken, 'target_cpu_us_per_io'):.1f}",
                f"{median(taken, 'target_busy'):.0%}", f"{median(taken, 'generator_cpu'):.0%}", marks(row, taken),
            ])
    return markdown(header, lines, texts=2)


def ratio_table(rows, names, samples):
    """How many times each peer's rate ours is."""
    ours, *peers = names
    header = ["workload", *(title for peer in peers for title in (f"× {peer}, medians", f"× {peer}, paired rounds"))]
    lines = []
    for row in rows:
        cells = [row.title]
        for peer in peers:
            ratio = ratios(samples[row.key][ours], samples[row.key][peer])
            cells += [f"{ratio['of_medians']:.2f}",
                      f"{ratio['paired_median']:.2f} ({ratio['paired_min']:.2f}–{ratio['paired_max']:.2f})"]
        lines.append(cells)
    return markdown(header, lines)


def legend(tables):
    """The marks that occur."""
    used = {letter for line in tables.splitlines() if line.startswith("|") for letter in line.split("|")[-2].strip()}
    return "\n".join(f"{letter}: {MARKS[letter]}." for letter in MARKS if letter in used)
