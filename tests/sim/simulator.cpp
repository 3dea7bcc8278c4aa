// SPDX-License-Identifier: Apache-2.0
// The simulator as a program: runs many schedules, or shows one. See `--help`.
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "sim/run.hpp"

namespace {

using namespace redlock::sim;

constexpr const char* usage = R"(usage: redlock_simulator [option...]

  --schedules N     run N schedules (20000); stop at the first that violates a property
  --seed N          begin with this seed (1); without --schedules, run it alone and print its timeline
  --deep            also simulate the connections, byte by byte: log-in, reconnects, name look-ups
  --break WHAT      break an assumption of the algorithm: drift, jump (of nodes' clocks) or memory;
                    then exclusion may fail, and the seeds where it does are reported
  --shrink          with --seed: take faults, clients and operations out while it still fails the same way
  --help
)";

struct Command {
    Seeds seeds{1, 20'000};
    Broken broken = Broken::none;
    Depth depth = Depth::messages;
    bool is_one = false;
    bool shrinks = false;
};

[[noreturn]] void leave(const std::string& why) {
    std::fprintf(stderr, "redlock_simulator: %s\n\n%s", why.c_str(), usage);
    std::exit(2);
}

/// All of the text is the number: a seed that was mistyped must not run as another one.
std::uint64_t number_of(std::string_view option, std::string_view text) {
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc{} && stop == end) return value;
    const char* wanted = error == std::errc::result_out_of_range ? "a number below 2^64" : "a whole number";
    leave(std::string{option} + " needs " + wanted + ", not '" + std::string{text} + "'");
}

Broken broken_of(std::string_view name) {
    if (name == "drift") return Broken::drift;
    if (name == "jump") return Broken::jump;
    if (name == "memory") return Broken::memory;
    leave("--break is one of drift, jump and memory, not '" + std::string{name} + "'");
}

/// Refuses arguments with which it would run nothing, or not what was meant, and report a success.
void check(const Command& command) {
    if (command.seeds.count == 0) leave("--schedules needs at least 1, not '0'");
    const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - command.seeds.first;
    if (!command.is_one && command.seeds.count > room) {
        leave(std::to_string(command.seeds.count) + " schedules from seed " +
              std::to_string(command.seeds.first) + " go beyond the last seed");
    }
    if (command.shrinks && !command.is_one) leave("--shrink needs a --seed, and no --schedules");
}

Command parse(int argc, char** argv) {
    Command command;
    bool has_count = false;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--shrink") {
            command.shrinks = true;
            continue;
        }
        if (option == "--deep") {
            command.depth = Depth::streams;
            continue;
        }
        if (option == "--help") {
            std::fputs(usage, stdout);
            std::exit(0);
        }
        if (option != "--seed" && option != "--schedules" && option != "--break") {
            leave("there is no option '" + std::string{option} + "'");
        }
        if (i + 1 == argc) leave(std::string{option} + " needs a value");
        const std::string_view value = argv[++i];
        if (option == "--seed") {
            command.seeds.first = number_of(option, value);
            command.is_one = true;
        } else if (option == "--schedules") {
            command.seeds.count = number_of(option, value);
            has_count = true;
        } else {
            command.broken = broken_of(value);
        }
    }
    command.is_one = command.is_one && !has_count;
    check(command);
    return command;
}

void print(const Violation& violation, std::uint64_t seed) {
    std::printf("seed %llu violates (%c) at %.6f ms: %s\n", static_cast<unsigned long long>(seed),
                static_cast<char>(violation.property), static_cast<double>(violation.at.count()) / 1e6,
                violation.what.c_str());
}

void print(const Plan& plan) {
    std::printf("nodes %u, clients %u, ttl %lld ms, node_timeout %lld ms, fencing %s, quarantine %lld ms\n",
                plan.node_count, plan.client_count, static_cast<long long>(plan.ttl.count()),
                static_cast<long long>(plan.options.node_timeout.count()),
                plan.options.fencing ? "on" : "off",
                static_cast<long long>(plan.options.restart_quarantine.count()));
    std::printf("%zu faults, operations %u of each worker, workers", plan.faults.size(),
                plan.operation_count);
    for (std::uint32_t c = 0; c < plan.client_count; ++c) std::printf(" %u", plan.worker_count[c]);
    std::printf(", exclusion is %s\n\n", plan.is_sound() ? "promised" : "not promised");
}

/// True when all is well.
bool run_one(const Command& command) {
    Plan plan = plan_of(command.seeds.first, command.broken, command.depth);
    if (command.shrinks) {
        const Outcome outcome = run(plan);
        if (outcome.violation) {
            plan = shrink(std::move(plan), outcome.violation->property);
        } else if (outcome.overlaps > 0) {
            plan = Shrinker{std::move(plan), [](const Outcome& o) { return o.overlaps > 0; }}.shrink();
        }
    }
    const Outcome outcome = run(plan, true);
    print(plan);
    std::fputs(outcome.timeline.c_str(), stdout);
    std::printf("\n%zu events, %zu acquisitions, %zu overlaps\n", outcome.events, outcome.acquired,
                outcome.overlaps);
    if (outcome.violation) print(*outcome.violation, command.seeds.first);
    return !outcome.violation;
}

void print_seeds(const char* what, const std::vector<std::uint64_t>& seeds) {
    std::printf("%s: %zu schedules", what, seeds.size());
    for (std::size_t i = 0; i < seeds.size() && i < 5; ++i) {
        std::printf("%s%llu", i == 0 ? ", seeds " : ", ", static_cast<unsigned long long>(seeds[i]));
    }
    std::printf("\n");
}

void print(const Totals& totals, double seconds) {
    const auto count = static_cast<double>(totals.schedules);
    std::printf(
        "%zu schedules in %.1f s of CPU time: %.0f a second, %.0f events and %.2f acquisitions each\n",
        totals.schedules, seconds, count / seconds, static_cast<double>(totals.events) / count,
        static_cast<double>(totals.acquired) / count);
    std::printf("faults:");
    for (std::size_t i = 0; i < Fault::kind_count; ++i) {
        const std::string name{to_string(static_cast<Fault::Kind>(i))};
        std::printf("%s %s %zu", i == 0 ? "" : ",", name.c_str(), totals.faults[i]);
    }
    std::printf("\n");
}

bool run_range(const Command& command) {
    const std::clock_t began = std::clock();
    const Totals totals = run_many(command.seeds, command.broken, command.depth);
    print(totals, static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC);
    if (command.broken != Broken::none) {
        print_seeds("two holders at once, as must be expected", totals.overlapping);
        print_seeds("fencing tokens out of order, counters lost and clocks wrong", totals.tokens_disordered);
    }
    if (!totals.violation) return true;
    print(*totals.violation, *totals.failing);
    const Plan smallest =
        shrink(plan_of(*totals.failing, command.broken, command.depth), totals.violation->property);
    std::printf("\nas small as it gets (--seed %llu --shrink):\n",
                static_cast<unsigned long long>(*totals.failing));
    print(smallest);
    std::fputs(run(smallest, true).timeline.c_str(), stdout);
    return false;
}

}  // namespace

int main(int argc, char** argv) {
    const Command command = parse(argc, argv);
    return (command.is_one ? run_one(command) : run_range(command)) ? 0 : 1;
}
