"""What two cores take from each other's caches, from valgrind's lackey, which tells of every access.

The caches are taken to be endless: a line is fetched when the other core has written it since it was here, and taken
back when it is written while the other core has it, too. So what is counted is what sharing costs and nothing else.
"""

import collections
import concurrent.futures
import dataclasses
import os

import layers
import lines

LINE = lines.LINE
# Commands of the first window; the second has twice as many.
COUNT = 64
# Where valgrind puts the stack of a program's only thread. Here both cores' turns use it; cores have one each.
STACK = range(0x1FF0000000, 0x2000000000)
ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load",
}


def io(direction, device, serving, depth=32):
    return ["io", "--direction", direction, "--device", device, "--serving", str(serving), "--depth", str(depth)]


CASES = {
    "read, local": io("read", "local", 1),
    "read, local, both cores serve": io("read", "local", 2),
    "write, local, both cores serve": io("write", "local", 2),
    "read, remote": io("read", "remote", 1),
    "write, remote": io("write", "remote", 1),
    "read, remote, QD 1": io("read", "remote", 1, 1),
}


@dataclasses.dataclass
class Case:
    """Per I/O; pairs are of core 0, which has the connection, and of core 1, which has the device if it is remote."""

    name: str
    messages: int
    instructions: list
    # Lines a core waits for because the other one wrote them, and lines it takes away from the other one.
    fetched: list
    taken: list


class Trace(lines.Trace):
    """One run: what each counted turn executed, read and wrote. Turns are core 0's and core 1's alternately."""

    @staticmethod
    def accesses(turn):
        """Instructions by address, and (instruction, line, written) of every access."""
        executed, found, instruction = collections.Counter(), set(), 0
        for line in turn.splitlines():
            address, _, size = line[3:].partition(b",")
            address, written = int(address, 16), line[1:2] in (b"S", b"M")
            if line[:1] == b"I":
                instruction = address
                executed[address] += 1
            else:
                for touched in {address // LINE, (address + int(size) - 1) // LINE}:
                    found.add((instruction, touched, written))
        # `run` looks instructions up by pairs.
        return Turn(executed, found)

    def lines(self, turn, payload):
        """The instructions, without provider and libraries; the lines and whether they were written, without those of
        provider and payload."""
        def chain(at):
            return [] if self.is_provider(at) else self.sources.chain((self.program, at - self.base))

        def is_apart(line):
            return line * LINE in STACK or any(begin <= line * LINE < end for begin, end in payload)
        touched = collections.defaultdict(bool)
        for at, line, written in turn.found:
            if not self.is_provider(at) and not is_apart(line):
                touched[line] |= written
        known = (times for at, times in turn.executed.items() if any(file != "??" for file, _ in chain(at)))
        return sum(known), dict(touched)

    def is_provider(self, at):
        if at not in self.providers:
            self.providers[at] = self.sources.is_provider((self.program, at - self.base), "")
        return self.providers[at]


@dataclasses.dataclass
class Turn:
    executed: collections.Counter
    found: set

    def __iter__(self):
        return ((at, None) for at in self.executed)


class Caches:
    """Two endless caches."""

    def __init__(self, turns):
        toucher = collections.defaultdict(set)
        written = set()
        for number, (_, touched) in enumerate(turns):
            for line, write in touched.items():
                toucher[line].add(number % 2)
                if write:
                    written.add(line)
        self.shared = {line for line, cores in toucher.items() if len(cores) == 2 and line in written}
        self.holders = {}
        self.fetched, self.taken = [0, 0], [0, 0]

    def touch(self, core, line, write):
        # Nothing is known of what went before: the other core had it last, as it will the next time.
        holders = self.holders.setdefault(line, {1 - core})
        if core not in holders:
            self.fetched[core] += 1
        elif write and len(holders) == 2:
            self.taken[core] += 1
        self.holders[line] = {core} if write else holders | {core}


def count(program):
    """Every case."""
    sources = layers.Sources(program)
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda name: one(program, sources, name), CASES))


def one(program, sources, name):
    turns, ended = Trace(program, sources, ENVIRONMENT).run([*CASES[name], "--count", str(COUNT)])
    caches, instructions = Caches(turns), [0, 0]
    for number, (executed, touched) in enumerate(turns):
        instructions[number % 2] += executed
        for line, write in touched.items():
            if line in caches.shared:
                caches.touch(number % 2, line, write)
    per = [[value / ended for value in pair] for pair in (instructions, caches.fetched, caches.taken)]
    return Case(name, 2 if "remote" in name else 0, *per)
