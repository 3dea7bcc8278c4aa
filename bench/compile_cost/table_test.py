#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench/compile_cost/table.py makes of measurements: medians, ratios, limits."""

import contextlib
import io
import os
import sys
import tempfile
import unittest
from unittest import mock

import table

BASELINE = ("now", "-", "baseline", 1.0)


class Program(unittest.TestCase):
    """Its exit status and its output, on lines of (headers, mode, program, user seconds); the memory follows the time."""

    def run_with(self, lines, *arguments):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "results.tsv")
            with open(path, "w", encoding="utf-8") as file:
                for headers, mode, program, seconds in lines:
                    file.write(f"{headers}\tg++\t-O2\t{mode}\t{program}\t{seconds}\t{seconds * 102400}\n")
            with (
                mock.patch.object(sys, "argv", ["table.py", *arguments, path]),
                contextlib.redirect_stdout(io.StringIO()) as output,
                contextlib.redirect_stderr(io.StringIO()) as errors,
            ):
                return table.main(), output.getvalue(), errors.getvalue()

    def test_medians_and_their_ratios(self):
        lines = [BASELINE] * 3 + [("now", "header-only", "one_try_lock", seconds) for seconds in (9.0, 4.0, 3.0)]
        status, output, errors = self.run_with(lines)
        self.assertEqual((status, errors), (0, ""))
        self.assertRegex(output, r"g\+\+ -O2 +one try_lock +header-only +4\.00 +4\.00 +400 +4\.00\n")
        self.assertIn("Medians of 3 runs.", output)

    def test_compiled_has_a_limit(self):
        status, _, errors = self.run_with([BASELINE, ("now", "compiled", "include_only", 1.6)])
        self.assertEqual(status, 1)
        self.assertIn("exceeded: g++ -O2, the include, compiled: user time is 1.60 × the baseline, not ≤ 1.50", errors)
        self.assertIn("peak memory is 1.60", errors)
        self.assertEqual(self.run_with([BASELINE, ("now", "compiled", "include_only", 1.5)])[0], 0)

    def test_header_only_has_the_limit_that_is_asked(self):
        lines = [BASELINE, ("before", "header-only", "many_uses", 4.0), ("now", "header-only", "many_uses", 3.0)]
        self.assertEqual(self.run_with(lines)[0], 0)
        self.assertEqual(self.run_with(lines, "--at-most", "0.75")[0], 0)
        status, output, errors = self.run_with(lines, "--at-most", "0.6")
        self.assertEqual(status, 1)
        self.assertIn("user time is 0.75 × that before, not ≤ 0.60", errors)
        self.assertEqual(errors.count("exceeded"), 1)
        self.assertRegex(output, r"3\.00 +0\.75 +0\.75\n")

    def test_compiled_is_compared_with_what_there_was_before(self):
        now = [BASELINE, ("now", "compiled", "many_uses", 1.0)]
        before = ("before", "header-only", "many_uses", 10.0)
        self.assertRegex(self.run_with([*now, before])[1], r"0\.10 +0\.10\n")
        compiled = ("before", "compiled", "many_uses", 2.0)
        self.assertRegex(self.run_with([*now, before, compiled])[1], r"0\.50 +0\.50\n")

    def test_markdown(self):
        output = self.run_with([BASELINE], "--markdown")[1].splitlines()
        self.assertRegex(output[0], r"^\| compiler +\| program +\| mode \|")
        self.assertRegex(output[1], r"^\| -+ \| -+ \| -+ \| -+: \|")
        self.assertEqual({line.count("|") for line in output[:3]}, {8})


if __name__ == "__main__":
    unittest.main()
