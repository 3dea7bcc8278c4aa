#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What docs/architecture.py makes of includes."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs"))
import architecture  # noqa: E402

INCLUDES = {
    "face.hpp": ["impl/face.hpp", "options.hpp"],
    "impl/face.hpp": ["face.hpp", "upper/a.hpp"],
    "upper/a.hpp": ["lower/b.hpp", "options.hpp"],
    "lower/b.hpp": ["options.hpp"],
    "options.hpp": [],
}


def arrows(includes):
    return architecture.reduced(architecture.arrows_of(includes, architecture.rooms_of(includes)))


class Architecture(unittest.TestCase):
    def test_headers_in_no_folder_are_the_face_or_what_rooms_include(self):
        rooms = architecture.rooms_of(INCLUDES)
        self.assertEqual((rooms["face.hpp"], rooms["options.hpp"]), (architecture.FACE, architecture.TYPES))

    def test_an_arrow_that_follows_from_others_is_left_out(self):
        self.assertEqual(arrows(INCLUDES), {
            architecture.FACE: ["impl/"], "impl/": ["upper/"], "upper/": ["lower/"],
            "lower/": [architecture.TYPES], architecture.TYPES: []})

    def test_rooms_that_include_each_other_are_an_error(self):
        with self.assertRaisesRegex(architecture.Wrong, "include each other: .*lower/"):
            arrows({**INCLUDES, "lower/b.hpp": ["upper/a.hpp"]})

    def test_an_include_of_nothing_is_an_error(self):
        with self.assertRaisesRegex(architecture.Wrong, "which does not exist"):
            arrows({**INCLUDES, "lower/b.hpp": ["gone.hpp"]})

    def test_the_picture_shows_a_new_arrow_and_a_new_header(self):
        def drawn(includes):
            return architecture.draw(architecture.rooms_of(includes), arrows(includes))
        more = {**INCLUDES, "other/c.hpp": ["lower/b.hpp"]}
        self.assertEqual(drawn(INCLUDES), drawn(INCLUDES))
        self.assertNotEqual(drawn(INCLUDES), drawn(more))
        self.assertIn("other/", drawn(more))
        self.assertNotEqual(drawn(more), drawn({**more, "other/c.hpp": ["upper/a.hpp"]}))


if __name__ == "__main__":
    unittest.main()
