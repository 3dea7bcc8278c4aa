#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench/report.py makes of missed targets and of targets without data."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from unittest import mock

import report


class Everything(report.Results):
    """Every figure there is, and all of them the same; but for some."""

    def __init__(self, figure, but_for=()):
        super().__init__({"context": {"num_cpus": 1}, "benchmarks": []})
        self.figure, self.but_for = figure, dict(but_for)

    def median(self, name, counter):
        return self.but_for.get(name, self.figure)


def targets_of(results):
    return [*report.targets(results), *report.targets_of_waiting(results)]


class Targets(unittest.TestCase):
    def wrong_with(self, results):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            missed, unmeasured = report.print_targets(results)
        self.assertEqual(output.getvalue().count("NO"), len(missed))
        self.assertEqual(output.getvalue().count("no data"), len(unmeasured))
        return missed, unmeasured

    def test_none_is_dropped(self):
        for figure in (0.0, 1.0, 1e9, None):
            results = Everything(figure)
            missed, unmeasured = self.wrong_with(results)
            known = [target for target in targets_of(results) if target[1] is not None]
            met = [claim for claim, value, limit, is_upper in known if (value <= limit if is_upper else value >= limit)]
            self.assertGreater(len(targets_of(results)), 15)
            self.assertEqual(len(missed) + len(unmeasured) + len(met), len(targets_of(results)))

    def test_what_was_not_measured_is_named(self):
        _, unmeasured = self.wrong_with(Everything(1.0, {"contention/handover": None}))
        self.assertEqual(unmeasured, ["no data: hand-over, round trips, ≤ 3.00"])

    def test_what_was_missed_is_named(self):
        missed, _ = self.wrong_with(Everything(1.0, {"contention/handover": 3.5}))
        self.assertIn("missed: hand-over, round trips, 3.50, not ≤ 3.00", missed)


class Program(unittest.TestCase):
    """Its exit status and its messages, for results as the benchmark writes them."""

    def run_with(self, benchmarks, *arguments):
        path = os.path.join(self.directory, "results.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"context": {"num_cpus": 1}, "benchmarks": benchmarks}, file)
        with (
            mock.patch.object(sys, "argv", ["report.py", *arguments, path]),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            return report.main(), errors.getvalue()

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def handover(self, round_trips):
        counters = {"notified_us": round_trips, "round_trip_us": 1.0}
        return [{"run_type": "iteration", "run_name": "contention/handover", **counters}]

    def test_a_target_without_data_is_a_failure(self):
        status, errors = self.run_with(self.handover(2.0))
        self.assertEqual(status, 1)
        self.assertIn("no data: N=9", errors)
        self.assertNotIn("hand-over", errors)

    def test_but_not_where_a_part_was_measured(self):
        self.assertEqual(self.run_with(self.handover(2.0), "--partial"), (0, ""))

    def test_a_missed_target_is_a_failure(self):
        status, errors = self.run_with(self.handover(4.0), "--partial")
        self.assertEqual((status, errors), (1, "missed: hand-over, round trips, 4.00, not ≤ 3.00\n"))

    def test_a_failed_benchmark_is_a_failure(self):
        failed = {"run_type": "iteration", "run_name": "x", "error_occurred": True, "error_message": "why"}
        status, errors = self.run_with([failed], "--partial")
        self.assertEqual((status, errors), (1, "failed: x: why\n"))


if __name__ == "__main__":
    unittest.main()
