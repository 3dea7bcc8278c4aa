#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts one deliberate defect at a time into a copy of the library and looks who notices.

Each mutant of mutants.list is made in a copy of include/, the catchers are compiled against the copy and
run: the simulator, up to a bound of schedules; the unit tests; where a script was changed, the test that
holds the simulator's model of the scripts against a real server; where the connection was changed, which
neither of them has, its tests; and where the engine was, or the threads, those of many threads on sockets.
What guards the data has its own tests alone. A mutant that nobody catches is an error, and so is one that
does not compile, one whose text does not stand in the file exactly once, and a catcher that finds the
unchanged library guilty.

  run.py                     all mutants
  run.py --quick             those marked (quick), by the simulator alone
  run.py --only NAME...      these
  run.py --check             builds nothing: do list, library and table still fit together?
  run.py --markdown FILE     all mutants (or --only some), and their rows in the table of who caught them
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import textwrap
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIST = HERE / "mutants.list"
TABLE = ROOT / "docs" / "mutants.md"

SCHEDULES = 20_000
SCHEDULES_QUICK = 2_000
# A test counts when it fails in all of them.
RUNS = 3
# Far beyond what they take, of processor time, and of time in which nothing is heard of them: a mutant may
# never come to its end, which is noticed as well.
CPU_TIME_S = 60
CPU_TIME_SIMULATOR_S = 400
PATIENCE_SIMULATOR_S = 600
PATIENCE_TEST_S = 60

PROPERTIES = {
    "a": "mutual exclusion",
    "b": "no orphaned keys",
    "c": "every call returns in time",
    "d": "progress",
    "e": "told of the loss in time",
    "f": "fencing tokens unique and in order",
    "g": "a node serves again when its trouble has ended",
    "h": "few connects",
    "i": "no secret in a text",
    "j": "nothing that is not ours is changed",
    "k": "what waits is bounded",
    "l": "no work is left",
    "m": "the node's own reason is given",
    "r": "every call comes to its end",
}


class Wrong(Exception):
    """What makes this script fail, in words."""


# ---- the list -----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Edit:
    path: str
    old: list = dataclasses.field(default_factory=list)
    new: list = dataclasses.field(default_factory=list)

    def apply_to(self, text, name):
        old = "\n".join(self.old)
        count = text.count(old)
        if not old or count != 1:
            raise Wrong(f"{name}: its text stands {count} times in {self.path}, not once:\n{old}")
        return text.replace(old, "\n".join(self.new))


@dataclasses.dataclass
class Mutant:
    name: str
    is_quick: bool
    rule: str
    what: str
    edits: list
    has_row: bool = True  # in docs/mutants.md

    def changes_a_script(self):
        """Then the model of the scripts, which is no part of the library, is mostly changed as well."""
        return any(edit.path.startswith("tests/") or edit.path.endswith("/scripts.hpp") for edit in self.edits)

    def is_simulated(self):
        """Whether the simulator is compiled with what it changes."""
        faces = ("include/redlock/hiredis/", "include/redlock/impl/endpoint.hpp",
                 "include/redlock/impl/arguments.hpp", "include/redlock/impl/mutex.hpp",
                 "include/redlock/mutex.hpp", "include/redlock/fencing.hpp")
        return not all(edit.path.startswith(faces) for edit in self.edits) or not self.edits

    def is_simulated_deeply(self):
        """Whether it is about connections, or about what the engine makes of them."""
        rooms = ("include/redlock/hiredis/", "include/redlock/engine/")
        return not self.changes_a_fence() and any(edit.path.startswith(rooms) for edit in self.edits)

    def changes_a_fence(self):
        """What guards the data stands apart from the lock, and has tests of its own."""
        return any(edit.path.endswith(("/fencing.hpp", "/fenced.hpp")) for edit in self.edits)

    def thread_tests(self):
        """Those of many threads on sockets that it is about: of which thread drives, and of what they inherit."""
        engine = "include/redlock/engine/"
        tests = {"driver": [engine + name for name in ("event_loop.hpp", "driver_election.hpp", "awaitable.hpp")],
                 "threads": ["include/redlock/system/threads.hpp"]}
        return [name for name, paths in tests.items()
                if not self.edits or any(edit.path in paths for edit in self.edits)]

    def changes_the_connection(self):
        """In whose place the unit tests have one of their own."""
        return not self.changes_a_fence() and any(edit.path.startswith("include/redlock/hiredis/")
                                                  for edit in self.edits)


