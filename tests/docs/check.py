#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do docs/rules.md and docs/architecture.md say what is there?

  check.py [ROOT]    prints what is wrong, and fails where anything is

A rule that a comment, a test, a mutant or a document names is defined. What a rule or a walk names exists: the
file and the name in it, the test, the mutant, which is one of that rule. Every room is in the table of rooms.
"""

import dataclasses
import pathlib
import re
import sys

RULES = "docs/rules.md"
ARCHITECTURE = "docs/architecture.md"
MUTANTS = "tests/mutants/mutants.list"
HEADERS = "include/redlock/"

FOLDERS = ("bench", "docs", "examples", "include", "src", "tests")
ENDINGS = {".cmake", ".cpp", ".hpp", ".list", ".md", ".py", ".sh", ".txt"}

ROOMS_MAX = 6
GLOSSARY_MAX = 25

NAMED_RULE = re.compile(r"(?<![A-Za-z0-9_])R(\d+)(?![A-Za-z0-9])")
DEFINED_RULE = re.compile(r"- \*\*R(\d+)\*\* ")
DETAIL = re.compile(r"  - (code|tests|mutants): ")
TEST = re.compile(r"^(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
QUOTED = re.compile(r"`([^`]+)`")


def read_tree(root):
    """Every text of the project by its path."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*"))] + sorted(root.glob("*.md"))
    texts = {}
    for path in paths:
        if path.is_file() and path.suffix in ENDINGS:
            texts[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
    return texts


# ---- rules -----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Rule:
    number: int
    sentence: str
    code: str = ""
    tests: str = ""
    mutants: str = ""


def read_rules(text):
    """A line that is indented and begins nothing new goes on with the one before."""
    rules = []
    field = None
    for line in text.splitlines():
        if begin := DEFINED_RULE.match(line):
            rules.append(Rule(int(begin[1]), line[begin.end():]))
            field = "sentence"
        elif field and (begin := DETAIL.match(line)):
            field = begin[1]
            setattr(rules[-1], field, line[begin.end():])
        elif field and line.startswith("  "):
            setattr(rules[-1], field, getattr(rules[-1], field) + " " + line.strip())
        else:
            field = None
    return rules


def wrong_numbers(rules):
    numbers = [rule.number for rule in rules]
    for number in range(1, max(numbers, default=1) + 1):
        if numbers.count(number) != 1:
            yield f"{RULES}: R{number} is defined {numbers.count(number)} times"


def undefined_rules(texts, rules):
    defined = {rule.number for rule in rules}
    for path, text in texts.items():
        for number in sorted({int(found) for found in NAMED_RULE.findall(text)} - defined):
            yield f"{path}: R{number} is not defined in {RULES}"


def read_mutants(text):
    """The rule, or whatever stands in its place, of each mutant."""
    blocks = re.split(r"\n\s*\n", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    lines = [block.strip().splitlines() for block in blocks if block.strip()]
    return {block[0].split()[0]: block[1].split(":")[0] for block in lines if len(block) > 1}


def missing_names(texts, reference):
    """Of `folder/file.hpp: name, Class::name`, below the headers."""
    path, _, names = reference.partition(": ")
    text = texts.get(HEADERS + path)
    if text is None:
        yield f"{HEADERS}{path} does not exist"
        return
    if not names:
        yield f"`{reference}` names nothing in the file"
    for name in re.split(r", |::", names):
        if name and not re.search(rf"\b{re.escape(name)}\b", text):
            yield f"{name} is not in {HEADERS}{path}"


def missing_test(texts, reference):
    """Of `folder/file_test.cpp: Suite.name`, below the tests."""
    path, _, name = reference.partition(": ")
    text = texts.get("tests/" + path)
    if text is None:
        yield f"tests/{path} does not exist"
    elif name not in {".".join(found) for found in TEST.findall(text)}:
        yield f"tests/{path} has no test {name}"


def wrong_rule(texts, rule, mutants):
    references = {field: QUOTED.findall(getattr(rule, field)) for field in ("code", "tests", "mutants")}
    for reference in references["code"]:
        yield from missing_names(texts, reference)
    for reference in references["tests"]:
        yield from missing_test(texts, reference)
    for name in references["mutants"]:
        if name not in mutants:
            yield f"{MUTANTS} has no {name}"
        elif mutants[name] != f"R{rule.number}":
            yield f"the mutant {name} is one of {mutants[name]}"
    for field, found in references.items():
        if not found and not re.match(r"none, since \w", getattr(rule, field)):
            yield f"{field}: neither one nor \"none, since …\""


def wrong_rules(texts):
    rules = read_rules(texts[RULES])
    mutants = read_mutants(texts[MUTANTS])
    yield from wrong_numbers(rules)
    yield from undefined_rules(texts, rules)
    for rule in rules:
        for problem in wrong_rule(texts, rule, mutants):
            yield f"{RULES}: R{rule.number}: {problem}"


# ---- architecture ----------------------------------------------------------------------------------------


def sections(text):
    """The text below each heading, by the heading."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def rows(text):
    """The first cell of every row of a table, but for its head."""
    cells = re.findall(r"^\| *([^|]*?) *\|", text, flags=re.MULTILINE)
    return cells[2:]


def room_of(path):
    """The folder of a header; those that are in none are the face."""
    folder, slash, _ = path.partition("/")
    return folder if slash else ""


def wrong_walk(texts, title, text):
    """A numbered list of what a call passes; each step begins with its place."""
    steps = re.findall(r"^\d+\. `([^`]+)`", text, flags=re.MULTILINE)
    if not steps:
        yield f"{title}: no steps"
    for reference in QUOTED.findall(text):
        if ".hpp" in reference:
            yield from (f"{title}: {problem}" for problem in missing_names(texts, reference))
    rooms = {room_of(step) for step in steps}
    if len(rooms) > ROOMS_MAX:
        yield f"{title}: it passes {len(rooms)} rooms, more than {ROOMS_MAX}"


def wrong_rooms(texts, text):
    paths = [path.removeprefix(HEADERS) for path in texts if path.startswith(HEADERS)]
    there = {room_of(path) + "/" for path in paths if room_of(path)}
    told = {name.strip("`") for name in rows(text) if name.endswith("/`")}
    yield from (f"the room {name} is not in the table" for name in sorted(there - told))
    yield from (f"there is no room {name}" for name in sorted(told - there))


def wrong_architecture(texts):
    parts = sections(texts[ARCHITECTURE])
    problems = list(wrong_rooms(texts, parts.get("Rooms", "")))
    walks = {title: text for title, text in parts.items() if title.startswith("The way of ")}
    if len(walks) < 5:
        problems.append(f"only {len(walks)} walks")
    for title, text in walks.items():
        problems += wrong_walk(texts, title, text)
    words = len(rows(parts.get("Glossary", "")))
    if not 0 < words <= GLOSSARY_MAX:
        problems.append(f"the glossary has {words} words, not 1 to {GLOSSARY_MAX}")
    return [f"{ARCHITECTURE}: {problem}" for problem in problems]


def problems_of(texts):
    return [*wrong_rules(texts), *wrong_architecture(texts)]


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    problems = problems_of(read_tree(root))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
