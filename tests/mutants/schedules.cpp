// SPDX-License-Identifier: Apache-2.0
// A simulator for a mutant: schedules until the first that violates a property, and no story about it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "sim/deep/run.cpp"
#include "sim/run.cpp"

// With two arguments: the depth, and how many. Prints "<schedules> <property>" when it finds a violation, and
// nothing when it does not.
int main(int argc, char** argv) {
    using namespace redlock::sim;
    if (argc != 3) return 2;
    const Depth depth = std::string_view{argv[1]} == "streams" ? Depth::streams : Depth::messages;
    const std::uint64_t count = std::strtoull(argv[2], nullptr, 10);
    const Totals totals = run_many({1, count}, Broken::none, depth);
    if (!totals.violation) return 0;
    std::printf("%zu %c\n", totals.schedules, static_cast<char>(totals.violation->property));
    return 1;
}
