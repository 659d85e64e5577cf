"""What is measured against peers, by section of the report."""

from load import Row

# How deep the queue is where latency is drawn against IOPS. Only the depths of the tables are measured in every round.
DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128)
TABLE_DEPTHS = (1, 32, 128)
SWEEP_ROUNDS = 3
# Where percentiles are drawn.
PERCENTILE_DEPTH = 32

WORDS = {"randread": "random read", "randwrite": "random write", "read": "sequential read", "write": "sequential write"}


def row(rw, block, depth, device="", **options):
    before = f"{device}, " if device else ""
    return Row(f"{before}{block.replace('K', ' KiB')} {WORDS[rw]}, QD {depth}", rw, block, depth, device, **options)


TARGETS = [
    *(row(rw, "4K", depth) for rw in ("randread", "randwrite") for depth in TABLE_DEPTHS),
    *(row(rw, "128K", depth) for rw in ("read", "write") for depth in (8, 32)),
]
SWEEP = [row(rw, "4K", depth, max_rounds=SWEEP_ROUNDS)
         for rw in ("randread", "randwrite") for depth in DEPTHS if depth not in TABLE_DEPTHS]
BLOCK_LAYER = [row(rw, "4K", depth, device)
               for device, rw in (("null", "randread"), ("malloc", "randread"), ("malloc", "randwrite"))
               for depth in TABLE_DEPTHS]
FILES = [row(rw, "4K", depth, "file") for rw in ("randread", "randwrite") for depth in (1, 32)]

# The sections, as they are named in the document and in what --json keeps.
SECTIONS = {"peers": TARGETS + SWEEP, "block-layer": BLOCK_LAYER, "files": FILES}


def sweep_key(rw, depth):
    """The key of a 4 KiB workload at this depth."""
    return row(rw, "4K", depth).key
