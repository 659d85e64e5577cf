"""What callgrind counted: instructions by address, system calls by function, and what copies cost by call."""

import collections
import dataclasses
import re
import struct
import subprocess

# The C library's functions that move or compare memory, whatever variant the processor gets.
MEMORY_FUNCTION = re.compile(r"_*(mem(cpy|move|set|cmp|chr)|bcmp)\w*(@\S*)?( \[clone.*\])?'?\d*")
# A call of one of them that costs more instructions than this moves a payload: headers and slots take fewer than a
# hundred, 4 KiB more than five hundred.
PAYLOAD_CALL = 250


@dataclasses.dataclass
class Profile:
    """The costs of one window."""

    # (object, address) → instructions, and which function the address is in.
    instructions: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    functions: dict = dataclasses.field(default_factory=dict)
    # Function → calls the kernel got from it.
    system_calls: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    # Where a copy or fill is called → times, and the instructions that took.
    copies: collections.defaultdict = dataclasses.field(default_factory=lambda: collections.defaultdict(Copies))
    # Function → from where it is called → times.
    callers: collections.defaultdict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.Counter))

    @property
    def total(self):
        return sum(self.instructions.values())


@dataclasses.dataclass
class Copies:
    """Calls of a copying function from one place."""

    calls: int = 0
    instructions: int = 0

    @property
    def is_payload(self):
        return self.instructions > self.calls * PAYLOAD_CALL


class Reader:
    """Callgrind's file format, written without compression of positions."""

    def __init__(self):
        self.names = collections.defaultdict(dict)
        self.object = self.function = self.callee = ""
        self.calls = None
        self.columns = []
        self.profile = Profile()

    def name(self, kind, text):
        """`(7) name` introduces a name, `(7)` repeats it."""
        number, _, name = text.partition(" ")
        if name:
            self.names[kind][number] = name
        return self.names[kind][number]

    def read(self, lines):
        for line in lines:
            key, equals, value = line.partition("=")
            if line[:1].isdigit():
                self.cost(line.split())
            elif line.startswith("events: "):
                self.columns = line.split()[1:]
            elif equals:
                self.record(key, value.rstrip("\n"))
        return self.profile

    def record(self, key, value):
        if key == "ob":
            self.object = self.name("ob", value)
        elif key == "cob":
            self.name("ob", value)
        elif key == "fn":
            self.function = self.name("fn", value)
        elif key == "cfn":
            self.callee = self.name("fn", value)
        elif key == "calls":
            self.calls = int(value.split()[0])

    def cost(self, fields):
        # Columns at the end that are zero are left out.
        events = collections.Counter(dict(zip(self.columns, map(int, fields[2:]))))
        place = self.object, int(fields[0], 16)
        if self.calls is not None:
            # What the call cost, which is counted where it was spent. A call from before the window has a count of 0.
            self.profile.callers[self.callee][place] += self.calls
            if MEMORY_FUNCTION.fullmatch(self.callee) and not MEMORY_FUNCTION.fullmatch(self.function):
                self.profile.copies[place].calls += self.calls
                self.profile.copies[place].instructions += events["Ir"]
            self.calls = None
            # The place may hold nothing but calls.
            self.profile.functions.setdefault(place, self.function)
            return
        self.profile.instructions[place] += events["Ir"]
        self.profile.functions[place] = self.function
        self.profile.system_calls[self.function] += events["sysCount"]


def read(path):
    with open(path, errors="replace") as lines:
        return Reader().read(lines)


def inline_chains(program, addresses):
    """For each address the functions it is in, innermost first, as (function, file)."""
    asked = "\n".join(map(hex, addresses))
    command = ["addr2line", "-a", "-f", "-i", "-C", "-e", str(program)]
    told = subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout.splitlines()
    chains, chain, at = {}, [], 0
    while at < len(told):
        if told[at].startswith("0x"):
            chain = chains[int(told[at], 16)] = []
            at += 1
        else:
            chain.append((told[at], re.sub(r":\S+( \(.*\))?$", "", told[at + 1])))
            at += 2
    return chains


class Code:
    """The bytes of an x86-64 program, to tell atomic read-modify-write instructions."""

    PREFIXES = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3}

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        self.known = self.bytes[:6] == b"\x7fELF\x02\x01" and struct.unpack_from("<H", self.bytes, 18)[0] == 62
        if self.known:
            offset, = struct.unpack_from("<Q", self.bytes, 32)
            size, count = struct.unpack_from("<HH", self.bytes, 54)
            headers = (struct.unpack_from("<IIQQQQ", self.bytes, offset + n * size) for n in range(count))
            # Loadable segments: address, bytes in the file, where.
            self.segments = [(at, length, start) for kind, _, start, at, _, length in headers if kind == 1]

    def locks(self, address):
        """Whether a locked instruction is there: the prefix, or an exchange with memory, which locks without. Never in
        a program for another processor."""
        if not self.known:
            return False
        at = next((start + address - begin for begin, length, start in self.segments
                   if begin <= address < begin + length), None)
        if at is None:
            return False
        while self.bytes[at] in self.PREFIXES:
            at += 1
        if self.bytes[at] == 0xF0:
            return True
        if self.bytes[at] & 0xF0 == 0x40:
            at += 1
        return self.bytes[at] in (0x86, 0x87) and self.bytes[at + 1] < 0xC0
