"""User instructions per I/O, from the engine inside valgrind's callgrind, which counts them exactly."""

import collections
import re
import subprocess
import time

import load
import targets

# Under callgrind everything takes fifty times as long.
SETTLE_SECONDS = 2
# Copies and fills are counted apart. Valgrind counts every round of a `rep` instruction, so that a fill of 4 KiB may
# look like four thousand instructions.
MEMORY_FUNCTION = re.compile(r"_*(mem|bcmp|bcopy)\w*")


class Instrumented(targets.Metered):
    """This engine inside callgrind."""

    name = "isere-callgrind"

    def spawn(self, command, **options):
        valgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes",
                    f"--callgrind-out-file={self.directory}/out",
                    # Valgrind runs one thread at a time: the polling one must not keep the others out.
                    "--fair-sched=yes"]
        super().spawn([*valgrind, *command], **options)

    def empty_turn(self, seconds):
        """Instructions of a turn of the reactor that finds nothing, by function."""
        return self.window(seconds).per("turns")

    def per_io(self, isere, lun, row, cpu, seconds, empty_turn):
        """Instructions of the reactor for one I/O by function, without those of turns that found nothing."""
        running = load.start(isere, self.lun_url(lun), cpu, row, 10 * seconds + 60, 0)
        try:
            time.sleep(SETTLE_SECONDS)
            window = self.window(seconds)
        finally:
            running.kill()
            running.communicate()
        empty_turns_per_io = (window.turns - window.busy_turns) / max(1, window.ios)
        return {name: cost - empty_turns_per_io * empty_turn.get(name, 0) for name, cost in window.per("ios").items()}

    def window(self, seconds):
        """The difference of a long and a short time: what it costs to open and to close one is in both."""
        short = self.plain_window(seconds)
        return self.plain_window(3 * seconds).minus(short)

    def plain_window(self, seconds):
        self.control("--zero")
        before = self.metrics()
        time.sleep(seconds)
        after = self.metrics()
        self.control("--dump")
        return Window(self.newest_dump(), *(after[name] - before[name] for name in (
            "isere_iscsi_commands_total", "isere_poller_polls_total", "isere_poller_busy_polls_total")))

    def control(self, what):
        subprocess.run(["callgrind_control", what, str(self.pid)], check=True, capture_output=True, timeout=60)

    def newest_dump(self):
        """Of the thread that ran most: the one that polls. Files are named out.PART-THREAD."""
        part = max(int(path.name.split(".")[1].split("-")[0]) for path in self.directory.glob("out.*-*"))
        dumps = [own_costs(path.read_text(errors="replace")) for path in self.directory.glob(f"out.{part}-*")]
        return max(dumps, key=lambda costs: sum(costs.values()))


class Window:
    """What was counted in some time: instructions by function, I/Os, turns, and turns that found something."""

    def __init__(self, costs, ios, turns, busy_turns):
        self.costs, self.ios, self.turns, self.busy_turns = costs, ios, turns, busy_turns

    def minus(self, other):
        costs = {name: cost - other.costs.get(name, 0) for name, cost in self.costs.items()}
        return Window(costs, self.ios - other.ios, self.turns - other.turns, self.busy_turns - other.busy_turns)

    def per(self, what):
        """Instructions by function for each of `what`."""
        count = getattr(self, what)
        if count <= 0:
            raise load.Failed(f"valgrind saw too few {what}: give it more --time")
        return {name: cost / count for name, cost in self.costs.items()}


def own_costs(text):
    """Instructions by function, without those of the functions it calls, from callgrind's file format."""
    names, costs = {}, collections.Counter()
    function, of_callee = "", False
    for line in text.splitlines():
        named = re.fullmatch(r"(c?fn)=\((\d+)\)(?: (.*))?", line)
        if named:
            if named[3]:
                names[named[2]] = named[3]
            if named[1] == "fn":
                function = named[2]
        elif line.startswith("calls="):
            of_callee = True
        elif re.fullmatch(r"[-+*\d]\S* \d+", line):
            # The line behind `calls=` is what the call cost, which is counted where it was spent.
            if not of_callee:
                costs[function] += int(line.split()[1])
            of_callee = False
    merged = collections.Counter()
    for number, cost in costs.items():
        merged[names.get(number, number)] += cost
    return merged


def split(costs):
    """Instructions of code, and of copies and fills."""
    memory = sum(cost for name, cost in costs.items() if MEMORY_FUNCTION.fullmatch(name))
    return sum(costs.values()) - memory, memory
