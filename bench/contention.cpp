// SPDX-License-Identifier: Apache-2.0
// Contention: a release that notifies one waiter, compared with one that notifies all and with polling, from
// many processes and from many threads.
//
// Contenders are processes that run this same program (run_contender). A board in shared memory tells them
// what to do, and they write there when they did it (CLOCK_MONOTONIC is the same for all). Variants that are
// compared run one after another within each repetition.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <redlock/redlock.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "benchmarks.hpp"
#include "broadcast.hpp"
#include "environment.hpp"
#include "latency.hpp"
#include "support/child_process.hpp"

namespace redlock::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t node_count = 5;
constexpr std::size_t processes_max = 100;
constexpr std::size_t passages_max = std::size_t{1} << 17U;
constexpr const char* contender_flag = "--contender";

// How a contender learns that the resource may be free.
enum class Manner : std::uint8_t { notified, broadcast, polls_50_to_250, polls_100, polls_by_default };

constexpr std::array manners{Manner::notified, Manner::broadcast, Manner::polls_50_to_250, Manner::polls_100,
                             Manner::polls_by_default};

std::string name_of(Manner manner) {
    switch (manner) {
        case Manner::notified: return "notified";
        case Manner::broadcast: return "broadcast";
        case Manner::polls_50_to_250: return "polls_50_to_250";
        case Manner::polls_100: return "polls_100";
        case Manner::polls_by_default: break;
    }
    return "polls_by_default";
}

Options options_of(Manner manner, bool fencing) {
    Options options;
    options.fencing = fencing;
    options.notify = manner == Manner::notified;
    if (manner == Manner::broadcast) options.retry.decide = BroadcastListener::after_split;
    if (manner == Manner::polls_100) options.retry.decide = [](auto, const auto&) { return 100ms; };
    if (manner == Manner::polls_50_to_250) {
        options.retry.decide = [random = std::mt19937{std::random_device{}()}](auto, const auto&) mutable {
            return std::chrono::milliseconds{std::uniform_int_distribution{50, 250}(random)};
        };
    }
    return options;
}

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(SteadyClock::now().time_since_epoch())
        .count();
}

// One period in which a contender held the lock.
struct Passage {
    std::int64_t wanted_ns;
    std::int64_t granted_ns;
    std::int64_t unlocked_ns;
    bool is_second_trip;  // whether it took a second round trip to agree on a fencing token
};

// Shared by all processes. Fields that are not atomic are written before `go`, or before the count that
// covers them.
struct Board {
    Manner manner;
    bool fencing;
    bool is_resource_of_each;  // each contender has a resource of its own
    bool is_mixed;             // every second one polls, and notifies no waiter
    std::int64_t hold_us;
    std::int64_t spread_us;  // held up to this much longer, at random
    std::int64_t rest_us;    // between unlock() and the next lock()
    std::array<char, 4096> uris;
    std::array<char, 256> resource;
    std::atomic<std::uint32_t> ready;
    std::atomic<bool> go;
    std::atomic<std::uint64_t> acquires;  // sent, to each node
    std::array<std::atomic<std::uint64_t>, processes_max> counts;
    std::array<Passage, passages_max> passages;  // each process has an equal part
    std::uint32_t processes;

    [[nodiscard]] std::size_t room() const { return passages_max / processes; }
    [[nodiscard]] bool is_peer(std::size_t index) const { return is_mixed && index % 2 == 1; }
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// A file that all processes map. A page takes memory only once it is written to.
class SharedBoard {
   public:
    explicit SharedBoard(const std::string& path) : path_{path} {
        const test::FileDescriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
        if (!file || ::ftruncate(file.get(), sizeof(Board)) != 0) test::throw_errno("board");
        memory_ = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        if (memory_ == MAP_FAILED) test::throw_errno("mmap");
    }
    SharedBoard(const SharedBoard&) = delete;
    SharedBoard& operator=(const SharedBoard&) = delete;
    ~SharedBoard() { ::munmap(memory_, sizeof(Board)); }

    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] Board* operator->() const noexcept { return static_cast<Board*>(memory_); }

   private:
    std::string path_;
    void* memory_ = nullptr;
};

// ---- a contender ----------------------------------------------------------------------------------

// Counts the requests to acquire, each a SET or a script with a SET in it, and the second round trips of
// acquisitions. Sends releases with the broadcast's script where the variant asks for that.
class ContendersTransport : public hiredis::Transport {
   public:
    ContendersTransport(std::vector<Endpoint> nodes, const Options& options,
                        std::atomic<std::uint64_t>& acquires)
        : hiredis::Transport{std::move(nodes), options}, acquires_{acquires} {}