def parse_list(text):
    """Blocks between empty lines; what each line of a block is stands at the head of mutants.list."""
    lines = [line for line in text.split("\n") if not line.startswith("#")]
    blocks = [block.split("\n") for block in re.split(r"\n{2,}", "\n".join(lines).strip("\n"))]
    mutants = [parse_block(block) for block in blocks]
    names = [mutant.name for mutant in mutants]
    for name in names:
        if names.count(name) > 1:
            raise Wrong(f"there are two mutants called {name}")
    return mutants


def parse_block(block):
    head = re.fullmatch(r"(\w+)( \(quick\))?( \(no row yet\))?", block[0])
    about = re.fullmatch(r"(.+?): (.+)", block[1]) if len(block) > 1 else None
    if not head or not about:
        raise Wrong("a mutant begins with its name and its rule, but this one does not:\n" + "\n".join(block))
    edits = []
    for line in block[2:]:
        if line.startswith("-"):
            if edits[-1].new:  # another place in the same file
                edits.append(Edit(edits[-1].path))
            edits[-1].old.append(line[1:])
        elif line.startswith("+"):
            edits[-1].new.append(line[1:])
        else:
            edits.append(Edit(line))
    return Mutant(head[1], bool(head[2]), about[1], about[2], edits, not head[3])


def mutated_files(mutant):
    """The changed text by path."""
    texts = {}
    for edit in mutant.edits:
        text = texts.get(edit.path) or (ROOT / edit.path).read_text()
        texts[edit.path] = edit.apply_to(text, mutant.name)
    return texts


# ---- the catchers -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Findings:
    """Who noticed a mutant."""

    simulator: str = "–"  # after how many schedules it noticed what
    deep_simulator: str = ""  # likewise; empty: it was not asked
    tests: list = dataclasses.field(default_factory=list)
    seconds: float = 0

    def is_caught(self):
        return self.simulator != "–" or self.deep_simulator not in ("", "–") or bool(self.tests)

    def by_tests(self):
        if not self.tests:
            return "–"
        shown = ", ".join(f"`{name}`" for name in self.tests[:2])
        return f"{len(self.tests)}: {shown}" + (", …" if len(self.tests) > 2 else "")


