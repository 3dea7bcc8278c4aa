// SPDX-License-Identifier: Apache-2.0
// Chaos on real nodes: servers, clients and the connections between them suffer faults drawn from a seed,
// while the checks go on. The same program is the supervisor and, started by it, each of the clients.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chaos/client.hpp"
#include "chaos/end_signals.hpp"
#include "chaos/settings.hpp"
#include "chaos/supervisor.hpp"
#include "support/seed.hpp"

namespace redlock::chaos {
namespace {

using namespace std::chrono_literals;

constexpr const char* usage =
    "usage: redlock_chaos [--seconds N] [--seed N] [--break DEFECT]...\n"
    "  --seconds N  how long nodes and clients suffer, 3 or more (60)\n"
    "  --seed N     the faults of an earlier run, which has printed its seed\n"
    "  --break D    a deliberate defect of the clients: quorum, fence, validity, crash or hang\n"
    "Exit status: 0, all checks passed; 1, one did not; 2, it could not be run; 130, interrupted.\n";

std::optional<RunSettings> parse(const std::vector<std::string>& arguments) {
    constexpr std::uint64_t shortest = 3;
    constexpr std::uint64_t longest = 1'000'000;
    RunSettings settings;
    settings.seed = test::seed_from("REDLOCK_CHAOS_SEED");
    for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
        const std::string& value = arguments[i + 1];
        const auto n = number(value);
        if (arguments[i] == "--seconds" && n && *n >= shortest && *n <= longest) {
            settings.lasts = std::chrono::seconds{*n};
        } else if (arguments[i] == "--seed" && n) {
            settings.seed = *n;
        } else if (arguments[i] != "--break" || !settings.defects.set(value)) {
            return std::nullopt;
        }
    }
    if (arguments.size() % 2 != 0) return std::nullopt;
    return settings;
}

int supervise(const RunSettings& settings) {
    std::printf("seed %llu, %lld s\n", static_cast<unsigned long long>(settings.seed),
                static_cast<long long>(settings.lasts.count()));
    std::fflush(stdout);
    const EndSignals signals;
    std::optional<Supervisor> supervisor;
    try {
        supervisor.emplace(settings, signals);
        const bool has_passed = supervisor->run();
        supervisor->report();
        std::printf("seed %llu: %s\n", static_cast<unsigned long long>(settings.seed),
                    has_passed ? "passed" : "FAILED");
        return has_passed ? 0 : 1;
    } catch (const std::exception&) {
        // A Ctrl-C goes to the servers too, whose end may be seen first.
        if (!signals.arrived_within(0ns)) throw;
        std::printf("interrupted\n");
        if (supervisor) supervisor->report();
        return 130;
    }
}

int run(const std::vector<std::string>& arguments) {
    if (!arguments.empty() && arguments.front() == "client") {
        return run_client(ClientSettings::parse({arguments.begin() + 1, arguments.end()}));
    }
    if (!arguments.empty() && arguments.front() == "--help") return std::fputs(usage, stdout) < 0 ? 2 : 0;
    const auto settings = parse(arguments);
    if (!settings) {
        std::fputs(usage, stderr);
        return 2;
    }
    return supervise(*settings);
}

}  // namespace
}  // namespace redlock::chaos

int main(int argc, char** argv) {
    try {
        return redlock::chaos::run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "redlock_chaos: %s\n", error.what());
        return 2;
    }
}
