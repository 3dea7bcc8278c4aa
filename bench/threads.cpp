// SPDX-License-Identifier: Apache-2.0
// Many threads, distinct resources, five nodes. One Redlock for all threads is compared with connections of
// each thread's own (raw sockets), with a Redlock of each thread's own, and with the pipelined bound (one
// thread that writes 64 whole cycles at once). All run one after another within each repetition, so that the
// ratios compare measurements close in time.
//
// Each contender has nodes of its own and runs for a while before it is measured. For seconds, the scheduler
// remembers which process woke which. On the nodes of another contender this would distort a measurement, in
// a way that a service which runs for days does not see.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

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
#include "support/cluster.hpp"

namespace redlock::bench {
namespace {

constexpr std::size_t node_count = 5;
constexpr std::size_t batch = 64;  // cycles that the pipelined bound writes at once
constexpr std::chrono::milliseconds settling{500};

// How long each contender of a repetition is measured. REDLOCK_BENCH_WINDOW_MS sets another time.
std::chrono::milliseconds window() {
    constexpr long usual_ms = 300;
    const char* chosen = std::getenv("REDLOCK_BENCH_WINDOW_MS");
    return std::chrono::milliseconds{chosen != nullptr ? std::atol(chosen) : usual_ms};
}

// The processor time of this process, without the nodes.
double processor_us() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto us = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
    };
    return us(usage.ru_utime) + us(usage.ru_stime);
}

long resident_kib() {
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
    }
    return 0;
}

// The results of one contender in its window.
struct Outcome {
    double calls_per_s = 0;
    double p50_us = 0;
    double p99_us = 0;
    double processor_us = 0;  // per call
    double resident_growth_kib = 0;
};

enum class Phase { warming_up, measuring, over };

// Threads that each repeat a cycle of their own, as often as they can.
class Race {
   public:
    // `make_cycle()` is called in each thread and returns what that thread repeats.
    template <class MakeCycle>
    static Outcome run(std::size_t threads, test::Cluster& nodes, std::size_t hung, MakeCycle make_cycle) {
        Race race{threads};
        std::vector<std::thread> running;
        for (std::size_t i = 0; i < threads; ++i) {
            running.emplace_back([&race, &make_cycle, i] { race.take_part(i, make_cycle); });
        }
        while (race.warm_ < threads) std::this_thread::sleep_for(std::chrono::milliseconds{1});
        nodes.pause_first(hung);
        std::this_thread::sleep_for(settling);
        const auto outcome = race.measure(running);
        nodes.heal();
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
        const auto processor_before = processor_us();
        const auto start = SteadyClock::now();
        phase_ = Phase::measuring;
        std::this_thread::sleep_for(window());
        const auto resident_after = resident_kib();
        const auto processor_after = processor_us();
        phase_ = Phase::over;
        for (auto& thread : running) thread.join();
        const std::chrono::duration<double> elapsed = SteadyClock::now() - start;
        double calls = 0;
        for (const auto& mine : latencies_) calls += static_cast<double>(mine.count());
        const auto sorted = Latencies::sorted(latencies_);
        return {calls / elapsed.count(), quantile(sorted, 0.50), quantile(sorted, 0.99),
                (processor_after - processor_before) / calls,
                static_cast<double>(resident_after - resident_before)};
    }

    std::atomic<Phase> phase_{Phase::warming_up};
    std::atomic<std::size_t> warm_{0};
    std::vector<Latencies> latencies_;  // one per thread
    std::mutex mutex_;
    std::exception_ptr failure_;  // guarded by mutex_
};

struct Contest {
    Path path;
    Mode mode;
    std::size_t threads;

    // The five nodes of one contender.
    class Nodes {
       public:
        explicit Nodes(Path path) : cluster_{node_count, options()}, path_{path} {}

        [[nodiscard]] test::Cluster& cluster() noexcept { return cluster_; }
        [[nodiscard]] std::vector<std::string> uris() const {
            return path_ == Path::tcp ? cluster_.tcp_uris() : cluster_.uris();
        }

       private:
        static test::ServerOptions options() {
            test::ServerOptions options;
            options.tcp = true;
            return options;
        }

        test::Cluster cluster_;
        Path path_;
    };

    [[nodiscard]] Options options() const {
        Options options;
        options.fencing = mode == Mode::fenced;
        return options;
    }

