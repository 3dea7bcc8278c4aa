// Many threads, distinct resources, five nodes: one Redlock for all of them, against threads that each own
// their connections (raw sockets), and against the pipelined bound (one thread that writes 64 whole cycles at
// once). All run one after another within each repetition, so that the ratios compare neighbours in time.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <redlock/redlock.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "benchmarks.hpp"
#include "environment.hpp"
#include "latency.hpp"
#include "raw_sockets.hpp"

namespace redlock::bench {
namespace {

constexpr std::size_t node_count = 5;
constexpr std::size_t batch = 64;  // cycles that the pipelined bound writes at once

// How long each contender of a repetition runs: REDLOCK_BENCH_WINDOW_MS, for a look at a long run.
std::chrono::milliseconds window() {
    constexpr long usual_ms = 300;
    const char* chosen = std::getenv("REDLOCK_BENCH_WINDOW_MS");
    return std::chrono::milliseconds{chosen != nullptr ? std::atol(chosen) : usual_ms};
}

long resident_kib() {
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
    }
    return 0;
}

// What one contender achieved in its window.
struct Outcome {
    double calls_per_s = 0;
    double p50_us = 0;
    double p99_us = 0;
    double resident_growth_kib = 0;
};

enum class Phase { warming_up, measuring, over };

// Threads that each run a cycle of their own, as often as they can.
class Race {
   public:
    // `make_cycle()` is called in each thread and returns what that thread repeats.
    template <class MakeCycle>
    static Outcome run(std::size_t threads, std::size_t hung, MakeCycle make_cycle) {
        Race race{threads};
        std::vector<std::thread> running;
        for (std::size_t i = 0; i < threads; ++i) {
            running.emplace_back([&race, &make_cycle, i] { race.take_part(i, make_cycle); });
        }
        while (race.warm_ < threads) std::this_thread::sleep_for(std::chrono::milliseconds{1});
        const HungNodes paused{hung};
        const auto outcome = race.measure(running);
        if (race.failure_) std::rethrow_exception(race.failure_);
        return outcome;
    }

   private:
    explicit Race(std::size_t threads) : latencies_(threads) {}

    template <class MakeCycle>
    void take_part(std::size_t index, MakeCycle& make_cycle) {
        try {
            auto cycle = make_cycle();
            constexpr int warm_up = 10;
            for (int i = 0; i < warm_up; ++i) cycle();
            ++warm_;
            for (auto phase = phase_.load(); phase != Phase::over; phase = phase_.load()) {
                const auto start = SteadyClock::now();
                cycle();
                const auto end = SteadyClock::now();
                if (phase == Phase::measuring) latencies_[index].add(end - start);
            }
        } catch (...) {
            ++warm_;
            const std::lock_guard lock{mutex_};
            failure_ = std::current_exception();
        }
    }

    Outcome measure(std::vector<std::thread>& running) {
        const auto resident_before = resident_kib();
        const auto start = SteadyClock::now();
        phase_ = Phase::measuring;
        std::this_thread::sleep_for(window());
        const auto resident_after = resident_kib();
        phase_ = Phase::over;
        for (auto& thread : running) thread.join();
        const std::chrono::duration<double> elapsed = SteadyClock::now() - start;
        double calls = 0;
        for (const auto& mine : latencies_) calls += static_cast<double>(mine.count());
        const auto sorted = Latencies::sorted(latencies_);
        return {calls / elapsed.count(), quantile(sorted, 0.50), quantile(sorted, 0.99),
                static_cast<double>(resident_after - resident_before)};
    }

