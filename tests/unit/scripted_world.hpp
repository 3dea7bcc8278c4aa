// SPDX-License-Identifier: Apache-2.0
// The protocol without sockets: a Transport over nodes in memory, and a clock that moves only when a thread
// waits, or when the test moves it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "redlock/engine/transport.hpp"
#include "redlock/mutex.hpp"
#include "redlock/redlock.hpp"
#include "support/got.hpp"
#include "unit/memory_node.hpp"

namespace redlock::test {

using namespace std::chrono_literals;
using Nanoseconds = std::chrono::nanoseconds;

// Copies share one time. It begins at one hour, so that points before "now" exist.
class ManualClock {
   public:
    using duration = Nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<ManualClock, Nanoseconds>;
    static constexpr bool is_steady = true;

    [[nodiscard]] time_point now() const noexcept { return time_point{Nanoseconds{shared_->now_ns.load()}}; }
    [[nodiscard]] std::int64_t wall_us() const noexcept {
        return shared_->wall_us.load() + shared_->now_ns.load() / 1000;
    }
    void advance(Nanoseconds by) const noexcept { shared_->now_ns += by.count(); }
    void set(time_point to) const noexcept { shared_->now_ns = to.time_since_epoch().count(); }
    void set_wall_us(std::int64_t at_time_zero) const noexcept { shared_->wall_us = at_time_zero; }

   private:
    struct Shared {
        std::atomic<std::int64_t> now_ns{3'600'000'000'000};
        std::atomic<std::int64_t> wall_us{1'700'000'000'000'000};
    };
    std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

static_assert(Clock<ManualClock>);

// One request that was handed to the transport.
struct Handed {
    std::size_t node = 0;
    ManualClock::time_point at;
    std::size_t polls_before = 0;  // how often the driver had waited by then
    Request request;
    [[nodiscard]] std::string kind() const { return kind_of(request); }
    [[nodiscard]] std::string token() const { return token_of(request); }
};

class World {
   public:
    enum class Serving : std::uint8_t {
        yes,
        refuses,  // has no connection and accepts none
        hangs,    // receives requests and does not run them; new connections are not completed
    };
    // What happens to requests in transit when their connection is cut.
    enum class OnTheirWay : std::uint8_t { vanish, still_run };

    struct Node {
        Nanoseconds round_trip{200us};
        Nanoseconds connect_time{0};
        detail::NodeInfo info{};
        // Answers in place of the node itself, unless it returns nothing.
        std::function<std::optional<ScriptedReply>(const Request&)> says{};
        MemoryNode memory{};

        // Of the world.
        Serving serving = Serving::yes;
        bool is_troubled = false;  // dropped or cut before it answered anything
        bool is_wanted = false;    // to be connected as soon as possible
        std::size_t drops = 0;
        std::string why = "connection refused";
        ManualClock::time_point retry_at{};
        bool is_connected = false;
        bool is_connecting = false;
        bool is_broken = false;  // cut, and the client has not been told yet
        std::uint64_t connection = 0;
    };

    explicit World(std::size_t count);
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World();

    ManualClock clock;
    Nanoseconds cost_of_sending{0};  // how far handing over one request moves the clock
    std::function<void()>
        before_telling{};  // runs once, after the next event and before the client learns of it
    std::optional<unsigned char> jitter{};  // the bytes of every random number that is not a token
    Nanoseconds backoff{10ms};              // after a connection that was dropped or not made
    Nanoseconds connect_timeout{1s};
    bool hears = false;                 // subscriptions succeed at once; nothing is published
    std::atomic<bool> listens = false;  // the client wants subscriptions
    std::atomic<int> transports = 0;    // how many exist
    std::atomic<bool> all_move_time =
        false;  // otherwise only the thread that made the world does, when it waits