    detail::Sent send(std::size_t node, std::string_view request) {
        const auto names = [=](const detail::Script& script) {
            return request.find(detail::sha1_of(script)) != std::string_view::npos;
        };
        constexpr std::string_view set = "*6\r\n$3\r\nSET\r\n";
        if (request.starts_with(set) || names(detail::fenced_acquire_script)) ++acquires_;
        if (names(detail::commit_script)) ++commits_;
        if (is_broadcasting_) return hiredis::Transport::send(node, as_broadcast(request));
        return hiredis::Transport::send(node, request);
    }
    [[nodiscard]] std::uint64_t commits() const noexcept { return commits_; }
    void set_broadcasting(bool is_on) noexcept { is_broadcasting_ = is_on; }

   private:
    std::atomic<std::uint64_t>& acquires_;
    std::atomic<std::uint64_t> commits_{0};
    std::atomic<bool> is_broadcasting_{false};
};

// Locks, holds and unlocks until it is killed.
[[noreturn]] void contend(Board& board, std::size_t index) {
    std::string resource = board.resource.data();
    if (board.is_resource_of_each) resource += "/" + std::to_string(index);
    const Manner manner = board.is_peer(index) ? Manner::polls_50_to_250 : board.manner;
    const Options options = options_of(manner, board.fencing);
    const Endpoints nodes = std::string_view{board.uris.data()};
    auto transport = std::make_unique<ContendersTransport>(nodes.list(), options, board.acquires);
    ContendersTransport& counting = *transport;
    Redlock locks{std::move(transport), options};
    std::optional<BroadcastListener> listener;
    if (manner == Manner::broadcast) listener.emplace(nodes, resource);
    std::mt19937 random{std::random_device{}()};
    std::uniform_int_distribution spread{std::int64_t{0}, board.spread_us};
    static_cast<void>(locks.inspect(resource));  // connects
    ++board.ready;
    while (!board.go) std::this_thread::sleep_for(1ms);
    for (std::uint64_t count = 0;; ++count) {
        Passage passage{now_ns(), 0, 0, false};
        const auto commits = counting.commits();
        auto lock =
            listener ? listener->lock(locks, resource) : locks.lock(resource, {.ttl = 10s, .wait = forever});
        if (!lock) throw Error{lock.error()};
        passage.granted_ns = now_ns();
        passage.is_second_trip = counting.commits() != commits;
        std::this_thread::sleep_for(std::chrono::microseconds{board.hold_us + spread(random)});
        counting.set_broadcasting(listener.has_value());
        static_cast<void>(lock->unlock());
        counting.set_broadcasting(false);
        passage.unlocked_ns = now_ns();
        if (count < board.room()) board.passages[index * board.room() + count] = passage;
        board.counts[index] = count + 1;
        if (board.rest_us > 0) std::this_thread::sleep_for(std::chrono::microseconds{board.rest_us});
    }
}

// ---- the contest ----------------------------------------------------------------------------------

struct Setting {
    std::size_t processes = 8;
    Manner manner = Manner::notified;
    bool fencing = false;
    Path path = Path::unix_socket;
    std::chrono::microseconds hold{1000};
    std::chrono::microseconds spread{0};
    std::chrono::microseconds rest{0};
    bool is_resource_of_each = false;
    bool is_mixed = false;
    std::chrono::milliseconds warm_up{300};
    std::chrono::milliseconds window{0};
};

// The results of a run, within its window.
struct Outcome {
    double locks_per_s = 0;
    double sets_per_lock = 0;   // per node; with fencing, scripts in place of SETs
    double requests_per_s = 0;  // at all nodes
    double wait_p50_us = 0;
    double wait_max_us = 0;
    double handover_p50_us = 0;
    double handovers_per_s = 0;  // from one contender to another
    double second_trips = 0;     // the share of locks that took a second round trip
    double fewest_share = 0;     // locks of the contender with the fewest, relative to an equal share
    double peers_share = 0;      // the peers' share of the locks, in a mixed fleet
};

// `count` times REDLOCK_BENCH_WINDOW_MS, by default 300 ms; less for a quick run.
std::chrono::milliseconds windows(int count) {
    constexpr long usual_ms = 300;
    const char* chosen = std::getenv("REDLOCK_BENCH_WINDOW_MS");
    return count * std::chrono::milliseconds{chosen != nullptr ? std::atol(chosen) : usual_ms};
}

