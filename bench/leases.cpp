// SPDX-License-Identifier: Apache-2.0
// The cost of holding locks. Many leases renewed at once: processor time, commands, memory, and the delay of
// the latest renewal. A batch of renewals, compared with as many extensions one by one. The time from the end
// of a validity to lost(), with all nodes hung.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <redlock/redlock.hpp>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "benchmarks.hpp"
#include "environment.hpp"
#include "latency.hpp"

namespace redlock::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t node_count = 5;
constexpr std::size_t usual_leases = 100'000;

// REDLOCK_BENCH_LEASES sets a smaller number, for a quick run; the ttl is then shorter too.
std::size_t lease_count() {
    const char* chosen = std::getenv("REDLOCK_BENCH_LEASES");
    return chosen != nullptr ? std::strtoul(chosen, nullptr, 10) : usual_leases;
}

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

double processor_seconds() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto of = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return of(used.ru_utime) + of(used.ru_stime);
}

double resident_bytes() {
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::atof(line.c_str() + 6) * 1024;
    }
    return 0;
}

std::uint64_t commands() {
    auto& cluster = Environment::instance().cluster();
    std::uint64_t calls = 0;
    for (std::size_t i = 0; i < node_count; ++i) calls += cluster[i].command_stat("evalsha");
    return calls;
}

Redlock connect(Path path) {
    Options options;
    options.node_timeout = 500ms;  // the nodes run on the same processors
    return Redlock{Environment::instance().uris(path, node_count), options};
}

std::chrono::nanoseconds validity_of(std::chrono::milliseconds ttl) {
    const Options options;
    return ttl - detail::drift_of(ttl, options);
}

// Many locks, which several threads acquire and release.
class Held {
   public:
    Held(Redlock& locks, std::size_t count, const LockOptions& how) : locks_(count) {
        const auto prefix = Environment::fresh_resource() + "/";
        share([&](std::size_t i) { locks_[i] = locks.lock(prefix + std::to_string(i), how).value(); });
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
        share([this](std::size_t i) { static_cast<void>(locks_[i].unlock()); });
    }

    [[nodiscard]] const std::vector<Lock>& locks() const noexcept { return locks_; }
    [[nodiscard]] Lock& operator[](std::size_t i) { return locks_[i]; }

    [[nodiscard]] std::size_t count_owned() const {
        return static_cast<std::size_t>(
            std::count_if(locks_.begin(), locks_.end(), [](const Lock& lock) { return lock.owns_lock(); }));
    }

   private:
    template <class Action>
    void share(Action action) {
        constexpr std::size_t most_threads = 16;
        const auto threads = std::min(most_threads, locks_.size());
        std::vector<std::future<void>> parts;
        for (std::size_t first = 0; first < threads; ++first) {
            parts.push_back(std::async(std::launch::async, [=, this] {
                for (std::size_t i = first; i < locks_.size(); i += threads) action(i);
            }));
        }
        for (auto& part : parts) part.get();
    }

    std::vector<Lock> locks_;
};

// Observes the validity ends of all leases: each change is a renewal, and shows when it was started.
class Follower {
   public:
    Follower(const Held& held, std::chrono::milliseconds ttl) : held_{held}, validity_{validity_of(ttl)} {
        for (const Lock& lock : held_.locks()) ends_.push_back(lock.expires_at());
    }

    void look() {
        for (std::size_t i = 0; i < ends_.size(); ++i) {
            const auto end = held_.locks()[i].expires_at();
            if (end == ends_[i]) continue;
            const auto started = end - validity_;
            const auto left = ends_[i] - started;
            smallest_left_ = std::min(smallest_left_, left);
            ++renewals_;
            ends_[i] = end;
        }
    }

    // A renewal is due when a third of the validity has passed.
    [[nodiscard]] double longest_delay_ms() const {
        return 1e3 * seconds(validity_ - validity_ / 3 - smallest_left_);
    }
    [[nodiscard]] double smallest_left_s() const { return seconds(smallest_left_); }
    [[nodiscard]] std::size_t renewals() const noexcept { return renewals_; }

   private:
    const Held& held_;
    std::chrono::nanoseconds validity_;
    std::vector<LeaseClock::time_point> ends_;
    std::chrono::nanoseconds smallest_left_ = std::chrono::hours{1};
    std::size_t renewals_ = 0;
};

void renewing(benchmark::State& state) {
    const auto count = lease_count();
    const std::chrono::milliseconds ttl = count < usual_leases ? 6s : 30s;
    auto locks = connect(Path::unix_socket);
    { const Held warm_up{locks, 100, {.ttl = ttl, .renew = true}}; }
    const auto resident = resident_bytes();
    const Held held{locks, count, {.ttl = ttl, .renew = true, .renew_limit = forever}};
    const auto grown = resident_bytes() - resident;
    Follower follower{held, ttl};
    const auto calls = commands();
    const auto used = processor_seconds();
    const auto began = SteadyClock::now();
    while (state.KeepRunning()) {
        while (SteadyClock::now() - began < ttl * 2 / 3) {  // two renewals of each lease
            std::this_thread::sleep_for(ttl / 15);
            follower.look();
        }
    }
    const auto elapsed = seconds(SteadyClock::now() - began);
    if (held.count_owned() != count) throw std::runtime_error("some lease was lost");
    auto& counters = state.counters;
    counters["leases"] = static_cast<double>(count);
    counters["ttl_s"] = seconds(ttl);
    counters["processor_percent"] = 100 * (processor_seconds() - used) / elapsed;
    counters["commands_per_s"] = static_cast<double>(commands() - calls) / elapsed;
    counters["renewals_per_s"] = static_cast<double>(follower.renewals()) / elapsed;
    counters["longest_delay_ms"] = follower.longest_delay_ms();
    counters["smallest_left_s"] = follower.smallest_left_s();
    counters["bytes_per_lease"] = grown / static_cast<double>(count);
}

