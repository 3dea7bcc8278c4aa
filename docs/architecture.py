#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/architecture.svg: the rooms of the library, and who includes whom, from the includes themselves.

  architecture.py [ROOT]            writes the picture
  architecture.py --check [ROOT]    fails where it is not the one in ROOT/docs

A room is a folder of include/redlock. The headers that are in no folder are two rooms: the vocabulary types, which
other rooms include, and the face. impl/ has the definitions of both and includes what it defines: that is no arrow.
An arrow that follows from others is left out. Rooms that include each other are an error.
"""

import collections
import html
import pathlib
import re
import sys
import textwrap

FACE = "the face"
TYPES = "vocabulary types"
DEFINITIONS = "impl/"

INCLUDE = re.compile(r'^ *# *include *[<"]redlock/([^>"]+)[>"]', re.MULTILINE)

BOX_WIDTH, COLUMN, ROW_GAP, MARGIN = 230, 252, 44, 20
TITLE_HEIGHT, LINE_HEIGHT, LINE_CHARACTERS = 26, 14, 40


class Wrong(Exception):
    """What makes this script fail, in words."""


# ---- rooms -----------------------------------------------------------------------------------------------


def read_includes(root):
    """What each header includes of the library, by their paths below include/redlock."""
    headers = root / "include" / "redlock"
    includes = {}
    for path in sorted(headers.rglob("*.hpp")):
        includes[path.relative_to(headers).as_posix()] = INCLUDE.findall(path.read_text(encoding="utf-8"))
    return includes


def folder_of(header):
    return header.rpartition("/")[0].partition("/")[0] + "/" if "/" in header else ""


def rooms_of(includes):
    """The room of each header."""
    types = set()
    fresh = {used for header, all_used in includes.items() for used in all_used
             if folder_of(header) not in ("", DEFINITIONS) and not folder_of(used)}
    while fresh:
        types |= fresh
        fresh = {used for header in fresh for used in includes.get(header, []) if not folder_of(used)} - types
    return {header: folder_of(header) or (TYPES if header in types else FACE) for header in includes}


def arrows_of(includes, rooms):
    """For each room those that it includes."""
    arrows = {room: set() for room in sorted(set(rooms.values()))}
    for header, all_used in includes.items():
        for used in all_used:
            if used not in rooms:
                raise Wrong(f"{header} includes {used}, which does not exist")
            here, there = rooms[header], rooms[used]
            if there == DEFINITIONS and not folder_of(header):
                here = FACE
            if here != there and (here, there) != (DEFINITIONS, FACE):
                arrows[here].add(there)
    return arrows


def all_below(arrows, room, path=()):
    """Every room that one includes, also by way of others."""
    if room in path:
        raise Wrong("rooms that include each other: " + " -> ".join([*path[path.index(room):], room]))
    below = set(arrows[room])
    for other in arrows[room]:
        below |= all_below(arrows, other, (*path, room))
    return below


def reduced(arrows):
    """Without the arrows that follow from others."""
    below = {room: all_below(arrows, room) for room in arrows}
    return {room: sorted(used - {far for near in used for far in below[near]}) for room, used in arrows.items()}


# ---- places ----------------------------------------------------------------------------------------------


def floors_of(arrows):
    """Each room above all that it includes, and as low as that lets it be; the lowest is 0."""
    floors = {}

    def floor_of(room):
        if room not in floors:
            floors[room] = max((floor_of(used) + 1 for used in arrows[room]), default=0)
        return floors[room]

    for room in arrows:
        floor_of(room)
    return floors


def lines_of(arrows, floors):
    """Per arrow its points, a (floor, name) each: on the floors between, a place to pass through."""
    lines = []
    for room, all_used in arrows.items():
        for used in all_used:
            between = [(floor, f"{room} {used}") for floor in range(floors[room] - 1, floors[used], -1)]
            lines.append([(floors[room], room), *between, (floors[used], used)])
    return lines


def order_of(floors, lines):
    """The places of each floor from left to right, so that few lines cross."""
    rows = collections.defaultdict(list)
    for place in sorted({(floor, room) for room, floor in floors.items()} | {p for line in lines for p in line}):
        rows[place[0]].append(place)
    neighbours = collections.defaultdict(list)
    for line in lines:
        for upper, lower in zip(line, line[1:]):
            neighbours[upper].append(lower)
            neighbours[lower].append(upper)
    for sweep in range(8):
        middle = {place: x - (len(row) - 1) / 2 for row in rows.values() for x, place in enumerate(row)}
        for floor in sorted(rows, reverse=sweep % 2 == 0):
            wanted = {place: sum(middle[n] for n in neighbours[place]) / max(1, len(neighbours[place]))
                      for place in rows[floor]}
            rows[floor].sort(key=lambda place: (wanted[place], place))
            middle.update({place: x - (len(rows[floor]) - 1) / 2 for x, place in enumerate(rows[floor])})
    return rows


# ---- picture ---------------------------------------------------------------------------------------------


def box_text(room, rooms):
    names = sorted(header.rpartition("/")[2].removesuffix(".hpp") for header, where in rooms.items() if where == room)
    return textwrap.wrap(", ".join(names), LINE_CHARACTERS)


def draw_box(room, text, x, y, height):
    yield (f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{y:.0f}" width="{BOX_WIDTH}" height="{height}" rx="6" '
           'fill="#eef3fa" stroke="#3d5a80"/>')
    yield f'<text x="{x:.0f}" y="{y + 18:.0f}" class="room">{html.escape(room)}</text>'
    for number, line in enumerate(text):
        yield f'<text x="{x:.0f}" y="{y + 34 + number * LINE_HEIGHT:.0f}">{html.escape(line)}</text>'


def draw(rooms, arrows):
    floors = floors_of(arrows)
    lines = lines_of(arrows, floors)
    rows = order_of(floors, lines)
    texts = {room: box_text(room, rooms) for room in arrows}
    width = max(len(row) for row in rows.values()) * COLUMN + 2 * MARGIN
    places, boxes = {}, []
    top = MARGIN
    for floor in sorted(rows, reverse=True):
        height = max(TITLE_HEIGHT + LINE_HEIGHT * len(texts.get(name, [])) + 4 for _, name in rows[floor])
        for number, place in enumerate(rows[floor]):
            x = width / 2 + (number - (len(rows[floor]) - 1) / 2) * COLUMN
            places[place] = (x, top, top + height)
            if place[1] in texts:
                boxes += draw_box(place[1], texts[place[1]], x, top, height)
        top += height + ROW_GAP
    paths = []
    for line in lines:
        points = [places[line[0]][::2]]
        points += [(places[p][0], y) for p in line[1:-1] for y in places[p][1:]]
        points.append(places[line[-1]][:2])
        paths.append(f'<polyline points="{" ".join(f"{x:.0f},{y:.0f}" for x, y in points)}" class="arrow"/>')
    return picture(width, top - ROW_GAP + MARGIN, [*paths, *boxes])


def picture(width, height, elements):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        "<!-- made by docs/architecture.py -->",
        "<style>text { font: 11px sans-serif; text-anchor: middle; fill: #222 } .room { font: bold 14px sans-serif }",
        ".arrow { fill: none; stroke: #3d5a80; stroke-width: 1.4; marker-end: url(#head) }</style>",
        '<defs><marker id="head" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
        '<path d="M0,0 L9,4 L0,8 z" fill="#3d5a80"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *elements, "</svg>", ""])


def main():
    arguments = sys.argv[1:]
    is_check = "--check" in arguments
    roots = [argument for argument in arguments if argument != "--check"]
    root = pathlib.Path(roots[0]) if roots else pathlib.Path(__file__).resolve().parent.parent
    file = root / "docs" / "architecture.svg"
    try:
        includes = read_includes(root)
        rooms = rooms_of(includes)
        drawn = draw(rooms, reduced(arrows_of(includes, rooms)))
        if not is_check:
            file.write_text(drawn, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != drawn:
            raise Wrong(f"{file} is not what the includes make it: run docs/architecture.py")
    except Wrong as wrong:
        print(wrong)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
