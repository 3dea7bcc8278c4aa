// SPDX-License-Identifier: Apache-2.0
// Starts the nodes, prints the machine and versions, runs the chosen benchmarks, and ends the nodes.
#include <benchmark/benchmark.h>
#include <hiredis/hiredis.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <string>

#include "benchmarks.hpp"
#include "environment.hpp"

namespace {

// The value of a file's first line that begins with `key`; "unknown" if there is none.
std::string line_value(const char* path, const std::string& key) {
    std::ifstream file{path};
    for (std::string line; std::getline(file, line);) {
        const auto colon = line.find(':');
        if (line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
    }
    return "unknown";
}

void describe_machine() {
    using redlock::bench::Environment;
    auto& node = Environment::instance().cluster()[0];
#ifdef __clang__
    benchmark::AddCustomContext("compiler", "clang++ " __clang_version__);
#else
    benchmark::AddCustomContext("compiler", "g++ " __VERSION__);
#endif
    benchmark::AddCustomContext("hiredis", std::to_string(HIREDIS_MAJOR) + "." +
                                               std::to_string(HIREDIS_MINOR) + "." +
                                               std::to_string(HIREDIS_PATCH));
    benchmark::AddCustomContext("cpu", line_value("/proc/cpuinfo", "model name"));
    const auto valkey = node.info("server", "valkey_version");
    benchmark::AddCustomContext(
        "server", valkey.empty() ? "Redis " + node.info("server", "redis_version") : "Valkey " + valkey);
    benchmark::AddCustomContext("delay_each_way_us", std::to_string(Environment::each_way.count()));
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto status = redlock::bench::run_contender(argc, argv)) return *status;
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    try {
        describe_machine();
        redlock::bench::register_lock_unlock();
        redlock::bench::register_threads();
        redlock::bench::register_contention();
        redlock::bench::register_leases();
        benchmark::RunSpecifiedBenchmarks();
        benchmark::Shutdown();
        redlock::bench::Environment::shut_down();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "redlock_bench: %s\n", failure.what());
        return 1;
    }
    return 0;
}