// Requests at the nodes. Commands within scripts are not counted, except for `set`.
struct Requests {
    std::uint64_t sets = 0;
    std::uint64_t all = 0;

    static Requests now() {
        auto& cluster = Environment::instance().cluster();
        const auto sets = cluster.command_stat("set");
        return {sets, sets + cluster.command_stat("evalsha") + cluster.command_stat("eval")};
    }
};

class Contest {
   public:
    static Outcome run(const Setting& setting) {
        Contest contest{setting};
        contest.start();
        return contest.measure();
    }

   private:
    explicit Contest(const Setting& setting) : setting_{setting}, resource_{Environment::fresh_resource()} {
        std::string uris;
        for (const auto& uri : Environment::instance().uris(setting.path, node_count)) {
            uris += (uris.empty() ? "" : ",") + uri;
        }
        uris.copy(board_->uris.data(), board_->uris.size() - 1);
        resource_.copy(board_->resource.data(), board_->resource.size() - 1);
        board_->manner = setting.manner;
        board_->fencing = setting.fencing;
        board_->is_resource_of_each = setting.is_resource_of_each;
        board_->is_mixed = setting.is_mixed;
        board_->hold_us = setting.hold.count();
        board_->spread_us = setting.spread.count();
        board_->rest_us = setting.rest.count();
        board_->processes = static_cast<std::uint32_t>(setting.processes);
    }

    void start() {
        const auto self = std::filesystem::read_symlink("/proc/self/exe").string();
        for (std::size_t i = 0; i < setting_.processes; ++i) {
            test::Command command{{self, contender_flag, board_.path(), std::to_string(i)}};
            processes_.push_back(std::make_unique<test::ChildProcess>(command));
        }
        if (!test::eventually(30s, [this] { return board_->ready == setting_.processes; })) {
            throw std::runtime_error("a contender did not start");
        }
        if (setting_.is_resource_of_each) occupy();
        board_->go = true;
    }

    // Locks all resources as a client that never releases them.
    void occupy() {
        for (std::size_t n = 0; n < node_count; ++n) {
            auto& node = Environment::instance().cluster()[n];
            for (std::size_t i = 0; i < setting_.processes; ++i) {
                node.query({"SET", resource_ + "/" + std::to_string(i), "another", "PX", "600000"});
            }
        }
    }

    Outcome measure() {
        std::this_thread::sleep_for(setting_.warm_up);
        const auto begin = now_ns();
        const std::uint64_t acquires = board_->acquires;
        const auto before = Requests::now();
        std::this_thread::sleep_for(setting_.window);
        const auto end = now_ns();
        const Traffic traffic{board_->acquires - acquires, Requests::now().all - before.all};
        for (auto& process : processes_) process->kill();
        return evaluate(begin, end, traffic);
    }

    // Counted within the window.
    struct Traffic {
        std::uint64_t acquires;  // as the contenders counted them
        std::uint64_t requests;  // as the nodes did
    };

    struct Turn {
        Passage passage;
        std::size_t who;
    };

    // The passages whose grant lies in the window, in the order of the grants.
    [[nodiscard]] std::vector<Turn> turns(std::int64_t begin, std::int64_t end) const {
        std::vector<Turn> all;
        for (std::size_t i = 0; i < setting_.processes; ++i) {
            const auto count = std::min<std::size_t>(board_->counts[i], board_->room());
            for (std::size_t n = 0; n < count; ++n) {
                const Passage& passage = board_->passages[i * board_->room() + n];
                if (passage.granted_ns >= begin && passage.granted_ns < end) all.push_back({passage, i});
            }
        }
        std::sort(all.begin(), all.end(),
                  [](const Turn& a, const Turn& b) { return a.passage.granted_ns < b.passage.granted_ns; });
        return all;
    }

