#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does check.py notice? Each test makes one thing wrong in a copy of the texts of the project."""

import pathlib
import unittest

import check

TEXTS = check.read_tree(pathlib.Path(__file__).resolve().parents[2])
RULES = check.read_rules(TEXTS[check.RULES])
FIRST = RULES[0]


def first_of(field):
    """What the first rule names there, and its parts: a file and a name."""
    reference = check.QUOTED.findall(getattr(FIRST, field))[0]
    path, _, names = reference.partition(": ")
    return reference, path, names.split(", ")[0]


class Notices(unittest.TestCase):
    def wrong_with(self, path, old, new):
        self.assertIn(old, TEXTS[path])
        return check.problems_of({**TEXTS, path: TEXTS[path].replace(old, new)})

    def notices(self, problem, path, old, new):
        self.assertIn(problem, "\n".join(self.wrong_with(path, old, new)))

    def test_nothing_where_nothing_is_wrong(self):
        self.assertEqual(check.problems_of(TEXTS), [])

    def test_a_rule_that_is_named_and_not_defined(self):
        unknown = f"R{len(RULES) + 1}"
        for path in ("README.md", "tests/run.sh", check.MUTANTS, "include/redlock/redlock.hpp"):
            more = {**TEXTS, path: TEXTS[path] + f"\n# {unknown}_is_kept\nx: {unknown}\n"}
            self.assertIn(f"{path}: {unknown} is not defined", "\n".join(check.problems_of(more)))

    def test_a_rule_that_is_missing_and_one_that_is_there_twice(self):
        self.notices("R1 is defined 0 times", check.RULES, "- **R1** ", "- ")
        self.notices("R1 is defined 2 times", check.RULES, "- **R2** ", "- **R1** ")

    def test_a_rule_without_places(self):
        for field in ("code", "tests", "mutants"):
            self.notices(f"R1: {field}: neither", check.RULES, f"  - {field}: ", "  - ")

    def test_code_that_is_not_there(self):
        reference, path, name = first_of("code")
        self.notices("gone.hpp does not exist", check.RULES, reference, f"gone.hpp: {name}")
        self.notices("no_such_name is not in include/redlock/", check.RULES, reference, f"{path}: no_such_name")
        self.notices("names nothing", check.RULES, reference, path)

    def test_a_header_that_was_moved(self):
        path = check.HEADERS + first_of("code")[1]
        fewer = {other: text for other, text in TEXTS.items() if other != path}
        self.assertIn(f"{check.RULES}: R1: {path} does not exist", check.problems_of(fewer))

    def test_a_test_that_is_not_there(self):
        reference, path, name = first_of("tests")
        self.notices("tests/gone.cpp does not exist", check.RULES, reference, f"gone.cpp: {name}")
        self.notices("has no test Gone.test", check.RULES, reference, f"{path}: Gone.test")
        self.notices(f"tests/{path} has no test {name}", f"tests/{path}", f", {name.split('.')[1]}", ", renamed")

    def test_a_mutant_that_is_not_there_or_breaks_another_rule(self):
        name = first_of("mutants")[0]
        self.notices("has no gone", check.RULES, f"`{name}`", "`gone`")
        other = next(found for found, rule in check.read_mutants(TEXTS[check.MUTANTS]).items() if rule == "R2")
        self.notices(f"the mutant {other} is one of R2", check.RULES, f"`{name}`", f"`{other}`")

    def test_a_room_that_is_not_in_the_table_and_one_that_is_there_alone(self):
        more = {**TEXTS, "include/redlock/attic/box.hpp": ""}
        self.assertIn(f"{check.ARCHITECTURE}: the room attic/ is not in the table", check.problems_of(more))
        self.notices("there is no room attic/", check.ARCHITECTURE, "| `engine/` |", "| `attic/` |")

    def test_a_walk_through_what_is_not_there_or_through_too_much(self):
        self.notices("no_such_name is not in", check.ARCHITECTURE, "redlock.hpp: try_lock`",
                     "redlock.hpp: no_such_name`")
        step = "1. `redlock.hpp: try_lock`"
        long = "".join(f"{n}. `room{n}/a.hpp: a`\n" for n in range(9)) + step
        self.notices("rooms, more than 6", check.ARCHITECTURE, step, long)
        self.notices("only 4 walks", check.ARCHITECTURE, "## The way of a release", "## A release")

    def test_a_glossary_that_is_too_long(self):
        more = {**TEXTS, check.ARCHITECTURE: TEXTS[check.ARCHITECTURE] + "| a | b |\n" * (check.GLOSSARY_MAX + 1)}
        self.assertIn("the glossary has", "\n".join(check.problems_of(more)))


if __name__ == "__main__":
    unittest.main()