    std::atomic<Phase> phase_{Phase::warming_up};
    std::atomic<std::size_t> warm_{0};
    std::vector<Latencies> latencies_;  // one per thread
    std::mutex mutex_;
    std::exception_ptr failure_;  // guarded by mutex_
};

std::shared_ptr<RawNodes> connect_raw() {
    return std::make_shared<RawNodes>(Environment::instance().uris(Path::unix_socket, node_count));
}

Outcome own_connections(Mode mode, std::size_t threads) {
    return Race::run(threads, 0, [mode] {
        return [nodes = connect_raw(), bytes = CycleBytes::of(Environment::fresh_resource(), mode)] {
            nodes->round(bytes.lock);
            nodes->round(bytes.unlock);
        };
    });
}

// One write per node holds all the cycles of the batch, each a lock and an unlock.
Outcome pipelined(Mode mode) {
    return Race::run(1, 0, [mode] {
        std::string all;
        for (std::size_t i = 0; i < batch; ++i) {
            const auto bytes = CycleBytes::of(Environment::fresh_resource(), mode);
            all += bytes.lock + bytes.unlock;
        }
        return [nodes = connect_raw(), all] {
            nodes->settle(2 * batch);
            nodes->round(all, 2 * batch);
        };
    });
}

// The same in two writes, as it must be for callers who learn that they have the lock before they unlock it.
Outcome pipelined_in_two(Mode mode) {
    return Race::run(1, 0, [mode] {
        CycleBytes all;
        for (std::size_t i = 0; i < batch; ++i) {
            const auto bytes = CycleBytes::of(Environment::fresh_resource(), mode);
            all.lock += bytes.lock;
            all.unlock += bytes.unlock;
        }
        return [nodes = connect_raw(), all] {
            nodes->settle(2 * batch);
            nodes->round(all.lock, batch);
            nodes->round(all.unlock, batch);
        };
    });
}

Outcome one_redlock(Mode mode, std::size_t threads, std::size_t hung) {
    using namespace std::chrono_literals;
    Options options;
    options.fencing = mode == Mode::fenced;
    Redlock<> locks{Environment::instance().uris(Path::unix_socket, node_count), options};
    return Race::run(threads, hung, [&locks] {
        return [&locks, resource = Environment::fresh_resource()] {
            auto lock = locks.try_lock(resource, 10s).value();
            if (!lock.unlock()) throw std::runtime_error("unlock was not confirmed");
        };
    });
}

void contest(benchmark::State& state, Mode mode, std::size_t threads) {
    while (state.KeepRunning()) {
        const auto own = own_connections(mode, threads);
        const auto ours = one_redlock(mode, threads, 0);
        auto& counters = state.counters;
        counters["own_connections_per_s"] = own.calls_per_s;
        counters["redlock_per_s"] = ours.calls_per_s;
        counters["redlock_p50_us"] = ours.p50_us;
        counters["redlock_p99_us"] = ours.p99_us;
        counters["own_connections_p50_us"] = own.p50_us;
        counters["pipelined_per_s"] = pipelined(mode).calls_per_s * batch;
        counters["pipelined_in_two_per_s"] = pipelined_in_two(mode).calls_per_s * batch;
        const auto hung = one_redlock(mode, threads, 1);
        counters["hung_per_s"] = hung.calls_per_s;
        counters["hung_p50_us"] = hung.p50_us;
        counters["hung_p99_us"] = hung.p99_us;
        counters["hung_resident_growth_kib"] = hung.resident_growth_kib;
    }
}

void add(Mode mode, std::size_t threads) {
    const auto name =
        std::string{"threads/"} + (mode == Mode::plain ? "plain/T" : "fenced/T") + std::to_string(threads);
    const auto run = [mode, threads](benchmark::State& state) {
        try {
            contest(state, mode, threads);
        } catch (const std::exception& failure) {
            state.SkipWithError(failure.what());
        }
    };
    benchmark::RegisterBenchmark(name.c_str(), run)
        ->Iterations(1)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
}

}  // namespace

void register_threads() {
    for (const auto mode : {Mode::plain, Mode::fenced}) {
        for (const std::size_t threads : {1U, 8U, 64U}) add(mode, threads);
    }
}

}  // namespace redlock::bench
