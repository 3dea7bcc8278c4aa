#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Medians and ratios from the benchmark's JSON, as tables on stdout and as a picture.

Every figure of the library stands beside something measured in the same run; absolute times are this machine's.
Exit status: 1 where a benchmark failed, a target was missed or, without --partial, nothing was measured for one.
"""

import argparse
import json
import re
import statistics
import sys
from xml.sax.saxutils import escape

PATHS = {
    "unix": "loopback, unix sockets",
    "tcp": "loopback, TCP",
    "delayed": "0.8 ms each way",
}
NODE_COUNTS = (1, 3, 5, 9)
MODES = ("plain", "fenced")
THREADS = (1, 2, 8, 64)
THREAD_MODES = (("unix", "plain"), ("unix", "fenced"), ("tcp", "plain"))
MANNERS = ("notified", "broadcast", "polls_50_to_250", "polls_100", "polls_by_default")


class Results:
    """Medians over the repetitions, by benchmark name and counter."""

    def __init__(self, report):
        self.context = report["context"]
        self.runs = {}
        self.failures = {}
        for run in report["benchmarks"]:
            if run.get("run_type") != "iteration":
                continue
            name = re.sub(r"/(real_time|iterations:.*)$", "", run["run_name"])
            if run.get("error_occurred"):
                self.failures[name] = run.get("error_message", "failed")
            else:
                self.runs.setdefault(name, []).append(run)

    def median(self, name, counter):
        """The median of one counter, or of a counter divided by another ("a/b") within each repetition."""
        values = [self.value(run, counter) for run in self.runs.get(name, [])]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

    @staticmethod
    def value(run, counter):
        above, _, below = counter.partition("/")
        if below:
            return ratio(run.get(above), run.get(below))
        return run.get(above)

    def repetitions(self):
        return max((len(runs) for runs in self.runs.values()), default=0)


def ratio(value, base):
    return value / base if value is not None and base else None


def show(value, form):
    return format(value, form) if value is not None else "-"


def table(title, head, rows):
    """Prints rows that hold at least one figure, columns aligned."""
    rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
    if not rows:
        return
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for row in [head, *rows]:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())


def print_header(results):
    context = results.context
    load = "/".join(f"{value:.1f}" for value in context.get("load_avg", []))
    print(
        f"{context['num_cpus']} × {context.get('cpu', 'unknown CPU')} | {context.get('compiler', '?').strip()} | "
        f"hiredis {context.get('hiredis', '?')} | {context.get('server', '?')} | load {load} | "
        f"medians of {results.repetitions()} repetitions"
    )


def latency(results, path, mode, nodes, counter, hung=0):
    return results.median(f"lock_unlock/{path}/{mode}/N{nodes}/hung{hung}", counter)


def print_latency(results):
    rows = []
    for path, label in PATHS.items():
        for mode in MODES:
            for nodes in NODE_COUNTS:
                raw, ours, times = (
                    latency(results, path, mode, nodes, c) for c in ("raw_p50_us", "redlock_p50_us", "ratio")
                )
                cells = [show(raw, ".1f"), show(ours, ".1f"), show(times, ".2f")]
                rows.append([f"{label}, {mode}, N={nodes}", *cells])
    table("Latency of lock + unlock, one thread (median, µs)", ["", "raw bound", "redlock", "ratio"], rows)


def slowdown(results, path, mode, hung, who):
    """The latency with hung nodes, divided by that with none."""
    counter = f"{who}_p50_us"
    return ratio(latency(results, path, mode, 5, counter, hung), latency(results, path, mode, 5, counter))


def print_hung(results):
    rows = []
    for path in ("unix", "delayed"):
        for mode in MODES:
            for hung in (1, 2):
                ours, times = (latency(results, path, mode, 5, c, hung) for c in ("redlock_p50_us", "ratio"))
                slower = slowdown(results, path, mode, hung, "redlock")
                raw_slower = slowdown(results, path, mode, hung, "raw")
                cells = [show(ours, ".1f"), show(slower, ".2f"), show(raw_slower, ".2f"), show(times, ".2f")]
                rows.append([f"{PATHS[path]}, {mode}, {hung} of 5 hung", *cells])
    head = ["", "redlock µs", "÷ healthy", "raw ÷ healthy", "× raw"]
    table("With hung nodes (SIGSTOP), one thread", head, rows)


def of_threads(results, threads, counter, path="unix", mode="plain"):
    return results.median(f"threads/{path}/{mode}/T{threads}", counter)


def print_threads(results):
    columns = (
        ("own_connections_per_s", ".0f"),
        ("redlock_each_per_s", ".0f"),
        ("redlock_per_s", ".0f"),
        ("redlock_per_s/own_connections_per_s", ".2f"),
        ("own_connections_processor_us/redlock_processor_us", ".2f"),
        ("redlock_per_s/pipelined_per_s", ".0%"),
        ("redlock_per_s/pipelined_in_two_per_s", ".0%"),
        ("redlock_p50_us", ".0f"),
        ("redlock_p99_us/redlock_p50_us", ".2f"),
        ("hung_per_s/redlock_per_s", ".2f"),
        ("hung_resident_growth_kib", ".0f"),
    )
    head = ["", "own conns/s", "one each/s", "redlock/s", "× own", "CPU: own ÷ ours", "of pipelined", "of it in two"]
    head += ["p50 µs", "p99÷p50", "1 hung", "+KiB"]
    rows = []
    for path, mode in THREAD_MODES:
        for threads in THREADS:
            cells = [show(of_threads(results, threads, counter, path, mode), form) for counter, form in columns]
            rows.append([f"{PATHS[path]}, {mode}, {threads} thread{'s' if threads > 1 else ''}", *cells])
    title = "Lock + unlock cycles per second, N=5, distinct resources, one Redlock for all (CPU: without the nodes')"
    table(title, head, rows)


def print_leases(results):
    def of(name, counter, form, factor=1):
        value = results.median(f"leases/{name}", counter)
        return show(value * factor if value is not None else None, form)

    head = ["", "% of a core", "commands/s", "renewals/s", "latest, ms", "bytes each"]
    columns = (
        ("processor_percent", ".1f"),
        ("commands_per_s", ".0f"),
        ("renewals_per_s", ".0f"),
        ("longest_delay_ms", ".1f"),
        ("bytes_per_lease", ".0f"),
    )
    label = f"{of('renewing', 'leases', '.0f')} leases, ttl {of('renewing', 'ttl_s', '.0f')} s"
    rows = [[label, *(of("renewing", counter, form) for counter, form in columns)]]
    table("Leases being renewed, N=5, unix sockets, fenced, one Redlock", head, rows)

    head = ["", "one by one", "in a batch", "ratio", "CPU one by one", "CPU in a batch", "ratio"]
    columns = (
        ("one_by_one_us", ".1f"),
        ("batch_us", ".1f"),
        ("ratio", ".1f"),
        ("one_by_one_processor_us", ".1f"),
        ("batch_processor_us", ".1f"),
        ("processor_ratio", ".1f"),
    )
    rows = [[PATHS[p], *(of(f"batch/{p}", c, form) for c, form in columns)] for p in ("unix", "delayed")]
    table("Renewing 1000 leases (per lease, µs; CPU: of our process, without the nodes')", head, rows)

    head = ["", "p50", "p99", "max", "early"]
    times = [of("lost", counter, ".0f") for counter in ("p50_us", "p99_us", "max_us", "early")]
    rows = [[f"{of('lost', 'leases', '.0f')} leases", *times]]
    table("From the end of the validity to lost(), all nodes hung (µs)", head, rows)


def print_contention(results):
    rows = []
    for manner in MANNERS:
        for mode in MODES:
            cells = []
            columns = (("per_s/alone_per_s", ".0%"), ("handovers_per_s", ".0f"), ("sets", ".2f"))
            for counter, form in (*columns, ("wait_p50_us", ".0f"), ("wait_max_us", ".0f")):
                cells.append(show(results.median(f"contention/processes/{mode}", f"{manner}_{counter}"), form))
            rows.append([f"{manner.replace('_', ' ')}, {mode}", *cells])
    head = ["", "of one alone", "hand-overs/s", "SETs/lock", "wait p50 µs", "longest"]
    title = "Eight processes, one resource, held 1 ms, N=5, unix sockets (SETs per node; fenced: acquire scripts)"
    table(title, head, rows)
    who = (("one process", "alone"), ("eight processes, notified", "notified"))
    rows = [
        [label, show(results.median("contention/processes/fenced", f"{name}_second_trips"), ".2%")]
        for label, name in who
    ]
    table("Acquisitions that took a second round trip to agree on a fencing token", ["", "share"], rows)
    columns = (("per_s", ".0f"), ("peers_share", ".0%"), ("sets", ".2f"), ("wait_p50_us", ".0f"), ("wait_max_us", ".0f"))
    rows = [
        [who.replace("_", " "), *(show(results.median("contention/mixed_fleet", f"{who}_{c}"), form) for c, form in columns)]
        for who in ("notified", "polls_by_default")
    ]
    head = ["", "ours per s", "peers' share", "SETs/lock", "our wait p50 µs", "longest"]
    table("Eight processes, half of them poll and notify nobody, held 20 to 40 ms", head, rows)
    cells = [show(results.median("contention/idle", f"{manner}_requests_per_s"), ".0f") for manner in MANNERS]
    head = ["", *(manner.replace("_", " ") for manner in MANNERS)]
    table("A hundred processes waiting for what is held: requests per second at five nodes", head, [["", *cells]])
    handover = "contention/handover"
    cells = [show(results.median(handover, "round_trip_us"), ".0f")]
    cells += [show(results.median(handover, f"{manner}_us/round_trip_us"), ".2f") for manner in MANNERS]
    title = "Hand-over between two processes, 0.8 ms each way: end of unlock to grant, in round trips"
    table(title, ["", "round trip µs", *head[1:]], [["median", *cells]])


def targets_of_waiting(results):
    contest = "contention/processes/fenced"
    yield "8 processes: of one alone", results.median(contest, "notified_per_s/alone_per_s"), 0.60, False
    yield "8 processes: SETs per lock and node", results.median("contention/processes/plain", "notified_sets"), 2.0, True
    longest = results.median("contention/fairness", "wait_max_us/wait_p50_us")
    yield "8 processes, long run: longest wait ÷ median", longest, 20, True
    yield "hand-over, round trips", results.median("contention/handover", "notified_us/round_trip_us"), 3.0, True
    mixed = results.median("contention/mixed_fleet", "notified_per_s/polls_by_default_per_s")
    yield "beside clients that notify nobody: × polling", mixed, 0.90, False
    crowd = "contention/threads/hold0"
    yield "64 threads, one resource: × one thread", results.median(crowd, "crowd_per_s/alone_per_s"), 0.80, False
    yield "64 threads, one resource: SETs per lock", results.median(crowd, "crowd_sets"), 1.5, True


def targets(results):
    """(claim, measured, limit, whether the limit is an upper one); for the plain SET, the common mode of all."""
    mode = "plain"
    yield "one thread, N=5, loopback: × raw bound", latency(results, "unix", mode, 5, "ratio"), 1.15, True
    yield "one thread, N=5, 0.8 ms each way: × raw bound", latency(results, "delayed", mode, 5, "ratio"), 1.10, True
    for path in ("unix", "delayed"):
        for hung in (1, 2):
            measured = slowdown(results, path, mode, hung, "redlock")
            yield f"{hung} of 5 hung, {PATHS[path]}: × healthy", measured, 1.3, True
    with_tokens, without = (latency(results, "delayed", m, 5, "redlock_p50_us") for m in ("fenced", "plain"))
    yield "fencing, N=5, 0.8 ms each way: × without", ratio(with_tokens, without), 1.1, True
    nine, three = (latency(results, "delayed", mode, n, "redlock_p50_us") for n in (9, 3))
    yield "N=9, 0.8 ms each way: × N=3", ratio(nine, three), 1.3, True
    of_own = "redlock_per_s/own_connections_per_s"
    yield "8 threads: × own connections", of_threads(results, 8, of_own), 1.8, False
    yield "64 threads: × own connections", of_threads(results, 64, of_own), 3.0, False
    of_bound = "redlock_per_s/pipelined_per_s"
    yield "64 threads: of the pipelined bound", of_threads(results, 64, of_bound), 0.30, False
    tail = "redlock_p99_us/redlock_p50_us"
    yield "64 threads: p99 ÷ median", of_threads(results, 64, tail), 4.0, True
    for path, counter in (("delayed", "ratio"), ("unix", "processor_ratio")):
        what = "time" if counter == "ratio" else "processor time"
        measured = results.median(f"leases/batch/{path}", counter)
        yield f"1000 renewals one by one, {PATHS[path]}: × {what} of a batch", measured, 5.0, False
    yield "64 threads, 1 of 5 hung: × healthy", of_threads(results, 64, "hung_per_s/redlock_per_s"), 0.90, False


def print_targets(results):
    """Prints all targets; returns the missed ones, and those for which nothing was measured."""
    rows, missed, unmeasured = [], [], []
    for claim, measured, limit, is_upper in (*targets(results), *targets_of_waiting(results)):
        wanted = f"{'≤' if is_upper else '≥'} {limit:.2f}"
        if measured is None:
            unmeasured.append(f"no data: {claim}, {wanted}")
            rows.append([claim, "no data", wanted, "?"])
            continue
        met = measured <= limit if is_upper else measured >= limit
        if not met:
            missed.append(f"missed: {claim}, {measured:.2f}, not {wanted}")
        rows.append([claim, f"{measured:.2f}", wanted, "yes" if met else "NO"])
    table("Targets", ["", "measured", "target", "met"], rows)
    return missed, unmeasured


# --- the picture ---------------------------------------------------------------------------------

COLOURS = ("#9aa5b1", "#c0392b", "#2c3e50")
PANEL_WIDTH, PANEL_HEIGHT, MARGIN = 460, 260, 46


def panel(x, y, title, groups, series):
    """A grouped bar chart; `series` is [(label, [value per group])]."""
    known = [value for _, values in series for value in values if value is not None]
    if not known:
        return ""
    top, plot_height = max(known) * 1.15, PANEL_HEIGHT - 2 * MARGIN
    slot = (PANEL_WIDTH - 2 * MARGIN) / len(groups)
    bar = slot * 0.8 / len(series)
    parts = [f'<g transform="translate({x},{y})"><text x="{MARGIN}" y="20" class="title">{escape(title)}</text>']
    base = PANEL_HEIGHT - MARGIN
    for g, group in enumerate(groups):
        for s, (_, values) in enumerate(series):
            if values[g] is None:
                continue
            height = values[g] / top * plot_height
            left = MARGIN + g * slot + slot * 0.1 + s * bar
            box = f'x="{left:.1f}" y="{base - height:.1f}" width="{bar * 0.92:.1f}" height="{height:.1f}"'
            parts.append(f'<rect {box} fill="{COLOURS[s]}"/>')
            label = f"{values[g]:.0f}" if values[g] >= 10 else f"{values[g]:.2f}"
            parts.append(f'<text x="{left + bar * 0.46:.1f}" y="{base - height - 4:.1f}" class="value">{label}</text>')
        parts.append(f'<text x="{MARGIN + (g + 0.5) * slot:.1f}" y="{base + 16}" class="group">{escape(group)}</text>')
    parts.append(f'<line x1="{MARGIN}" y1="{base}" x2="{PANEL_WIDTH - MARGIN}" y2="{base}" stroke="#555"/>')
    for s, (label, _) in enumerate(series):
        left = MARGIN + s * 150
        parts.append(f'<rect x="{left}" y="{base + 26}" width="10" height="10" fill="{COLOURS[s]}"/>')
        parts.append(f'<text x="{left + 15}" y="{base + 35}" class="legend">{escape(label)}</text>')
    return "\n".join(parts) + "</g>"


def picture(results):
    who = (("raw sockets (bound)", "raw_p50_us"), ("redlock", "redlock_p50_us"))
    nodes = [f"N={n}" for n in NODE_COUNTS]
    panels = []
    for path in ("unix", "delayed"):
        series = [(label, [latency(results, path, "plain", n, c) for n in NODE_COUNTS]) for label, c in who]
        panels.append((f"lock + unlock, {PATHS[path]}: median µs", nodes, series))
    hung = [(label, [latency(results, "delayed", "plain", 5, c, n) for n in (0, 1, 2)]) for label, c in who]
    panels.append(("nodes hung, of 5, 0.8 ms each way: median µs", ["none", "1", "2"], hung))
    throughput = [
        (label, [of_threads(results, t, counter) for t in THREADS])
        for label, counter in (("own connections", "own_connections_per_s"), ("one Redlock for all", "redlock_per_s"))
    ]
    threads = [f"{t} threads" if t > 1 else "1 thread" for t in THREADS]
    panels.append(("cycles per second, N=5, loopback", threads, throughput))
    width, height = 2 * PANEL_WIDTH, 2 * PANEL_HEIGHT + 10
    style = (
        "text{font-family:sans-serif;fill:#222}.title{font-size:14px;font-weight:bold}.legend{font-size:11px}"
        ".value{font-size:10px;text-anchor:middle}.group{font-size:11px;text-anchor:middle}"
    )
    body = "\n".join(panel((i % 2) * PANEL_WIDTH, (i // 2) * PANEL_HEIGHT, *p) for i, p in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<style>{style}</style>\n<rect width="{width}" height="{height}" fill="white"/>\n{body}\n</svg>\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", help="what --benchmark_out wrote")
    parser.add_argument("--svg", help="write the picture here")
    parser.add_argument("--partial", action="store_true", help="a target without data is no failure")
    arguments = parser.parse_args()
    with open(arguments.json, encoding="utf-8") as file:
        results = Results(json.load(file))
    print_header(results)
    for section in (print_latency, print_hung, print_threads, print_leases, print_contention):
        section(results)
    missed, unmeasured = print_targets(results)
    if arguments.svg:
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(picture(results))
    failures = [f"failed: {name}: {reason}" for name, reason in results.failures.items()]
    failures += missed if arguments.partial else missed + unmeasured
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