struct Cost {
    double wall_us = 0;
    double processor_us = 0;
};

// The cost of `action` per lease.
template <class Action>
Cost cost_of(std::size_t leases, Action action) {
    const auto used = processor_seconds();
    const auto began = SteadyClock::now();
    action();
    const auto each = 1e6 / static_cast<double>(leases);
    return {seconds(SteadyClock::now() - began) * each, (processor_seconds() - used) * each};
}

// Keeps the library's background thread busy in a callback, so that renewals become due and wait for it.
class Gate {
   public:
    explicit Gate(Redlock& locks)
        : lock_{locks.try_lock(Environment::fresh_resource(), 50ms).value()},
          on_lost_{lock_.lost(), [this] {
                       is_closed_.set_value();
                       opened_.get_future().wait();
                   }} {
        is_closed_.get_future().wait();
    }
    void open() { opened_.set_value(); }

   private:
    std::promise<void> is_closed_;
    std::promise<void> opened_;
    Lock lock_;
    std::stop_callback<std::function<void()>> on_lost_;
};

Cost one_batch(Redlock& locks, std::size_t count) {
    constexpr auto ttl = 3s;
    Gate gate{locks};
    const Held held{locks, count, {.ttl = ttl, .renew = true, .renew_limit = forever}};
    const auto& all = held.locks();
    const auto latest = std::max_element(all.begin(), all.end(), [](const Lock& a, const Lock& b) {
                            return a.remaining() < b.remaining();
                        })->expires_at();
    while (latest - LeaseClock::now() > ttl / 2) std::this_thread::sleep_for(1ms);  // all are due
    return cost_of(count, [&] {
        gate.open();
        for (const Lock& lock : all) {
            while (!(latest < lock.expires_at()))
                std::this_thread::sleep_for(500us);  // polling costs processor time too
        }
    });
}

Cost one_by_one(Redlock& locks, std::size_t count) {
    Held held{locks, count, {.ttl = 30s}};
    return cost_of(count, [&] {
        for (std::size_t i = 0; i < count; ++i) held[i].extend(30s).value();
    });
}

void batch(benchmark::State& state, Path path) {
    constexpr std::size_t count = 1000;
    auto locks = connect(path);
    Cost together;
    Cost alone;
    while (state.KeepRunning()) {
        together = one_batch(locks, count);
        alone = one_by_one(locks, count);
    }
    auto& counters = state.counters;
    counters["batch_us"] = together.wall_us;
    counters["one_by_one_us"] = alone.wall_us;
    counters["ratio"] = alone.wall_us / together.wall_us;
    counters["batch_processor_us"] = together.processor_us;
    counters["one_by_one_processor_us"] = alone.processor_us;
    counters["processor_ratio"] = alone.processor_us / together.processor_us;
}

void lost(benchmark::State& state) {
    using OnLost = std::stop_callback<std::function<void()>>;
    const auto count = std::min<std::size_t>(lease_count(), 2000);
    auto locks = connect(Path::unix_socket);
    std::vector<Latencies> late(1, Latencies{count});
    double early = 0;
    while (state.KeepRunning()) {
        std::atomic<std::size_t> told{0};
        const Held held{locks, count, {.ttl = 2s, .renew = true}};
        std::vector<std::unique_ptr<OnLost>> callbacks;
        for (const Lock& lock : held.locks()) {
            callbacks.push_back(std::make_unique<OnLost>(lock.lost(), [&] {
                const auto after = LeaseClock::now() - lock.expires_at();
                early += after.count() < 0 ? 1 : 0;
                late.front().add(std::chrono::duration_cast<SteadyClock::duration>(after));
                ++told;
            }));
        }
        const HungNodes hung{node_count};
        while (told < count) std::this_thread::sleep_for(1ms);
    }
    const auto sorted = Latencies::sorted(late);
    auto& counters = state.counters;
    counters["leases"] = static_cast<double>(count);
    counters["early"] = early;
    counters["p50_us"] = quantile(sorted, 0.50);
    counters["p99_us"] = quantile(sorted, 0.99);
    counters["max_us"] = quantile(sorted, 1.0);
}

void add(const char* name, void (*run)(benchmark::State&), int repetitions) {
    const auto guarded = [run](benchmark::State& state) {
        try {
            run(state);
        } catch (const std::exception& failure) {
            state.SkipWithError(failure.what());
        }
    };
    benchmark::RegisterBenchmark(name, guarded)
        ->Iterations(1)
        ->Repetitions(repetitions)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
}

}  // namespace

void register_leases() {
    add("leases/renewing", renewing, 1);
    add(
        "leases/batch/unix", [](benchmark::State& state) { batch(state, Path::unix_socket); }, 3);
    add(
        "leases/batch/delayed", [](benchmark::State& state) { batch(state, Path::delayed); }, 3);
    add("leases/lost", lost, 3);
}

}  // namespace redlock::bench
