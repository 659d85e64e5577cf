"""Which part of the engine an instruction belongs to: by the source it came from, wherever it was inlined."""

import collections
import dataclasses
import pathlib
import re

import profiles

ROOT = pathlib.Path(__file__).resolve().parents[2]

PARSE, SCSI, DEVICE, PLACEMENT, RECYCLE, OTHER = LAYERS = (
    "parse + window", "SCSI", "device", "placement + response", "recycle", "other")
# What an adapter does by itself: the loopback provider, and what it has of the seam's traits. Frames are FILE:FUNCTION.
PROVIDER = re.compile(r"engine/rdma/src/(loopback/|provider.rs:post_(all|receives))")
PROVIDER_SYMBOL = re.compile(r"rdma::provider::|.*rdma::loopback::")
# Helpers: what they do is done for whoever they were inlined into.
HELPER = re.compile(r"reactors/primitives/|engine/rdma/src/(?!loopback/)")

TARGET, ISER, ISCSI, TCP = "engine/iscsi-target/src", "engine/iser/src", "engine/iscsi/src", "engine/tcp/src"
# File, function, layer: the first that fits decides.
RULES = [(re.compile(file), re.compile(function), layer) for file, function, layer in (
    (rf"{TARGET}/(slot|context|conn/|job/|wire)", "free|retire|leave|answered|release|drop_|give|clear|reset", RECYCLE),
    (rf"{TARGET}/stats", "", RECYCLE),
    (rf"{TARGET}/(conn/respond|conn/manage)", "", PLACEMENT),
    (rf"{TARGET}/conn/units", "", SCSI),
    (rf"{TARGET}/(conn/|slot)", "", PARSE),
    (rf"{TARGET}/(job/|unit|worker/jobs)", "put|send|data_done|get_data|got|fetch", PLACEMENT),
    (rf"{TARGET}/(job/|unit|context|worker/jobs)", "", DEVICE),
    (rf"{TARGET}/worker", "turn_devices|io_done", DEVICE),
    (rf"{TARGET}/(worker/fabric|device/)", "after_flush|ring|recycle|settle", RECYCLE),
    (rf"{TARGET}/(worker/fabric|device/)", "", PARSE),
    (rf"{TARGET}/wire", "put_data|send|flush|get_data|phase_collapse|is_flushed", PLACEMENT),
    (rf"{TARGET}/wire", "", PARSE),
    (ISER, "complete|done|take_free|free|release|sent|settle|return", RECYCLE),
    (rf"{ISER}/(iser/arrive|inbound|frame|unsolicited|wire)|{ISER}/iser/seam", "poll|parse|on_|pop|push|front|decode"
     "|has_more|segment|advertisement|hide|show|can_|note_command|is_", PARSE),
    (ISER, "", PLACEMENT),
    (rf"{ISCSI}/connection/(reply|status)", "", PLACEMENT),
    (rf"{ISCSI}/connection/task_map", "remove", RECYCLE),
    (rf"{ISCSI}/wire/", "encode|stamp|put|set|with", PLACEMENT),
    (ISCSI, "", PARSE),
    (rf"{TCP}/(outbound|data_in|transfers|stream/(sender|arena))", "", PLACEMENT),
    (f"{TCP}/", "put|send|flush|get_data|write", PLACEMENT),
    (TCP, "", PARSE),
    ("engine/scsi/", "", SCSI),
    ("bdev/", "", DEVICE),
    ("reactors/src/ring", "", DEVICE),
    ("reactors/src/pools/", "give", RECYCLE),
    ("reactors/src/pools/", "", DEVICE),
)]


# Crates by the names their symbols begin with: for what the compiler made up without telling where it comes from.
CRATES = {"target": TARGET, "iser": ISER, "iscsi": ISCSI, "iscsi_tcp": TCP, "scsi": "engine/scsi/src",
          "bdev": "bdev/src", "reactors": "reactors/src"}


def layer_of(file, function):
    return next((layer for f, g, layer in RULES if f.match(file) and g.match(function)), OTHER)


def short(function):
    """A function's own name, without its path, its type and its parameters."""
    while (plain := re.sub(r"<[^<>]*>", "", function.replace("->", ""))) != function:
        function = plain
    parts = [part for part in function.split("::") if part]
    return parts[-1] if parts else ""