class Workshop:
    """The copy of the library with one mutant in it, and the programs that are built on it."""

    def __init__(self, mutant, options):
        self.mutant = mutant
        self.options = options
        self.folder = options.build / mutant.name
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(ROOT / "include", self.folder / "include")
        for path, text in mutated_files(mutant).items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)

    def compile(self, name, source, *flags, libraries=(), includes=()):
        object_file = self.folder / f"{name}.o"
        program = self.folder / name
        include_flags = [f"-I{path}" for path in (*includes, self.folder / "include", ROOT / "tests")]
        # Warnings are for the library as it is; a mutant leaves things unused.
        command = [*self.options.compiler, "-std=c++20", "-w", *flags, *include_flags, "-c", source]
        self.must_work([*command, "-o", object_file])
        link = [self.options.compiler[-1], object_file, "-o", program, *[f"-l{lib}" for lib in libraries]]
        self.must_work([*link, "-pthread"])
        object_file.unlink()
        return program

    def must_work(self, command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Wrong(f"{self.mutant.name} does not compile:\n{done.stderr[:3000]}")

    def build_simulators(self):
        return self.compile("schedules", HERE / "schedules.cpp", "-O1", includes=[self.folder / "tests"],
                            libraries=["hiredis"])

    def simulate(self, program, depth):
        """After how many schedules of that depth it was noticed, and what."""
        output, has_ended = output_of([program, depth, str(self.options.schedules)], PATIENCE_SIMULATOR_S,
                                      CPU_TIME_SIMULATOR_S)
        found = re.fullmatch(r"(\d+) (\w)\n", output)
        if found:
            return f"{found[1]} ({found[2]})"
        return "–" if has_ended else "crashes or never ends"

    def run_tests_of(self, name, sources, *libraries):
        """As one translation unit, with what they share. The unit tests start no server."""
        if name != "unit":
            sources = [*sources, *sorted((ROOT / "tests" / "support").glob("*.cpp"))]
        unity = self.folder / f"{name}.cpp"
        unity.write_text("".join(f'#include "{path.relative_to(ROOT / "tests")}"\n'
                                 for path in sources if path.name != "clock_shim.cpp"))
        program = self.compile(name, unity, "-O0", libraries=[*libraries, "gtest", "gtest_main", "hiredis"])
        return failing_tests(program)

    def run_unit_tests(self, findings):
        sources = sorted((ROOT / "tests" / "unit").glob("*.cpp"))
        findings.tests += self.run_tests_of("unit", sources, "gmock")

    def run_script_tests(self, findings):
        findings.tests += self.run_tests_of("scripts", [ROOT / "tests" / "sim" / "model_redis_test.cpp"])

    def run_connection_tests(self, findings):
        folder = ROOT / "tests" / "integration"
        sources = [*sorted(folder.glob("connection_*_test.cpp")), folder / "resolver_test.cpp"]
        findings.tests += self.run_tests_of("connection", sources)

    def run_thread_tests(self, findings, name):
        findings.tests += self.run_tests_of(name, [ROOT / "tests" / "integration" / f"{name}_test.cpp"])

    def run_fence_tests(self, findings):
        folder = ROOT / "tests"
        sources = [folder / "unit" / "fence_guard_test.cpp", folder / "integration" / "fencing_redis_test.cpp"]
        findings.tests += self.run_tests_of("fence", sources, "gmock")

    def clear(self):
        shutil.rmtree(self.folder)


def failing_tests(program):
    """Those that fail every time: on a busy machine one may fail for no fault of the library. One in which the
    program crashed or stood still is not tried again."""
    tests, broken = run_tests(program, "*")
    for _ in range(RUNS - 1):
        again = [name for name in tests if name not in broken]
        failed = run_tests(program, ":".join(again))[0] if again else []
        tests = [name for name in tests if name in broken or name in failed]
    return tests


def run_tests(program, names):
    """The tests that failed, and those of them in which the program did not come to its end."""
    failed = []
    broken = []
    seen = []
    while True:
        selection = names + ("-" + ":".join(seen) if seen else "")
        output, has_ended = output_of([program, f"--gtest_filter={selection}"], PATIENCE_TEST_S)
        begun = re.findall(r"^\[ RUN +\] (\S+)$", output, re.MULTILINE)
        passed = re.findall(r"^\[ +(?:OK|SKIPPED) +\] ([\w./]+)", output, re.MULTILINE)
        failed += [name for name in begun if name not in passed]
        seen += begun
        if has_ended or not begun:
            return failed, broken
        broken += [name for name in begun[-1:] if name in failed]


def output_of(command, patience_s, cpu_time_s=CPU_TIME_S):
    """And whether the program came to its own end."""
    limited = ["sh", "-c", f'ulimit -c 0; ulimit -t {cpu_time_s}; exec "$@"', "sh", *command]
    output = b""
    with subprocess.Popen(limited, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while select.select([process.stdout], [], [], patience_s)[0]:
            piece = os.read(process.stdout.fileno(), 1 << 16)
            output += piece
            if not piece:
                break
        else:
            process.kill()
        has_ended = process.wait() in (0, 1)
    return output.decode(errors="replace"), has_ended


def examine(mutant, options):
    began = time.monotonic()
    findings = Findings()
    workshop = Workshop(mutant, options)
    is_connection = mutant.changes_the_connection()
    is_fence = mutant.changes_a_fence()
    is_deep = mutant.is_simulated_deeply() or (not mutant.edits and not options.quick)
    if mutant.is_simulated() or is_deep:
        program = workshop.build_simulators()
        if mutant.is_simulated():
            findings.simulator = workshop.simulate(program, "messages")
        if is_deep and (findings.simulator == "–" or not options.quick):
            findings.deep_simulator = workshop.simulate(program, "streams")
    # The unit tests' nodes run no script, but do what it should: they cannot see a change in one.
    is_script = mutant.changes_a_script()
    if not options.quick and not (is_script or is_connection or is_fence):
        workshop.run_unit_tests(findings)
    if not options.quick and (is_script or not mutant.edits):
        workshop.run_script_tests(findings)
    if not options.quick and (is_connection or not mutant.edits):
        workshop.run_connection_tests(findings)
    if not options.quick:
        for name in mutant.thread_tests():
            workshop.run_thread_tests(findings, name)
    if not options.quick and (is_fence or not mutant.edits):
        workshop.run_fence_tests(findings)
    workshop.clear()
    findings.seconds = time.monotonic() - began
    return findings


# ---- all of them --------------------------------------------------------------------------------------


def examine_all(mutants, options, on_result):
    innocent = examine(Mutant("the_library_itself", False, "", "", []), options)
    if innocent.is_caught():
        raise Wrong("the unchanged library is found guilty, so the rest would prove nothing: "
                    f"simulators {innocent.simulator}, {innocent.deep_simulator}; tests {innocent.by_tests()}")
    print(f"the unchanged library is found innocent, in {innocent.seconds:.0f} s", flush=True)
    errors = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(examine, mutant, options): mutant for mutant in mutants}
        for number, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            mutant = jobs[job]
            print(f"[{number}/{len(mutants)}] {mutant.name}: ", end="")
            try:
                findings = job.result()
            except Wrong as wrong:
                errors.append(str(wrong))
                print("ERROR", flush=True)
                continue
            print(f"simulators {findings.simulator}, {findings.deep_simulator}; tests {findings.by_tests()}"
                  f"{'' if findings.is_caught() else '   NOT CAUGHT'} ({findings.seconds:.0f} s)", flush=True)
            if findings.is_caught():
                on_result(mutant, findings)
            else:
                errors.append(f"nobody caught {mutant.name} ({mutant.what})")
    if errors:
        raise Wrong("\n".join(errors))


# ---- the table ----------------------------------------------------------------------------------------


TABLE_HEAD = """\
# Mutants: would the tests notice?

Tests that pass prove something only if they would fail were the library wrong. So the library is made wrong
on purpose, in one place at a time, as other lock libraries have been or as the algorithm forbids: {count}
mutants, listed with their exact changes in `tests/mutants/mutants.list`. The simulator and the tests are
compiled against a copy of the headers with the change made, and must fail; against the unchanged copy they
must pass. The headers themselves know nothing of it.

- **Simulator**: after how many random schedules (of {schedules:,} at most) it found the first violation, and of
  what:
{properties}.
- **Deep simulator**: likewise the one that simulates connections byte by byte, for mutants in `hiredis/` and
  `engine/`. An empty cell: it was not asked.
- **Tests**: how many unit tests fail, and the first of them. What is wrong in a Lua script is noticed by
  `ModelAgainstRedis`, which compares the simulator's model of the scripts with a real server; for the
  simulator such a mutant is made in the model as well, which shows what the defect would cost.

{by_simulator} are caught by a simulator, {by_tests} by tests, {by_both} by both.

This file is generated, by `tests/mutants/run.py --markdown docs/mutants.md`; `--only NAME` makes that row anew.

| mutant | what is wrong | rule | simulator | deep simulator | tests |
|---|---|---|---|---|---|
"""


class Table:
    """docs/mutants.md. Rows are replaced as they become known, so that a new mutant does not cost them all."""

    def __init__(self, path, mutants):
        self.path = path
        self.names = [mutant.name for mutant in mutants]
        self.rows = rows_of(path)

    def note(self, mutant, findings):
        self.rows[mutant.name] = (f"| `{mutant.name}` | {mutant.what} | {mutant.rule} | "
                                  f"{findings.simulator} | {findings.deep_simulator} | {findings.by_tests()} |")
        self.write()

    def write(self):
        rows = [self.rows[name] for name in self.names if name in self.rows]
        cells = [[cell.strip() for cell in row.split("|")[-4:-1]] for row in rows]
        simulated = [not {fast, deep} <= {"–", ""} for fast, deep, _ in cells]
        tested = [tests != "–" for _, _, tests in cells]
        head = TABLE_HEAD.format(
            count=len(rows), schedules=SCHEDULES, by_simulator=sum(simulated), by_tests=sum(tested),
            by_both=sum(map(min, simulated, tested)),
            properties=textwrap.fill(", ".join(f"({letter}) {words}" for letter, words in PROPERTIES.items()),
                                     width=106, initial_indent="  ", subsequent_indent="  "))
        self.path.write_text(head + "\n".join(rows) + "\n")


def rows_of(path):
    """By the mutant's name, in the table's order."""
    text = path.read_text() if path.exists() else ""
    return {row[1]: row[0] for row in re.finditer(r"^\| `(\w+)` \|.*$", text, re.MULTILINE)}


def check(mutants):
    """What can go stale without anything being built."""
    for mutant in mutants:
        mutated_files(mutant)
    names = [mutant.name for mutant in mutants if mutant.has_row]
    rows = list(rows_of(TABLE))
    if rows != names:
        differing = ", ".join(sorted(set(names) ^ set(rows))) or "their order"
        raise Wrong(f"docs/mutants.md does not list the mutants of mutants.list ({differing}): "
                    "tests/mutants/run.py --markdown docs/mutants.md makes it anew, with --only some rows")
    print(f"{len(mutants)} mutants: each has its place in the library, {len(names)} their row in docs/mutants.md")


def default_compiler():
    """clang++ takes a third of the time for these programs."""
    compiler = os.environ.get("CXX") or shutil.which("clang++") or "c++"
    launcher = shutil.which("ccache")
    return [launcher, compiler] if launcher else [compiler]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "mutants", metavar="DIR")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.schedules = SCHEDULES_QUICK if options.quick else SCHEDULES
    options.compiler = default_compiler()
    return options


def chosen(mutants, options):
    if options.quick:
        return [mutant for mutant in mutants if mutant.is_quick]
    if not options.only:
        return mutants
    unknown = set(options.only) - {mutant.name for mutant in mutants}
    if unknown:
        raise Wrong(f"there is no mutant called {', '.join(sorted(unknown))}")
    return [mutant for mutant in mutants if mutant.name in options.only]


def main():
    options = parse_arguments()
    os.environ.setdefault("CCACHE_BASEDIR", str(ROOT))
    os.environ.setdefault("CCACHE_NOHASHDIR", "1")
    mutants = parse_list(LIST.read_text())
    if options.check:
        return check(mutants)
    if options.quick and options.markdown:
        raise Wrong("--quick asks the simulator alone, which does not make a table")
    table = Table(options.markdown, mutants) if options.markdown else None
    began = time.monotonic()
    mutants = chosen(mutants, options)
    examine_all(mutants, options, table.note if table else lambda *_: None)
    print(f"all {len(mutants)} mutants are caught, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"\n{wrong}")
