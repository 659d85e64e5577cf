"""A model of what an I/O costs on several cores, fitted to what was counted on two."""

import dataclasses

import plot
import tables

CORES = [1, 2, 4, 8, 16, 32, 64]
# A cache line from another socket, in lines of the same one: an assumption, nothing here has two sockets.
FAR = 4


@dataclasses.dataclass
class Model:
    """Nanoseconds."""

    local: float
    # Of an I/O on a device of another core: for the core of the connection, and for the core of the device.
    client: float
    owner: float
    # The part of both that is waiting for cache lines.
    lines: float
    instruction: float
    line: float
    message: float

    def cost(self, cores, factor=1):
        """Of all cores together, when the device of an I/O is as likely on one as on another."""
        remote = self.client + self.owner + (factor - 1) * self.lines
        return self.local / cores + remote * (cores - 1) / cores

    def rates(self, cores):
        """I/Os a second: devices of every core; one device a core; one device on one core."""
        spread = cores / self.cost(cores)
        # The owner serves its own share of the connections, and everybody's I/Os.
        alone = self.local / cores + self.owner * (cores - 1) / cores
        return [1e9 * cores / self.local, 1e9 * spread, 1e9 * min(spread, 1 / alone)]

    def describe(self):
        return (f"Fitted: {self.instruction:.3f} ns for an instruction, {self.line:.0f} ns for a line from another "
                f"core's cache, {self.local:.0f} ns for a local read, {self.client:.0f} + {self.owner:.0f} ns for "
                "one on another core's device (its connection's core + its device's core), "
                f"{self.lines:.0f} ns of that waiting for lines. A message there and one back took "
                f"{self.message:.0f} ns between two CPUs that wait for nothing else.")

    def table(self):
        rows = []
        for cores in CORES:
            every, spread, alone = self.rates(cores)
            rows.append([cores, f"{(cores - 1) / cores:.2f}", f"{self.local:.0f}", f"{self.cost(cores):.0f}",
                         f"{self.cost(cores, FAR):.0f}", *(f"{rate / 1e6:.1f}" for rate in (every, spread, alone))])
        return tables.markdown(["cores", "share remote", "ns per I/O, local", "ns per I/O, remote share",
                                f"the same, lines × {FAR}", "M IOPS, local", "M IOPS, a device per core",
                                "M IOPS, one device on one core"], rows)

    def chart(self):
        names = ["every core its own channel", "one device per core", "one device on one core"]
        series = {name: [(cores, self.rates(cores)[at] / 1e6, "") for cores in CORES] for at, name in enumerate(names)}
        highest = max(up for points in series.values() for _, up, _ in points)
        lowest = min(up for points in series.values() for _, up, _ in points)
        title = "Model, not a measurement: 4 KiB reads over iSER against cores"
        return plot.lines(title, "cores", "million IOPS", series,
                          plot.Log([CORES[0], CORES[-1]]), plot.Log([lowest, highest]))


def fit(cases, ring, runs):
    """`cases` are counts, `ring` is what lines and messages take, `runs` are timed local reads on one core."""
    by_name = {case.name: case for case in cases}
    local, remote = by_name["read, local"], by_name["read, remote"]
    # The other core finds nothing in its turns; they are timed with the others, and divided among the same I/Os.
    nanos = min(float(window["nanos"]) / float(window["ended"]) for run in runs for window in run if "nanos" in window)
    instruction = nanos / sum(local.instructions)
    line = ring["line_p10"] / 2
    waits = [line * (fetched + taken) for fetched, taken in zip(remote.fetched, remote.taken)]
    client, owner = (instruction * count + wait for count, wait in zip(remote.instructions, waits))
    return Model(instruction * local.instructions[0], client, owner, sum(waits), instruction, line,
                 ring["message_p10"])
