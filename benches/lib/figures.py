"""The charts of docs/plots, from the samples of a run."""

import machine
import plot
import tables
import workloads

FOLDER = machine.ROOT / "docs" / "plots"
VERBS = {"randread": "read", "randwrite": "write"}


def draw(samples, ours):
    """File names and SVG of the charts for which there are enough samples."""
    charts = {}
    for rw, verb in VERBS.items():
        charts[f"latency-{verb}.svg"] = latency(samples, rw, verb)
        charts[f"percentiles-{verb}.svg"] = percentiles(samples, rw, verb)
    charts["ratios.svg"] = ratios(samples, ours)
    return {name: chart for name, chart in charts.items() if chart}


def names(samples):
    """Everyone, in the order of the tables, so that a name has one colour in all charts."""
    return list(dict.fromkeys(name for taken in samples.values() for name in taken))


def latency(samples, rw, verb):
    """p50 against IOPS, a line for each target, a point for each depth."""
    series = {}
    for name in names(samples):
        points = []
        for depth in workloads.DEPTHS:
            taken = samples.get(workloads.row(rw, "4K", depth).key, {}).get(name)
            if taken:
                points.append((tables.median(taken, "iops"), tables.median(taken, "p50_us"), str(depth)))
        series[name] = points
    every = [point for points in series.values() for point in points]
    if len(every) < 2 * len(series):
        return None
    return plot.lines(f"Latency against IOPS of 4 KiB random {verb}s, by queue depth", "IOPS",
                      "p50, µs (logarithmic)", series, plot.Linear([x for x, _, _ in every]),
                      plot.Log([y for _, y, _ in every]))


def percentiles(samples, rw, verb):
    """Latency at each percentile that was measured."""
    taken = samples.get(workloads.row(rw, "4K", workloads.PERCENTILE_DEPTH).key, {})
    series = {}
    for name in names(samples):
        runs = [sample["percentiles_us"] for sample in taken.get(name, [])]
        series[name] = [(float(at), median_of(run[at] for run in runs), "") for at in (runs[0] if runs else [])]
    every = [point for points in series.values() for point in points]
    if not every:
        return None
    return plot.lines(f"Latency of 4 KiB random {verb}s at QD {workloads.PERCENTILE_DEPTH}, closed loop", "percentile",
                      "µs (logarithmic)", series, plot.Nines({x for x, _, _ in every}),
                      plot.Log([y for _, y, _ in every]))


def ratios(samples, ours):
    """Our IOPS over each peer's, for the workloads of the table."""
    peers = [name for name in names(samples) if name != ours]
    groups = {row.title: [tables.ratio(samples[row.key], ours, peer, "iops") for peer in peers]
              for row in workloads.TARGETS if row.key in samples}
    if not any(ratio for of_row in groups.values() for ratio in of_row):
        return None
    return plot.bars(f"IOPS of {ours}, as a multiple of its peers'", "times the peer's IOPS (logarithmic)", groups,
                     peers)


def median_of(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def save(charts):
    """Writes the charts; returns the lines that show them in the document."""
    FOLDER.mkdir(exist_ok=True)
    for name, chart in charts.items():
        (FOLDER / name).write_text(chart)
    return "\n\n".join(f"![{name.removesuffix('.svg').replace('-', ', ')}](plots/{name})" for name in charts)