    [[nodiscard]] Node& operator[](std::size_t i) { return nodes_.at(i); }
    [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
    [[nodiscard]] std::size_t polls() const noexcept { return polls_; }

    // ---- what happens to nodes ---------------------------------------------------------------------

    void refuse(std::size_t node);
    void hang(std::size_t node) { serving(node, Serving::hangs); }
    // Serves again. Requests that it received while it hung run now, in order.
    void resume(std::size_t node);
    // Ends the connection; the driver learns of it in its next wait.
    void cut(std::size_t i, OnTheirWay fate = OnTheirWay::vanish);
    // Kills it and starts it again, without keys, as another process.
    void restart_empty(std::size_t i);

    // ---- inspection --------------------------------------------------------------------------------

    [[nodiscard]] bool is_connecting() const;
    [[nodiscard]] std::vector<Handed> handed() const;
    [[nodiscard]] std::vector<Handed> handed(const std::string& kind) const;
    [[nodiscard]] std::vector<Handed> handed_to(std::size_t node, const std::string& kind = {}) const;
    void forget_handed();
    [[nodiscard]] std::optional<std::string> get(std::size_t node, const std::string& key) const;
    [[nodiscard]] std::size_t count_holding(const std::string& key) const;
    // Puts the key there that another holder would have.
    void put(std::size_t node, const std::string& key, const std::string& value,
             std::chrono::milliseconds ttl = 10s);
    void erase(std::size_t node, const std::string& key);
    // Delivers everything in transit. The nodes answer, but the client does not learn of it.
    void let_arrive();

   private:
    friend class ScriptedTransport;

    struct Event {
        enum class Kind : std::uint8_t { arrival, reply, up, gave_up, down };
        Kind kind = Kind::arrival;
        std::size_t node = 0;
        std::uint64_t connection = 0;
        Request request{};
        ScriptedReply reply{};
    };

    void serving(std::size_t node, Serving how);

    void schedule(ManualClock::time_point at, Event event) { events_.emplace(at, std::move(event)); }

    detail::Sent connect(std::size_t i);

    detail::Sent send(std::size_t i, std::string_view bytes);

    [[nodiscard]] bool is_promising(std::size_t i) const;
    [[nodiscard]] detail::Fault fault(std::size_t i) const;
    void keep_trying(std::size_t i, bool is_wanted);
    void drop(std::size_t i, const detail::Fault& fault);

    // Call with the mutex held.
    void arrive(Event event);

    // Call with the mutex held. Executes all events that are due, and returns those to report.
    void happen(std::vector<Event>& news);

    // Until when the driver may wait: not beyond the next time that a node may be tried again.
    std::optional<Nanoseconds> connect_wanted(std::optional<Nanoseconds> timeout);

    std::vector<Event> wait(std::optional<Nanoseconds> timeout);

    void wake();

    void random(std::span<unsigned char> bytes);

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Node> nodes_;
    std::multimap<ManualClock::time_point, Event> events_;
    std::deque<Event> parked_;  // at hung nodes
    std::vector<Handed> handed_;
    std::atomic<std::size_t> polls_ = 0;
    bool is_woken_ = false;
    std::uint64_t random_ = 42;
    std::thread::id driver_;
};

// The seam to a World; a second Redlock on the same nodes needs a World of its own.
class ScriptedTransport {
   public:
    explicit ScriptedTransport(World& world);
    ScriptedTransport(const ScriptedTransport&) = delete;
    ScriptedTransport& operator=(const ScriptedTransport&) = delete;
    ~ScriptedTransport() { --world_.transports; }
    [[nodiscard]] std::size_t size() const { return names_.size(); }
    [[nodiscard]] std::string_view endpoint(std::size_t node) const { return names_[node]; }
    detail::Sent send(std::size_t node, std::string_view bytes) { return world_.send(node, bytes); }
    detail::Sent connect(std::size_t node) { return world_.connect(node); }
    [[nodiscard]] bool is_promising(std::size_t node) const { return world_.is_promising(node); }
    void drop(std::size_t node, const detail::Fault& fault) { world_.drop(node, fault); }
    void keep_trying(std::size_t node, bool is_wanted) { world_.keep_trying(node, is_wanted); }
    [[nodiscard]] detail::Fault fault(std::size_t node) const { return world_.fault(node); }
    [[nodiscard]] bool unfinished() const { return world_.is_connecting(); }
    void flush() {}
    [[nodiscard]] bool poll(detail::TransportEvents& events, std::optional<Nanoseconds> timeout);
    [[nodiscard]] bool take_over() { return false; }
    void wake() { world_.wake(); }
    void listen(std::string_view channel) { world_.listens = !channel.empty(); }
    [[nodiscard]] std::size_t listening() const { return world_.hears ? size() : 0; }
    void abandon() {}
    void random(std::span<unsigned char> bytes) const { world_.random(bytes); }

   private:
    void tell(const World::Event& event, detail::TransportEvents& events);
    static detail::Reply plain(const ScriptedReply& reply);

    World& world_;
    std::vector<std::string> names_;
};

static_assert(detail::IsTransport<ScriptedTransport>);

using ScriptedRedlock = BasicRedlock<ScriptedTransport, ManualClock>;
using ScriptedLock = BasicLock<ScriptedTransport, ManualClock>;
using ScriptedMutex = BasicMutex<ScriptedTransport, ManualClock>;

}  // namespace redlock::test

// It is constructible from a World and from nothing else.
template <>
redlock::test::ScriptedRedlock::BasicRedlock(const redlock::Endpoints&, const redlock::Options&) = delete;

// Compiled once, in scripted_redlock.cpp.
extern template class redlock::BasicRedlock<redlock::test::ScriptedTransport, redlock::test::ManualClock>;
extern template class redlock::BasicLock<redlock::test::ScriptedTransport, redlock::test::ManualClock>;
extern template class redlock::BasicMutex<redlock::test::ScriptedTransport, redlock::test::ManualClock>;

namespace redlock::test {

// Without fencing. Waiters use delays alone, since nothing is published here.
[[nodiscard]] Options plain_options();

[[nodiscard]] ScriptedRedlock connect_to(World& world, const Options& options = plain_options());

// With all connections made and an empty log, so that the next requests are sent at once.
[[nodiscard]] ScriptedRedlock connected_to(World& world, const Options& options = plain_options());

}  // namespace redlock::test
