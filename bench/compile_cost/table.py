#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Medians and ratios of what bench/compile_cost.sh measured, as a table on stdout.

Reads lines of: headers (now or before), compiler, level, mode, program, user seconds, peak KiB, with tabs between.
Exit status: 1 where a limit was exceeded.
"""

import argparse
import statistics
import sys

BASELINE = "baseline"
COMPILED_LIMIT = 1.5  # × the baseline
PROGRAMS = {
    BASELINE: "baseline",
    "include_only": "the include",
    "one_try_lock": "one try_lock",
    "many_uses": "lock, renewal, two resources, Mutex",
}


class Costs:
    """Medians of (user seconds, peak KiB) by headers, compiler, level, mode and program, in order of appearance."""

    def __init__(self, lines):
        runs = {}
        for line in lines:
            *key, seconds, kib = line.rstrip("\n").split("\t")
            runs.setdefault(tuple(key), []).append((float(seconds), float(kib)))
        self.medians = {key: tuple(map(statistics.median, zip(*values))) for key, values in runs.items()}
        self.runs = max(map(len, runs.values()), default=0)

    def baseline(self, compiler, level):
        return self.medians["now", compiler, level, "-", BASELINE]

    def before(self, compiler, level, mode, program):
        """Older headers may know no compiled library: then what their users paid is the header-only cost."""
        of_mode = self.medians.get(("before", compiler, level, mode, program))
        return of_mode or self.medians.get(("before", compiler, level, "header-only", program))


def ratios(costs, bases):
    return [cost / base for cost, base in zip(costs, bases)] if bases else None


def rows_of(costs):
    """(compiler and level, program, mode, costs, ratios to the baseline, ratios to before or None)."""
    for (headers, compiler, level, mode, program), cost in costs.medians.items():
        if headers == "now":
            to_baseline = ratios(cost, costs.baseline(compiler, level))
            to_before = ratios(cost, costs.before(compiler, level, mode, program))
            yield f"{compiler} {level}", program, mode, cost, to_baseline, to_before


def exceeded(rows, limit_before):
    """A line for every limit that is exceeded."""
    for build, program, mode, _, to_baseline, to_before in rows:
        time, memory = to_baseline
        checks = []
        if mode == "compiled":
            checks.append(("user time", time, "the baseline", COMPILED_LIMIT))
            checks.append(("peak memory", memory, "the baseline", COMPILED_LIMIT))
        if mode == "header-only" and to_before and limit_before:
            checks.append(("user time", to_before[0], "that before", limit_before))
        for what, value, base, limit in checks:
            if value > limit:
                yield f"{build}, {PROGRAMS[program]}, {mode}: {what} is {value:.2f} × {base}, not ≤ {limit:.2f}"


def cells_of(row, has_before):
    build, program, mode, (seconds, kib), to_baseline, to_before = row
    time, memory = (f"{ratio:.2f}" for ratio in to_baseline)
    cells = [build, PROGRAMS[program], mode, f"{seconds:.2f}", time, f"{kib / 1024:.0f}", memory]
    if has_before:
        cells += [f"{ratio:.2f}" for ratio in to_before] if to_before else ["-", "-"]
    return cells


def print_table(head, rows, is_markdown):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    names = 3  # columns of text, to the left
    lines = [head, *rows]
    if is_markdown:
        lines.insert(1, ["-" * width if i < names else "-" * (width - 1) + ":" for i, width in enumerate(widths)])
    for line in lines:
        cells = [cell.ljust(w) if i < names else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
        print("| " + " | ".join(cells) + " |" if is_markdown else "  ".join(cells).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="what bench/compile_cost.sh measured")
    parser.add_argument("--at-most", type=float, help="limit of header-only user time divided by that before")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    with open(arguments.results, encoding="utf-8") as file:
        costs = Costs(file)
    rows = list(rows_of(costs))
    has_before = any(row[-1] for row in rows)
    head = ["compiler", "program", "mode", "user s", "× base", "peak MiB", "× base"]
    if has_before:
        head += ["time ÷ before", "memory ÷ before"]
    print_table(head, [cells_of(row, has_before) for row in rows], arguments.markdown)
    print(f"\nMedians of {costs.runs} run{'s' if costs.runs > 1 else ''}.")
    failures = list(exceeded(rows, arguments.at_most))
    for failure in failures:
        print(f"exceeded: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
