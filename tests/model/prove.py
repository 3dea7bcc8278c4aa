#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves the fencing algorithm by induction, for any number of clients and unbounded integers.

The exploration in check.cpp covers a few acquisitions and small numbers, completely. This covers all of
them, by an argument of the usual kind: a statement Inv about one state, such that

    1. Inv is true at the start;
    2. from a state in which Inv is true, every step leads to one in which it is true again;
    3. Inv implies the claims (a), (b), (c).

An SMT solver checks each by looking for a counterexample, N fixed, everything else arbitrary.

The transition system, and why it allows everything the real one does
---------------------------------------------------------------------
Two acquisitions are in focus, A and B. Each claim is about two acquisitions, so if no two can break one,
none is ever broken. All the others are the step `others`: on a node whose key is neither A's nor B's they
may raise the counter to anything, or leave it. That is more than they can really do: each of their scripts
needs the key to be absent (acquire, put-back) or their own (commit, extend), and none lowers the counter.
The owner of a node is therefore A, B or neither, and "neither" covers absent: A may be granted a node that
a third acquisition still holds, which is more than it can really do.

Who adopts holds by the token of another acquisition, which had completed before. So A and B are one of five pairs
(PAIRS), and where a token is shared the others that hold by it may, on a node that has it or none, raise the
counter to anything and put the key there (`others of the token`). That is more than their scripts can do: a late
acquire, an adopt, a commit, an extend, a put-back.

A key vanishes at any moment (`vanish`): expiry, eviction, deletion, release. A message that is sent may be
executed at any later moment, any number of times, in any order, or never, since no step removes it. The value
granted is any number above the counter, which covers every proposal, every clock and the cap on proposals.
M is any number at all: the proof does not need it to be the largest granted, that only makes it likely
that the commits succeed. A put-back may come at any time after completion. Nodes do not forget.

What Inv says
-------------
Call evidence what a client may count on one node: the value it was granted there, and M once the node has
said ok to its commit. Only the client that owned the node, at the moment the counter had this very value,
gets such evidence.

    sane      the bookkeeping: no evidence before the beginning, no commit before M is chosen, and so on
    counter   no evidence is above the node's counter: counters never fall
    unique    on one node A's evidence and B's never have the same value
    owner     while A owns a node and has not completed, the counter there is above all of B's evidence;
              this is what the owner check in commit keeps, and it is why `unique` survives a commit. It is not
              claimed of who adopts: the owner is no guard there, and the counter below M is one instead
    quorum    who completed with T has evidence of T on a quorum
    order     if A had completed before B began: where A has evidence of its token, all of B's is above it
    extend    if a larger token had completed before A's extend round began, then no node that has evidence of
              that token says yes to A

Two quorums share a node, and on that node the claims are read off: (a) from quorum and unique, (b) from quorum
and order, (c) from quorum and extend.