    [[nodiscard]] Outcome evaluate(std::int64_t begin, std::int64_t end, const Traffic& traffic) const {
        const auto all = turns(begin, end);
        const double seconds = static_cast<double>(end - begin) / 1e9;
        Outcome outcome;
        outcome.requests_per_s = static_cast<double>(traffic.requests) / seconds;
        if (all.empty()) return outcome;
        const auto count = static_cast<double>(all.size());
        outcome.locks_per_s = count / seconds;
        outcome.sets_per_lock = static_cast<double>(traffic.acquires) / count / node_count;
        std::vector<double> waits;
        std::vector<double> handovers;
        std::vector<std::int64_t> last(setting_.processes, begin);
        std::vector<double> shares(setting_.processes, 0);
        for (std::size_t i = 0; i < all.size(); ++i) {
            const auto& [passage, who] = all[i];
            outcome.peers_share += board_->is_peer(who) ? 1 / count : 0;
            if (!board_->is_peer(who)) waits.push_back(microseconds(passage.granted_ns - passage.wanted_ns));
            outcome.second_trips += passage.is_second_trip ? 1 / count : 0;
            last[who] = passage.unlocked_ns;
            shares[who] += static_cast<double>(setting_.processes) / count;
            if (i == 0 || all[i - 1].who == who) continue;
            if (passage.wanted_ns >= all[i - 1].passage.unlocked_ns) continue;  // it came later
            handovers.push_back(microseconds(passage.granted_ns - all[i - 1].passage.unlocked_ns));
        }
        std::sort(waits.begin(), waits.end());
        std::sort(handovers.begin(), handovers.end());
        outcome.wait_p50_us = quantile(waits, 0.5);
        outcome.wait_max_us = waits.empty() ? 0 : waits.back();
        for (std::size_t i = 0; i < last.size(); ++i) {  // waits that have not ended count too
            if (board_->is_peer(i)) continue;
            outcome.wait_max_us = std::max(outcome.wait_max_us, microseconds(end - last[i]));
        }
        outcome.handover_p50_us = quantile(handovers, 0.5);
        outcome.handovers_per_s = static_cast<double>(handovers.size()) / seconds;
        outcome.fewest_share = *std::min_element(shares.begin(), shares.end());
        return outcome;
    }

    static double microseconds(std::int64_t ns) { return static_cast<double>(ns) / 1e3; }

    Setting setting_;
    std::string resource_;
    test::TemporaryDirectory directory_;
    SharedBoard board_{directory_.file("board")};
    std::vector<std::unique_ptr<test::ChildProcess>> processes_;
};

// ---- the benchmarks -------------------------------------------------------------------------------

// Eight processes want one resource, compared with one process alone. A process that polls often sleeps while
// the resource is free. Then another one takes it again and again, which is fast, and the rest starve. So the
// number of hand-overs shows more than the number of locks.
void eight_processes(benchmark::State& state, bool fencing) {
    Setting setting{.fencing = fencing, .window = windows(10)};
    setting.processes = 1;
    const auto alone = Contest::run(setting);
    state.counters["alone_per_s"] = alone.locks_per_s;
    state.counters["alone_second_trips"] = alone.second_trips;
    setting.processes = 8;
    for (const auto manner : manners) {
        setting.manner = manner;
        const auto outcome = Contest::run(setting);
        const auto name = name_of(manner);
        state.counters[name + "_per_s"] = outcome.locks_per_s;
        state.counters[name + "_sets"] = outcome.sets_per_lock;
        state.counters[name + "_second_trips"] = outcome.second_trips;
        state.counters[name + "_handovers_per_s"] = outcome.handovers_per_s;
        state.counters[name + "_wait_p50_us"] = outcome.wait_p50_us;
        state.counters[name + "_wait_max_us"] = outcome.wait_max_us;
    }
}

// A long run of eight processes: does one wait much longer than the others?
void fairness(benchmark::State& state) {
    const auto outcome = Contest::run({.fencing = true, .window = windows(100)});
    state.counters["wait_p50_us"] = outcome.wait_p50_us;
    state.counters["wait_max_us"] = outcome.wait_max_us;
    state.counters["fewest_share"] = outcome.fewest_share;
}

// The time from the end of one process's unlock() to the other's grant, with far nodes. The lock is held long
// enough for the other to wait, and not always equally long; otherwise a process that polls every 100 ms
// would try at the same moment each time.
void handover(benchmark::State& state) {
    Setting setting{.processes = 1, .fencing = true, .path = Path::delayed, .hold = 200ms, .rest = 150ms};
    setting.spread = 100ms;
    setting.window = windows(20);
    state.counters["round_trip_us"] = Contest::run(setting).wait_p50_us;
    setting.processes = 2;
    for (const auto manner : manners) {
        setting.manner = manner;
        state.counters[name_of(manner) + "_us"] = Contest::run(setting).handover_p50_us;
    }
}

