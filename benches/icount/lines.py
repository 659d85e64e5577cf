"""Cache lines of data that an I/O touches, from valgrind's lackey, which tells of every access."""

import os
import re
import subprocess

import layers
import machine
import profiles
import tables

LINE = 64
# Commands of the first window; the second has twice as many. Everything else is skipped, but valgrind writes it.
COUNT = 64
BLOCK = 1 << 22


def report(program, cases, environment):
    """The lines of each case as a table."""
    sources, rows = layers.Sources(program), []
    for name, arguments in cases.items():
        turns, ended = Trace(program, sources, environment).run([*arguments, "--count", str(COUNT)])
        engine = sum(len(turn) for turn in turns)
        rows.append([name, f"{ended / len(turns):.1f}", f"{engine / ended:.1f}", f"{engine / len(turns):.0f}"])
    return tables.markdown(["case", "I/Os a turn", "lines an I/O", "lines a turn"], rows)


class Trace:
    """One run: which lines each counted turn touched."""

    def __init__(self, program, sources, environment):
        self.program, self.sources = str(program), sources
        self.environment = {**os.environ, **environment}
        dump = self.output("objdump", "-d", self.program)
        function = re.search(r"^([0-9a-f]+) <\S*counted_turn\S*>:\n(.*?)\n\n", dump, re.MULTILINE | re.DOTALL)
        start = int(function[1], 16)
        # The program is loaded at the same address whatever valgrind does with it.
        self.base = int(self.output("valgrind", "--quiet", "--tool=none", self.program, "address"), 16) - start
        self.entry = self.token(start)
        self.returns = [self.token(int(at, 16))
                        for at in re.findall(r"^ *([0-9a-f]+):[^\n]*\bret", function[2], re.MULTILINE)]
        self.providers = {}

    def output(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def token(self, address):
        """How the trace begins an instruction's line."""
        return b"I  %08x," % (self.base + address)

    def run(self, arguments):
        """The lines of each turn, without payload and provider, and how many commands ended."""
        read, write = os.pipe()
        command = ["valgrind", "--quiet", "--tool=lackey", "--trace-mem=yes", f"--log-fd={write}", self.program,
                   *arguments]
        with subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, pass_fds=[write], preexec_fn=machine.die_with_parent) as process:
            os.close(write)
            with os.fdopen(read, "rb", buffering=0) as trace:
                turns = [self.accesses(turn) for turn in self.turns(trace)]
            told = process.stdout.read()
        self.learn({at for turn in turns for at, _ in turn})
        payload = [(int(begin, 16), int(end, 16)) for begin, end in re.findall(r"payload=(\w+)-(\w+)", told)]
        ended = sum(int(number) for number in re.findall(r"ended=(\d+)", told))
        return [self.lines(turn, payload) for turn in turns], ended

    def turns(self, trace):
        """The text of each counted turn. What is between them is not looked at."""
        text, inside = b"", False
        while block := trace.read(BLOCK):
            text += block
            while True:
                if not inside:
                    at = text.find(self.entry)
                    if at < 0:
                        text = text[-len(self.entry):]
                        break
                    text, inside = text[at:], True
                ends = [at for at in (text.find(token) for token in self.returns) if at >= 0]
                if not ends:
                    break
                yield text[:min(ends)]
                text, inside = text[min(ends):], False

    @staticmethod
    def accesses(turn):
        """(instruction, line) of every access."""
        found, instruction = set(), 0
        for line in turn.splitlines():
            address, _, size = line[3:].partition(b",")
            address = int(address, 16)
            if line[:1] == b"I":
                instruction = address
            else:
                found.add((instruction, address // LINE))
                found.add((instruction, (address + int(size) - 1) // LINE))
        return found

    def learn(self, instructions):
        """Which instructions are the provider's."""
        profile = profiles.Profile()
        profile.instructions.update({(self.program, at - self.base): 1 for at in instructions})
        self.sources.learn(profile)

    def lines(self, turn, payload):
        def is_payload(line):
            return any(begin <= line * LINE < end for begin, end in payload)
        return {line for at, line in turn
                if not self.sources.is_provider((self.program, at - self.base), "") and not is_payload(line)}