That the proof can fail is checked too: each broken variant must break a named line of Inv in a named step, or
the claims. Exit status 0: all as expected; 1: a surprise; 77: z3 is not installed.
"""

import argparse
import sys
import time

try:
    import z3
except ImportError:
    print("prove.py: skipped, the z3 module is missing (Debian: python3-z3)", file=sys.stderr)
    sys.exit(77)

NEITHER, A, B = 0, 1, 2
THIRD, FOURTH = 3, 4  # acquisitions that are not in focus
# Whose token A and B hold by: their own, if they acquire; that of the other or of a third, if they adopt.
PAIRS = {
    "both acquire": {A: A, B: B},
    "B adopts from A": {A: A, B: A},
    "B adopts from a third": {A: A, B: THIRD},
    "both adopt from a third": {A: THIRD, B: THIRD},
    "they adopt from others": {A: THIRD, B: FOURTH},
}
IDLE, ACQUIRING, COMMITTING, DONE = range(4)


class State:
    """The variables of one state. A node has a counter and an owner; an acquisition has the rest."""

    def __init__(self, nodes, suffix=""):
        def ints(name):
            return [z3.Int(f"{name}{n}{suffix}") for n in range(nodes)]

        def bools(name):
            return [z3.Bool(f"{name}{n}{suffix}") for n in range(nodes)]

        self.nodes = nodes
        self.counter = ints("counter")
        self.owner = ints("owner")
        self.phase, self.M, self.T, self.after, self.late = {}, {}, {}, {}, {}
        self.granted, self.committed, self.yes = {}, {}, {}
        for x, name in ((A, "A"), (B, "B")):
            self.phase[x] = z3.Int(f"phase{name}{suffix}")
            self.M[x] = z3.Int(f"M{name}{suffix}")
            self.T[x] = z3.Int(f"T{name}{suffix}")
            self.after[x] = z3.Bool(f"after{name}{suffix}")  # began after the other one completed
            self.late[x] = z3.Bool(f"late{name}{suffix}")  # extends although a larger token completed before
            self.granted[x] = ints(f"granted{name}")  # 0: nothing
            self.committed[x] = bools(f"committed{name}")
            self.yes[x] = bools(f"yes{name}")

    def variables(self):
        result = self.counter + self.owner
        for x in (A, B):
            result += [self.phase[x], self.M[x], self.T[x], self.after[x], self.late[x]]
            result += self.granted[x] + self.committed[x] + self.yes[x]
        return result

    def evidence(self, x, n):
        """What x may count on node n, as pairs (it has this, of this value)."""
        return [(self.granted[x][n] > 0, self.granted[x][n]), (self.committed[x][n], self.M[x])]

    def has(self, x, n, value):
        return z3.Or([z3.And(is_there, v == value) for is_there, v in self.evidence(x, n)])

    def done(self, x):
        return self.phase[x] == DONE


def other(x):
    return B if x == A else A


def step(before, after, condition, changes):
    """A step: what must be true before, and the new value of all that changes; the rest stays."""
    parts = list(condition)
    changed = {variable.get_id(): value for variable, value in changes}
    for old, new in zip(before.variables(), after.variables()):
        parts.append(new == changed.get(old.get_id(), old))
    return z3.And(parts)


class System:
    """The algorithm for N nodes and a pair of acquisitions. `broken` leaves out one of its checks."""

    def __init__(self, nodes, quorum=None, broken="", pair="both acquire"):
        self.nodes = nodes
        self.token = PAIRS[pair]
        self.quorum = quorum or nodes // 2 + 1
        self.broken = broken
        self.s = State(nodes)
        self.t = State(nodes, "'")

    def unless(self, broken, check):
        return [] if self.broken == broken else [check]

    def adopts(self, x):
        return self.token[x] != x

    def count(self, bools):
        return z3.AtLeast(*bools, self.quorum)

    def initial(self):
        s = self.s
        parts = [c == 0 for c in s.counter] + [o == NEITHER for o in s.owner]
        for x in (A, B):
            parts += [s.phase[x] == IDLE, z3.Not(s.after[x]), z3.Not(s.late[x])]
            parts += [g == 0 for g in s.granted[x]]
            parts += [z3.Not(b) for b in s.committed[x] + s.yes[x]]
        return z3.And(parts)

    def steps(self):
        for n in range(self.nodes):
            yield from self.steps_of_the_rest(n)
            for x in (A, B):
                yield from self.scripts(x, n)
        for x in (A, B):
            yield from self.decisions(x)

    def steps_of_the_rest(self, n):
        s, t = self.s, self.t
        yield "vanish", step(s, t, [], [(s.owner[n], NEITHER)])
        raised = z3.Int("raised")
        yield "others", step(s, t, [s.owner[n] == NEITHER, raised >= s.counter[n]], [(s.counter[n], raised)])
        for token in {self.token[x] for x in (A, B) if self.adopts(x)}:
            completed = [s.done(A)] if token == A else []
            yield "others of the token", step(
                s, t, completed + [z3.Or(s.owner[n] == NEITHER, s.owner[n] == token), raised >= s.counter[n]],
                [(s.counter[n], raised), (s.owner[n], token)])

    def scripts(self, x, n):
        """What node n does for x: each script, atomic."""
        s, t = self.s, self.t
        f, reply_used = z3.Int("f"), z3.Bool("reply_used")
        undecided = z3.Or(s.phase[x] == ACQUIRING, s.phase[x] == COMMITTING)
        token, adopts = self.token[x], self.adopts(x)
        yield "adopt" if adopts else "acquire", step(
            s, t, [s.phase[x] != IDLE, s.owner[n] == (token if adopts else NEITHER), f > s.counter[n]],
            [(s.counter[n], f), (s.owner[n], token),
             (s.granted[x][n], z3.If(z3.And(undecided, reply_used), f, s.granted[x][n]))])

        above = adopts and self.broken != "adoption commits what others may have"
        yield "commit", step(
            s, t,
            [s.phase[x] >= COMMITTING]
            + self.unless("commit without the owner check", s.owner[n] == token)
            + self.unless("commit without counter <= M",
                          s.counter[n] < s.M[x] if above else s.counter[n] <= s.M[x]),
            [(s.counter[n], s.M[x]),
             (s.committed[x][n], z3.Or(s.committed[x][n], s.phase[x] == COMMITTING))])

        yield "extend", step(
            s, t,
            [s.done(x), s.owner[n] == token]
            + self.unless("extend without counter <= T", s.counter[n] <= s.T[x]),
            [(s.counter[n], z3.If(s.counter[n] <= s.T[x], s.T[x], s.counter[n])), (s.yes[x][n], True)])

        yield "put-back", step(
            s, t,
            [s.done(x), s.owner[n] == NEITHER]
            + self.unless("put-back without counter <= T", s.counter[n] <= s.T[x]),
            [(s.counter[n], s.T[x]), (s.owner[n], token)])

    def decisions(self, x):
        """What the client x does."""
        s, t, nodes = self.s, self.t, range(self.nodes)
        y, v = other(x), z3.Int("v")
        has_token = [s.done(y)] if self.token[x] == y else []
        yield "begin", step(
            s, t, [s.phase[x] == IDLE] + has_token, [(s.phase[x], ACQUIRING), (s.after[x], s.done(y))])

        yield "agree", step(
            s, t,
            [s.phase[x] == ACQUIRING, v > 0]
            + self.unless("no second round", self.count([s.granted[x][n] == v for n in nodes])),
            [(s.phase[x], DONE), (s.T[x], v), (s.M[x], v)])

        yield "choose", step(s, t, [s.phase[x] == ACQUIRING, v > 0], [(s.phase[x], COMMITTING), (s.M[x], v)])

        yield "complete", step(
            s, t, [s.phase[x] == COMMITTING, self.count([s.has(x, n, s.M[x]) for n in nodes])],
            [(s.phase[x], DONE), (s.T[x], s.M[x])])

        yield "begin to extend", step(
            s, t, [s.done(x)],
            [(s.late[x], z3.And(s.done(y), s.T[y] > s.T[x]))] + [(s.yes[x][n], False) for n in nodes])

    def invariant(self, s):
        """The lines of Inv, by name."""
        lines = {name: [] for name in ("sane", "counter", "unique", "owner", "quorum", "order", "extend")}
        for n in range(self.nodes):
            lines["sane"] += [
                s.counter[n] >= 0, z3.Or([s.owner[n] == o for o in {NEITHER, *self.token.values()}])]
            for ours, v in s.evidence(A, n):
                for theirs, w in s.evidence(B, n):
                    lines["unique"].append(z3.Implies(z3.And(ours, theirs), v != w))
        for x in (A, B):
            self.add_lines_of(s, x, lines)
        return {name: z3.And(parts) for name, parts in lines.items()}

    def add_lines_of(self, s, x, lines):
        y, nodes = other(x), range(self.nodes)
        lines["sane"] += [
            s.phase[x] >= IDLE, s.phase[x] <= DONE,
            z3.Implies(s.phase[x] >= COMMITTING, s.M[x] > 0),
            z3.Implies(s.done(x), s.T[x] == s.M[x]),
            z3.Implies(s.after[x], z3.And(s.done(y), s.phase[x] != IDLE)),
            z3.Implies(s.late[x], z3.And(s.done(x), s.done(y), s.T[y] > s.T[x]))]
        lines["quorum"].append(z3.Implies(s.done(x), self.count([s.has(x, n, s.T[x]) for n in nodes])))
        for n in nodes:
            lines["sane"] += [
                s.granted[x][n] >= 0,
                z3.Implies(s.phase[x] == IDLE, z3.And(s.granted[x][n] == 0, s.owner[n] != x)),
                z3.Implies(z3.And(s.phase[x] != IDLE, self.token[x] == y), s.done(y)),
                z3.Implies(s.committed[x][n], s.phase[x] >= COMMITTING)]
            for is_there, value in s.evidence(x, n):
                lines["counter"].append(z3.Implies(is_there, value <= s.counter[n]))
                if not self.adopts(y):
                    lines["owner"].append(z3.Implies(
                        z3.And(s.owner[n] == y, z3.Not(s.done(y)), is_there), value < s.counter[n]))
                lines["order"].append(z3.Implies(
                    z3.And(s.after[x], s.has(y, n, s.T[y]), is_there), value > s.T[y]))
            lines["extend"].append(z3.Implies(
                z3.And(s.late[x], s.yes[x][n]), z3.Not(s.has(y, n, s.T[y]))))

    def claims(self):
        s, nodes = self.s, range(self.nodes)
        ordered, extends = [], []
        for x in (A, B):
            ordered.append(z3.Implies(z3.And(s.after[x], s.done(x)), s.T[x] > s.T[other(x)]))
            extends.append(z3.Implies(s.late[x], z3.Not(self.count([s.yes[x][n] for n in nodes]))))
        return {
            "(a)": z3.Implies(z3.And(s.done(A), s.done(B)), s.T[A] != s.T[B]),
            "(b)": z3.And(ordered),
            "(c)": z3.And(extends),
        }


def satisfiable(solver, *formulas):
    """Whether the formulas can be true together with all that the solver holds already."""
    answer = solver.check(*formulas)
    if answer == z3.unknown:
        raise RuntimeError("the solver gave up: " + solver.reason_unknown())
    return answer == z3.sat


def failing(premises, lines):
    """The names of the lines that do not follow from the premises."""
    solver = z3.Solver()
    solver.add(premises)
    if not satisfiable(solver, z3.Not(z3.And(list(lines.values())))):
        return []
    return [name for name, line in lines.items() if satisfiable(solver, z3.Not(line))]


def prove(system):
    """Returns (number of steps, obligations that fail)."""
    inv, inv_after = system.invariant(system.s), system.invariant(system.t)
    inv_before = z3.And(list(inv.values()))
    failed = {f"start: {line}" for line in failing([system.initial()], inv)}
    count = 0
    for name, relation in system.steps():
        count += 1
        # A step that is never possible would keep anything.
        if not satisfiable(z3.Solver(), inv_before, relation):
            failed.add(f"{name}: never possible")
        failed |= {f"{name}: {line}" for line in failing([inv_before, relation], inv_after)}
    failed |= {f"claim {claim}" for claim in failing([inv_before], system.claims())}
    return count, sorted(failed)


BROKEN = [  # what is left out, the pair, N, quorum, what has to fail
    ("commit without the owner check", "both acquire", 3, None, "commit: unique"),
    ("commit without counter <= M", "both acquire", 3, None, "commit: counter"),
    ("no second round", "both acquire", 3, None, "agree: quorum"),
    ("extend without counter <= T", "both acquire", 3, None, "extend: extend"),
    ("put-back without counter <= T", "both acquire", 3, None, "put-back: counter"),
    ("quorum of 2 of 4", "both acquire", 4, 2, "claim (a)"),
    ("adoption commits what others may have", "both adopt from a third", 3, None, "commit: unique"),
    ("extend without counter <= T", "B adopts from A", 3, None, "extend: extend"),
]


def print_table(rows, markdown):
    if markdown:
        for number, row in enumerate(rows):
            print("| " + " | ".join(row) + " |")
            if number == 0:
                print("|" + "---|" * len(row))
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser(description="Proves the fencing algorithm by induction, with z3.")
    parser.add_argument("--long", action="store_true", help="more values of N")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()

    sizes = range(1, 10 if arguments.long else 8)
    cases = [("the algorithm", pair, nodes, None, None) for pair in PAIRS for nodes in sizes] + BROKEN
    rows = [("variant", "pair", "size", "expected", "steps", "seconds", "result")]
    surprises = 0
    for variant, pair, nodes, quorum, must_fail in cases:
        began = time.monotonic()
        system = System(nodes, quorum, variant, pair)
        count, failed = prove(system)
        surprise = must_fail not in failed if must_fail else bool(failed)
        surprises += surprise
        result = "fails: " + ", ".join(failed) if failed else "proved"
        rows.append((variant, pair, f"N={nodes} q={system.quorum}", f"fails: {must_fail}" if must_fail else "proved",
                     str(count), f"{time.monotonic() - began:.1f}",
                     result + ("  <-- NOT AS EXPECTED" if surprise else "")))
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print_table(rows, arguments.markdown)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