// Of eight processes, half are foreign clients, which poll and notify no waiter. The other half waits as the
// library does by default, or polls.
void mixed_fleet(benchmark::State& state) {
    Setting setting{.hold = 20ms, .spread = 20ms, .rest = 100ms, .is_mixed = true, .window = windows(30)};
    for (const auto manner : {Manner::notified, Manner::polls_by_default}) {
        setting.manner = manner;
        const auto outcome = Contest::run(setting);
        const auto name = name_of(manner);
        state.counters[name + "_per_s"] = outcome.locks_per_s * (1 - outcome.peers_share);
        state.counters[name + "_peers_share"] = outcome.peers_share;
        state.counters[name + "_sets"] = outcome.sets_per_lock;
        state.counters[name + "_wait_p50_us"] = outcome.wait_p50_us;
        state.counters[name + "_wait_max_us"] = outcome.wait_max_us;
    }
}

// A hundred processes wait for resources that are never released. There is no broadcast here: without a
// release only its backstop would be measured.
void idle(benchmark::State& state) {
    for (const auto manner : manners) {
        if (manner == Manner::broadcast) continue;
        const auto outcome = Contest::run({.processes = processes_max,
                                           .manner = manner,
                                           .fencing = true,
                                           .is_resource_of_each = true,
                                           .warm_up = 2s,
                                           .window = windows(20)});
        state.counters[name_of(manner) + "_requests_per_s"] = outcome.requests_per_s;
    }
}

// Threads of one process that want one resource.
struct Crowd {
    double locks_per_s = 0;
    double sets_per_lock = 0;

    static Crowd run(std::size_t threads, std::chrono::microseconds hold) {
        Options options;
        options.fencing = false;
        Redlock locks{Environment::instance().uris(Path::unix_socket, node_count), options};
        const auto resource = Environment::fresh_resource();
        std::atomic<bool> over{false};
        std::atomic<std::uint64_t> count{0};
        std::vector<std::thread> running;
        for (std::size_t i = 0; i < threads; ++i) {
            running.emplace_back([&] {
                while (!over) {
                    auto lock = locks.lock(resource, {.ttl = 10s, .wait = forever});
                    if (hold > 0us) std::this_thread::sleep_for(hold);
                    if (lock && lock->unlock()) ++count;
                }
            });
        }
        std::this_thread::sleep_for(100ms);
        const auto before = Requests::now();
        const auto start = SteadyClock::now();
        const auto first = count.load();
        std::this_thread::sleep_for(windows(3));
        const auto got = static_cast<double>(count - first);
        const std::chrono::duration<double> elapsed = SteadyClock::now() - start;
        const auto sets = static_cast<double>(Requests::now().sets - before.sets);
        over = true;
        for (auto& thread : running) thread.join();
        return {got / elapsed.count(), sets / got / node_count};
    }
};

void threads_of_one_process(benchmark::State& state, std::chrono::microseconds hold) {
    const auto alone = Crowd::run(1, hold);
    const auto crowd = Crowd::run(64, hold);
    state.counters["alone_per_s"] = alone.locks_per_s;
    state.counters["crowd_per_s"] = crowd.locks_per_s;
    state.counters["crowd_sets"] = crowd.sets_per_lock;
}

template <class Measure>
void add(const std::string& name, int repetitions, Measure measure) {
    const auto run = [measure](benchmark::State& state) {
        try {
            while (state.KeepRunning()) measure(state);
        } catch (const std::exception& failure) {
            state.SkipWithError(failure.what());
        }
    };
    benchmark::RegisterBenchmark(name.c_str(), run)
        ->Iterations(1)
        ->Repetitions(repetitions)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
}

}  // namespace

std::optional<int> run_contender(int argc, char** argv) {
    if (argc != 4 || std::string_view{argv[1]} != contender_flag) return std::nullopt;
    try {
        const SharedBoard board{argv[2]};
        contend(*board.operator->(), std::stoul(argv[3]));
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "a contender: %s\n", failure.what());
        return 1;
    }
}

void register_contention() {
    add("contention/processes/plain", 3, [](auto& state) { eight_processes(state, false); });
    add("contention/processes/fenced", 3, [](auto& state) { eight_processes(state, true); });
    add("contention/fairness", 1, fairness);
    add("contention/handover", 3, handover);
    add("contention/mixed_fleet", 3, mixed_fleet);
    add("contention/idle", 1, idle);
    add("contention/threads/hold0", 5, [](auto& state) { threads_of_one_process(state, 0us); });
    add("contention/threads/hold1ms", 5, [](auto& state) { threads_of_one_process(state, 1ms); });
}

}  // namespace redlock::bench