@dataclasses.dataclass
class Breakdown:
    """The instructions of one window, divided by what they did. Small copies are their callers'."""

    layers: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    # (layer, file, function)
    functions: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    # Copies and fills of payload: instructions, and how many.
    payload: int = 0
    payload_copies: int = 0
    provider: int = 0
    locked: int = 0

    @property
    def engine(self):
        """What the engine executes, without payload and provider."""
        return sum(self.layers.values())

    def add(self, file, function, cost):
        layer = layer_of(file, function)
        self.layers[layer] += cost
        self.functions[layer, file, function] += cost


class Sources:
    """Looks instructions up in a program."""

    def __init__(self, program):
        self.program = str(program)
        self.chains = {}
        self.codes = {}

    def learn(self, profile):
        """Looks the addresses of a profile up, all at once."""
        addresses = {address for path, address in profile.instructions
                     if path == self.program and address not in self.chains}
        self.chains.update(profiles.inline_chains(self.program, sorted(addresses)))

    def chain(self, place):
        """The functions around an instruction as (file, function), innermost first; files relative to the root."""
        path, address = place
        if path != self.program:
            return []
        found, name = [], ""
        for function, file in reversed(self.chains.get(address, [])):
            # A closure goes by the name of the function it is in.
            name = name if "{closure" in short(function) or "{{closure" in function else short(function)
            found.append((file.removeprefix(f"{ROOT}/"), name))
        return found[::-1]

    def is_provider(self, place, symbol):
        return bool(PROVIDER_SYMBOL.match(symbol)) or any(PROVIDER.match(":".join(f)) for f in self.chain(place))

    def origin(self, place, symbol):
        """(file, function) that an instruction is of; `None` of a library's function, which works for its callers."""
        own = [frame for frame in self.chain(place) if not frame[0].startswith("/") and frame[0] != "??"]
        for frames in ([frame for frame in own if not HELPER.match(frame[0])], own):
            if frames:
                return frames[0]
        crate = CRATES.get(re.match(r"<*(\w*)", symbol)[1])
        return crate and (f"{crate}/", short(symbol))

    def is_locked(self, place):
        path, address = place
        if path not in self.codes:
            self.codes[path] = profiles.Code(path)
        return self.codes[path].locks(address)

    def divide(self, profile):
        """A profile by layer, file and function."""
        self.learn(profile)
        found, libraries = Breakdown(), collections.Counter()
        for place, cost in profile.instructions.items():
            symbol = profile.functions[place]
            if self.is_provider(place, symbol):
                found.provider += cost
                continue
            found.locked += cost if self.is_locked(place) else 0
            if profiles.MEMORY_FUNCTION.fullmatch(symbol):
                # Below, by caller.
                continue
            if origin := self.origin(place, symbol):
                found.add(*origin, cost)
            else:
                libraries[symbol] += cost
        for place, copies in profile.copies.items():
            if copies.is_payload and not self.is_provider(place, profile.functions[place]):
                found.payload += copies.instructions
                found.payload_copies += copies.calls
            else:
                self.charge(found, place, profile, copies.instructions)
        for symbol, cost in libraries.items():
            callers = profile.callers[symbol]
            for place, calls in callers.items():
                self.charge(found, place, profile, cost * calls / max(1, callers.total()))
            if not callers.total():
                found.add("libraries", short(symbol), cost)
        return found

    def charge(self, found, place, profile, cost):
        """What a library's function did for whoever called it there."""
        symbol = profile.functions[place]
        if self.is_provider(place, symbol):
            found.provider += cost
        else:
            found.add(*(self.origin(place, symbol) or ("libraries", short(symbol))), cost)

    def executions(self, profile, file, function):
        """How often a function was run, inlined or not: each place it was inlined into runs its hottest instruction
        once a time. For functions without loops."""
        hottest = collections.Counter()
        for place, cost in profile.instructions.items():
            chain = self.chain(place)
            for depth, frame in enumerate(chain):
                if frame == (file, function):
                    site = profile.functions[place], tuple(chain[depth + 1:])
                    hottest[site] = max(hottest[site], cost)
        return sum(hottest.values())