    [[nodiscard]] Outcome own_connections() const {
        Nodes nodes{path};
        return Race::run(threads, nodes.cluster(), 0, [&] {
            return [raw = std::make_shared<RawNodes>(nodes.uris()),
                    bytes = CycleBytes::of(Environment::fresh_resource(), mode)] {
                raw->round(bytes.lock);
                raw->round(bytes.unlock);
            };
        });
    }

    [[nodiscard]] Outcome one_redlock(std::size_t hung) const {
        Nodes nodes{path};
        Redlock locks{nodes.uris(), options()};
        return Race::run(threads, nodes.cluster(), hung, [&locks] {
            return [&locks, resource = Environment::fresh_resource()] { lock_and_unlock(locks, resource); };
        });
    }

    [[nodiscard]] Outcome a_redlock_each() const {
        Nodes nodes{path};
        return Race::run(threads, nodes.cluster(), 0, [&] {
            return [locks = std::make_shared<Redlock>(nodes.uris(), options()),
                    resource = Environment::fresh_resource()] { lock_and_unlock(*locks, resource); };
        });
    }

    // One write per node contains all cycles of the batch, each a lock and an unlock.
    [[nodiscard]] double pipelined_per_s() const {
        return run_pipelined(
            [](RawNodes& raw, const CycleBytes& all) { raw.round(all.lock + all.unlock, 2 * batch); });
    }

    // The same in two writes, as is necessary for callers that learn of the grant before they unlock.
    [[nodiscard]] double pipelined_in_two_per_s() const {
        return run_pipelined([](RawNodes& raw, const CycleBytes& all) {
            raw.round(all.lock, batch);
            raw.round(all.unlock, batch);
        });
    }

   private:
    static void lock_and_unlock(Redlock& locks, const std::string& resource) {
        using namespace std::chrono_literals;
        auto lock = locks.try_lock(resource, 10s).value();
        if (!lock.unlock()) throw std::runtime_error("unlock was not confirmed");
    }

    template <class Write>
    [[nodiscard]] double run_pipelined(Write write) const {
        Nodes nodes{path};
        const auto outcome = Race::run(1, nodes.cluster(), 0, [&] {
            CycleBytes all;
            for (std::size_t i = 0; i < batch; ++i) {
                const auto bytes = CycleBytes::of(Environment::fresh_resource(), mode);
                all.lock += bytes.lock;
                all.unlock += bytes.unlock;
            }
            return [raw = std::make_shared<RawNodes>(nodes.uris()), all, write] {
                raw->settle(2 * batch);
                write(*raw, all);
            };
        });
        return outcome.calls_per_s * batch;
    }
};

void hold(benchmark::State& state, const Contest& contest) {
    while (state.KeepRunning()) {
        auto& counters = state.counters;
        const auto own = contest.own_connections();
        counters["own_connections_per_s"] = own.calls_per_s;
        counters["own_connections_p50_us"] = own.p50_us;
        counters["own_connections_processor_us"] = own.processor_us;
        const auto ours = contest.one_redlock(0);
        counters["redlock_per_s"] = ours.calls_per_s;
        counters["redlock_p50_us"] = ours.p50_us;
        counters["redlock_p99_us"] = ours.p99_us;
        counters["redlock_processor_us"] = ours.processor_us;
        counters["redlock_each_per_s"] = contest.a_redlock_each().calls_per_s;
        counters["pipelined_per_s"] = contest.pipelined_per_s();
        counters["pipelined_in_two_per_s"] = contest.pipelined_in_two_per_s();
        const auto hung = contest.one_redlock(1);
        counters["hung_per_s"] = hung.calls_per_s;
        counters["hung_p50_us"] = hung.p50_us;
        counters["hung_p99_us"] = hung.p99_us;
        counters["hung_resident_growth_kib"] = hung.resident_growth_kib;
    }
}

void add(const Contest& contest) {
    const auto name = std::string{"threads/"} + name_of(contest.path) +
                      (contest.mode == Mode::plain ? "/plain/T" : "/fenced/T") +
                      std::to_string(contest.threads);
    const auto run = [contest](benchmark::State& state) {
        try {
            hold(state, contest);
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
    for (const std::size_t threads : {1U, 2U, 8U, 64U}) {
        for (const auto mode : {Mode::plain, Mode::fenced}) add({Path::unix_socket, mode, threads});
        add({Path::tcp, Mode::plain, threads});
    }
}

}  // namespace redlock::bench
