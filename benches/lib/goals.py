"""How fast this engine has to be beside its peers: what `peers --require` demands."""

from typing import NamedTuple

import tables
import workloads
from workloads import row


class Goal(NamedTuple):
    """A bound of one ratio to one peer. More is better for IOPS, less for what an I/O costs and how long it takes."""

    section: str
    key: str
    peer: str
    metric: str
    bound: float

    def is_met(self, ratio):
        return ratio >= self.bound if self.metric == "iops" else ratio <= self.bound

    def words(self):
        relation = "≥" if self.metric == "iops" else "≤"
        metric = tables.METRICS[self.metric].title
        return f"{self.section}: {self.key}, {metric} {relation} {self.bound:g} × {self.peer}"


def every_goal():
    goals = []
    for rw in ("randread", "randwrite"):
        for depth, faster in zip(workloads.TABLE_DEPTHS, (1.1, 1.1, 1.3)):
            key = row(rw, "4K", depth).key
            goals += [Goal("peers", key, "SPDK", "iops", faster), Goal("peers", key, "SPDK", "busy", 0.9),
                      Goal("peers", key, "SPDK", "p99", 1.0), Goal("peers", key, "floor", "iops", 0.9)]
        goals.append(Goal("peers", row(rw, "4K", 32).key, "tgt", "iops", 8.0))
        goals += [Goal("files", row(rw, "4K", depth, "file").key, "fio", "iops", 0.97) for depth in (1, 32)]
    for rw, faster in (("read", 1.0), ("write", 1.2)):
        goals += [Goal("peers", row(rw, "128K", depth).key, "SPDK", "iops", faster) for depth in (8, 32)]
    return goals + [Goal("block-layer", each.key, "SPDK", "iops", 1.0) for each in workloads.BLOCK_LAYER]


GOALS = every_goal()


def find(section, key, peer, metric):
    """The goal for this ratio, or None."""
    wanted = (section, key, peer, metric)
    return next((goal for goal in GOALS if goal[:4] == wanted), None)


def check(sections):
    """One line for each goal, and whether all are met. What was not measured is not met."""
    lines, met = [], True
    for goal in GOALS:
        taken = sections.get(goal.section, {}).get(goal.key, {})
        ratio = tables.ratio(taken, "isere", goal.peer, goal.metric)
        if ratio is None:
            lines.append(f"NOT MEASURED   {goal.words()}")
        else:
            lines.append(f"{'met         ' if goal.is_met(ratio) else 'NOT MET     '}   {goal.words()}: {ratio:.3f}")
        met &= ratio is not None and goal.is_met(ratio)
    return lines, met
