// SPDX-License-Identifier: Apache-2.0
// Latency of lock + unlock in one thread, compared with its lower bound: N = 1, 3, 5, 9; near and far; with
// one and two of five nodes hung. The library and the raw sockets take turns within one benchmark, a few
// cycles each, so that a slow moment of the machine affects both.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <redlock/redlock.hpp>
#include <string>

#include "benchmarks.hpp"
#include "environment.hpp"
#include "latency.hpp"
#include "raw_sockets.hpp"

namespace redlock::bench {
namespace {

struct Setting {
    Path path = Path::unix_socket;
    Mode mode = Mode::plain;
    std::size_t nodes = 5;
    std::size_t hung = 0;

    [[nodiscard]] std::string name() const {
        return std::string{"lock_unlock/"} + name_of(path) +
               (mode == Mode::plain ? "/plain/N" : "/fenced/N") + std::to_string(nodes) + "/hung" +
               std::to_string(hung);
    }
};

class RawContender {
   public:
    explicit RawContender(const Setting& setting)
        : nodes_(Environment::instance().uris(setting.path, setting.nodes)),
          bytes_(CycleBytes::of(Environment::fresh_resource(), setting.mode)) {}

    void cycle() {
        nodes_.round(bytes_.lock);
        nodes_.round(bytes_.unlock);
    }

   private:
    RawNodes nodes_;
    CycleBytes bytes_;
};

class LibraryContender {
   public:
    explicit LibraryContender(const Setting& setting)
        : locks_(Environment::instance().uris(setting.path, setting.nodes), options(setting)),
          resource_(Environment::fresh_resource()) {}

    void cycle() {
        using namespace std::chrono_literals;
        auto lock = locks_.try_lock(resource_, 10s).value();
        if (!lock.unlock()) throw std::runtime_error("unlock was not confirmed");
    }

   private:
    static Options options(const Setting& setting) {
        Options options;
        options.fencing = setting.mode == Mode::fenced;
        return options;
    }

    Redlock locks_;
    std::string resource_;
};

template <class Contender>
void take_turn(Contender& contender, int cycles, Latencies& latencies) {
    for (int i = 0; i < cycles; ++i) {
        const auto start = SteadyClock::now();
        contender.cycle();
        latencies.add(SteadyClock::now() - start);
    }
}

void report(benchmark::State& state, const Latencies& raw, const Latencies& library) {
    const auto raw_sorted = Latencies::sorted({raw});
    const auto library_sorted = Latencies::sorted({library});
    state.counters["raw_p50_us"] = quantile(raw_sorted, 0.50);
    state.counters["raw_p99_us"] = quantile(raw_sorted, 0.99);
    state.counters["redlock_p50_us"] = quantile(library_sorted, 0.50);
    state.counters["redlock_p99_us"] = quantile(library_sorted, 0.99);
    state.counters["ratio"] = quantile(library_sorted, 0.50) / quantile(raw_sorted, 0.50);
}

void measure(benchmark::State& state, const Setting& setting) {
    const int turn = setting.path == Path::delayed ? 4 : 32;
    RawContender raw{setting};
    LibraryContender library{setting};
    // Runs while no node hangs, so that connections exist and scripts are known before one does.
    for (int i = 0; i < turn; ++i) {
        raw.cycle();
        library.cycle();
    }
    const HungNodes hung{setting.hung};
    Latencies raw_latencies;
    Latencies library_latencies;
    while (state.KeepRunning()) {
        take_turn(raw, turn, raw_latencies);
        take_turn(library, turn, library_latencies);
    }
    report(state, raw_latencies, library_latencies);
}

void add(const Setting& setting) {
    const auto run = [setting](benchmark::State& state) {
        try {
            measure(state, setting);
        } catch (const std::exception& failure) {
            state.SkipWithError(failure.what());
        }
    };
    benchmark::RegisterBenchmark(setting.name().c_str(), run)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

}  // namespace

void register_lock_unlock() {
    for (const auto mode : {Mode::plain, Mode::fenced}) {
        for (const auto path : {Path::unix_socket, Path::delayed}) {
            for (const std::size_t nodes : {1U, 3U, 5U, 9U}) add({path, mode, nodes, 0});
            for (const std::size_t hung : {1U, 2U}) add({path, mode, 5, hung});
        }
        add({Path::tcp, mode, 5, 0});
    }
}

}  // namespace redlock::bench
