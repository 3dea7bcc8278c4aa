// SPDX-License-Identifier: Apache-2.0
// The protocol without sockets: a Transport over nodes in memory, and a clock that moves only when somebody
// waits for something, or when the test says so.
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

// One request, as it was handed to the transport.
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
        refuses,  // no connection, and none to be had
        hangs,    // takes what is sent and does nothing about it; new connections do not come about
    };
    // What becomes of requests on their way when their connection is cut.
    enum class OnTheirWay : std::uint8_t { vanish, still_run };

    struct Node {
        Nanoseconds round_trip{200us};
        Nanoseconds connect_time{0};
        detail::NodeInfo info{};
        // Answers in place of the node itself, unless it returns nothing.
        std::function<std::optional<ScriptedReply>(const Request&)> says{};
        MemoryNode memory{};

        // The world's.
        Serving serving = Serving::yes;
        bool is_troubled = false;  // dropped, or cut, before it answered anything
        bool is_wanted = false;    // whenever it can be had
        std::size_t drops = 0;
        std::string why = "connection refused";
        ManualClock::time_point retry_at{};
        bool is_connected = false;
        bool is_connecting = false;
        bool is_broken = false;  // cut, and not told yet
        std::uint64_t connection = 0;
    };

    explicit World(std::size_t count) : nodes_(count), driver_{std::this_thread::get_id()} {
        for (std::size_t i = 0; i < count; ++i) {
            nodes_[i].info.run_id = std::string(39, 'r') + static_cast<char>('a' + i);
            nodes_[i].info.uptime = 24h;
        }
    }

    ManualClock clock;
    Nanoseconds cost_of_sending{0};          // how far handing over one request moves the clock
    std::function<void()> before_telling{};  // runs once when the next news has come
    std::optional<unsigned char> jitter{};   // the bytes of every random number that is not a token
    Nanoseconds backoff{10ms};               // after a connection that was dropped or did not come about
    Nanoseconds connect_timeout{1s};
    bool hears = false;                       // subscriptions come about at once; nothing is published
    std::atomic<bool> listens = false;        // the client wants subscriptions
    std::atomic<int> transports = 0;          // that there are
    std::atomic<bool> all_move_time = false;  // else only the thread that made the world does, in waiting

    [[nodiscard]] Node& operator[](std::size_t i) { return nodes_.at(i); }
    [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
    [[nodiscard]] std::size_t polls() const noexcept { return polls_; }

    // ---- what happens to nodes ---------------------------------------------------------------------

    void refuse(std::size_t node) {
        serving(node, Serving::refuses);
        cut(node);
    }
    void hang(std::size_t node) { serving(node, Serving::hangs); }
    // Serves again; what it got while it hung runs now, in order.
    void resume(std::size_t node) {
        serving(node, Serving::yes);
        const std::lock_guard lock{mutex_};
        std::deque<Event> parked;
        parked.swap(parked_);
        for (Event& event : parked) {
            if (event.node != node) {
                parked_.push_back(std::move(event));
            } else {
                schedule(clock.now(), std::move(event));
            }
        }
        if (nodes_[node].is_connecting) schedule(clock.now(), Event{Event::Kind::up, node});
        changed_.notify_all();
    }
    // Ends the connection; whoever drives learns of it in the next wait.
    void cut(std::size_t i, OnTheirWay fate = OnTheirWay::vanish) {
        const std::lock_guard lock{mutex_};
        Node& node = nodes_.at(i);
        if (fate == OnTheirWay::vanish) {
            std::erase_if(events_, [i](const auto& e) {
                return e.second.node == i && e.second.kind == Event::Kind::arrival;
            });
            std::erase_if(parked_, [i](const Event& e) { return e.node == i; });
        }
        ++node.connection;
        node.is_connecting = false;
        if (node.is_connected && !std::exchange(node.is_broken, true)) {
            schedule(clock.now(), Event{Event::Kind::down, i});
        }
        changed_.notify_all();
    }
    // Kills and starts it again, empty, as another process.
    void restart_empty(std::size_t i) {
        cut(i);
        const std::lock_guard lock{mutex_};
        nodes_.at(i).memory.forget_all();
        nodes_.at(i).info.run_id.back() = static_cast<char>(nodes_.at(i).info.run_id.back() + 10);
        nodes_.at(i).info.uptime = 0s;
    }

    // ---- looking inside ----------------------------------------------------------------------------

    [[nodiscard]] bool is_connecting() const {
        const std::lock_guard lock{mutex_};
        return std::any_of(nodes_.begin(), nodes_.end(), [](const Node& n) { return n.is_connecting; });
    }
    [[nodiscard]] std::vector<Handed> handed() const {
        const std::lock_guard lock{mutex_};
        return handed_;
    }
    [[nodiscard]] std::vector<Handed> handed(const std::string& kind) const {
        std::vector<Handed> some = handed();
        std::erase_if(some, [&](const Handed& one) { return one.kind() != kind; });
        return some;
    }
    [[nodiscard]] std::vector<Handed> handed_to(std::size_t node, const std::string& kind = {}) const {
        std::vector<Handed> some = kind.empty() ? handed() : handed(kind);
        std::erase_if(some, [&](const Handed& one) { return one.node != node; });
        return some;
    }
    void forget_handed() {
        const std::lock_guard lock{mutex_};
        handed_.clear();
    }
    [[nodiscard]] std::optional<std::string> get(std::size_t node, const std::string& key) const {
        const std::lock_guard lock{mutex_};
        return nodes_.at(node).memory.get(key, clock.now().time_since_epoch());
    }
    [[nodiscard]] std::size_t count_holding(const std::string& key) const {
        std::size_t count = 0;
        for (std::size_t i = 0; i < size(); ++i) count += get(i, key) ? 1 : 0;
        return count;
    }
    // As if somebody else held it there.
    void put(std::size_t node, const std::string& key, const std::string& value,
             std::chrono::milliseconds ttl = 10s) {
        const std::lock_guard lock{mutex_};
        nodes_.at(node).memory.set(key, value, ttl, clock.now().time_since_epoch());
    }
    void erase(std::size_t node, const std::string& key) {
        const std::lock_guard lock{mutex_};
        nodes_.at(node).memory.erase(key);
    }
    // Everything that is on its way arrives, and is answered; nobody is told.
    void let_arrive() {
        const std::lock_guard lock{mutex_};
        while (!events_.empty() && std::any_of(events_.begin(), events_.end(), [](const auto& e) {
            return e.second.kind == Event::Kind::arrival;
        })) {
            const auto at = std::find_if(events_.begin(), events_.end(),
                                         [](const auto& e) { return e.second.kind == Event::Kind::arrival; });
            clock.set(std::max(clock.now(), at->first));
            Event event = std::move(at->second);
            events_.erase(at);
            arrive(std::move(event));
        }
    }

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

    void serving(std::size_t node, Serving how) {
        const std::lock_guard lock{mutex_};
        nodes_.at(node).serving = how;
    }

    void schedule(ManualClock::time_point at, Event event) { events_.emplace(at, std::move(event)); }

    detail::Sent connect(std::size_t i) {
        const std::lock_guard lock{mutex_};
        Node& node = nodes_.at(i);
        if (node.is_connected) return detail::Sent::accepted;
        if (node.serving == Serving::refuses || clock.now() < node.retry_at) return detail::Sent::down;
        const bool was_connecting = std::exchange(node.is_connecting, true);
        if (!was_connecting && node.serving == Serving::yes) {
            schedule(clock.now() + node.connect_time, Event{Event::Kind::up, i});
        }
        if (!was_connecting) {
            schedule(clock.now() + connect_timeout, Event{Event::Kind::gave_up, i, node.connection});
        }
        return detail::Sent::connecting;
    }

    detail::Sent send(std::size_t i, std::string_view bytes) {
        if (const detail::Sent sent = connect(i); sent != detail::Sent::accepted) return sent;
        const std::lock_guard lock{mutex_};
        Node& node = nodes_.at(i);
        Request request = words_of(bytes);
        handed_.push_back({i, clock.now(), polls_, request});
        if (!node.is_broken) {
            Event event{Event::Kind::arrival, i, node.connection, std::move(request)};
            schedule(clock.now() + node.round_trip / 2, std::move(event));
        }
        clock.advance(cost_of_sending);
        return detail::Sent::accepted;
    }

    [[nodiscard]] bool is_promising(std::size_t i) const {
        const std::lock_guard lock{mutex_};
        return nodes_.at(i).is_connecting && !nodes_.at(i).is_troubled;
    }
    [[nodiscard]] detail::Fault fault(std::size_t i) const {
        const std::lock_guard lock{mutex_};
        return {nodes_.at(i).drops > 0 ? Vote::refused : Vote::unreachable, nodes_.at(i).why};
    }
    void keep_trying(std::size_t i, bool is_wanted) {
        const std::lock_guard lock{mutex_};
        nodes_.at(i).is_wanted = is_wanted;
    }
    void drop(std::size_t i, const detail::Fault& fault) {
        const std::lock_guard lock{mutex_};
        Node& node = nodes_.at(i);
        node.is_connected = node.is_connecting = node.is_broken = false;
        ++node.connection;
        ++node.drops;
        node.is_troubled = true;
        node.why = fault.text;
        node.retry_at = clock.now() + backoff;
    }

    // With the mutex held.
    void arrive(Event event) {
        Node& node = nodes_[event.node];
        if (node.serving != Serving::yes) {
            parked_.push_back(std::move(event));
            return;
        }
        std::optional<ScriptedReply> reply;
        if (node.says) reply = node.says(event.request);
        if (!reply) reply = node.memory.execute(event.request, clock.now().time_since_epoch());
        if (event.connection != node.connection) return;
        schedule(clock.now() + node.round_trip / 2,
                 Event{Event::Kind::reply, event.node, event.connection, {}, *std::move(reply)});
    }

    // With the mutex held: what is due now happens; what there is to tell is returned.
    void happen(std::vector<Event>& news) {
        while (!events_.empty() && events_.begin()->first <= clock.now()) {
            Event event = std::move(events_.begin()->second);
            events_.erase(events_.begin());
            Node& node = nodes_[event.node];
            switch (event.kind) {
                case Event::Kind::arrival: arrive(std::move(event)); continue;
                case Event::Kind::reply:
                    if (event.connection != node.connection) continue;
                    node.is_troubled = false;
                    break;
                case Event::Kind::up:
                    if (!node.is_connecting || node.serving != Serving::yes) continue;
                    node.is_connecting = false;
                    node.is_connected = true;
                    break;
                case Event::Kind::gave_up:
                    if (!node.is_connecting || event.connection != node.connection) continue;
                    node.is_connecting = false;
                    node.is_troubled = true;
                    node.retry_at = clock.now() + backoff;
                    break;
                case Event::Kind::down:
                    node.is_connected = false;
                    node.is_broken = false;
                    break;
            }
            news.push_back(std::move(event));
        }
    }

    // Until when the driver may wait: not beyond the next time that a node may be tried again.
    std::optional<Nanoseconds> connect_wanted(std::optional<Nanoseconds> timeout) {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            bool is_wanted = false;
            {
                const std::lock_guard lock{mutex_};
                is_wanted = nodes_[i].is_wanted;
                const Nanoseconds left = nodes_[i].retry_at - clock.now();
                if (is_wanted && left > 0ns) timeout = std::min(timeout.value_or(left), left);
            }
            if (is_wanted) static_cast<void>(connect(i));
        }
        return timeout;
    }

    std::vector<Event> wait(std::optional<Nanoseconds> timeout) {
        std::unique_lock lock{mutex_};
        ++polls_;
        std::vector<Event> news;
        const auto limit = clock.now() + timeout.value_or(24h);
        const bool moves_time = all_move_time || std::this_thread::get_id() == driver_;
        for (;;) {
            happen(news);
            if (!news.empty() || std::exchange(is_woken_, false) || limit <= clock.now()) break;
            if (!moves_time) {
                changed_.wait_for(lock, std::min<Nanoseconds>(timeout.value_or(5ms), 5ms));
                happen(news);
                is_woken_ = false;
                break;
            }
            if (!events_.empty() && events_.begin()->first <= limit) {
                clock.set(events_.begin()->first);
            } else if (timeout) {
                clock.set(limit);
            } else {
                changed_.wait(lock, [this] { return is_woken_ || !events_.empty(); });
            }
        }
        if (!news.empty() && before_telling) {
            const auto hook = std::exchange(before_telling, {});
            lock.unlock();
            hook();
        }
        return news;
    }

    void wake() {
        const std::lock_guard lock{mutex_};
        is_woken_ = true;
        changed_.notify_all();
    }

    void random(std::span<unsigned char> bytes) {
        const std::lock_guard lock{mutex_};
        for (unsigned char& byte : bytes) {
            random_ = random_ * 6364136223846793005U + 1442695040888963407U;
            byte = static_cast<unsigned char>(random_ >> 56U);
            if (jitter && bytes.size() != Token::byte_count) byte = *jitter;
        }
    }

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
    explicit ScriptedTransport(World& world) : world_{world} {
        ++world.transports;
        for (std::size_t i = 0; i < world.size(); ++i) names_.push_back("memory://" + std::to_string(i));
    }
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
    [[nodiscard]] bool poll(detail::TransportEvents& events, std::optional<Nanoseconds> timeout) {
        timeout = world_.connect_wanted(timeout);
        const auto news = world_.wait(timeout);
        if (!events.on_awake()) return false;
        for (const World::Event& event : news) tell(event, events);
        return true;
    }
    [[nodiscard]] bool take_over() { return false; }
    void wake() { world_.wake(); }
    void listen(std::string_view channel) { world_.listens = !channel.empty(); }
    [[nodiscard]] std::size_t listening() const { return world_.hears ? size() : 0; }
    void abandon() {}
    void random(std::span<unsigned char> bytes) const { world_.random(bytes); }

   private:
    void tell(const World::Event& event, detail::TransportEvents& events) {
        const bool is_reply = event.kind == World::Event::Kind::reply;
        if (is_reply && event.connection != world_[event.node].connection) return;  // dropped meanwhile
        switch (event.kind) {
            case World::Event::Kind::up: return events.on_up(event.node, world_[event.node].info);
            case World::Event::Kind::gave_up:
                return events.on_down(event.node, {Vote::timeout, "no connection in time"});
            case World::Event::Kind::down:
                return events.on_down(event.node, {Vote::unreachable, "the connection was cut"});
            case World::Event::Kind::reply: break;
            case World::Event::Kind::arrival: return;
        }
        std::vector<detail::Reply> elements;
        for (const ScriptedReply& element : event.reply.elements) elements.push_back(plain(element));
        detail::Reply reply = plain(event.reply);
        reply.elements = elements;
        events.on_reply(event.node, reply);
    }
    static detail::Reply plain(const ScriptedReply& reply) {
        return {reply.kind, reply.integer, reply.text, {}};
    }

    World& world_;
    std::vector<std::string> names_;
};

static_assert(detail::IsTransport<ScriptedTransport>);

using ScriptedRedlock = BasicRedlock<ScriptedTransport, ManualClock>;
using ScriptedLock = BasicLock<ScriptedTransport, ManualClock>;
using ScriptedMutex = BasicMutex<ScriptedTransport, ManualClock>;

}  // namespace redlock::test

// It is made of a World and of nothing else.
template <>
redlock::test::ScriptedRedlock::BasicRedlock(const redlock::Endpoints&, const redlock::Options&) = delete;

// Compiled once, in scripted_world.cpp.
extern template class redlock::BasicRedlock<redlock::test::ScriptedTransport, redlock::test::ManualClock>;
extern template class redlock::BasicLock<redlock::test::ScriptedTransport, redlock::test::ManualClock>;
extern template class redlock::BasicMutex<redlock::test::ScriptedTransport, redlock::test::ManualClock>;

namespace redlock::test {

// Waiting is by delays alone: nothing is published here.
template <class SomeOptions>
void without_notification(SomeOptions& options) {
    if constexpr (requires { options.notify; }) options.notify = false;
}

[[nodiscard]] inline Options plain_options() {
    Options options;
    options.fencing = false;
    without_notification(options);
    return options;
}

[[nodiscard]] inline ScriptedRedlock connect_to(World& world, const Options& options = plain_options()) {
    return ScriptedRedlock{std::make_unique<ScriptedTransport>(world), options, world.clock};
}

// With all its connections made, and nothing in the log: what follows goes out at once.
[[nodiscard]] inline ScriptedRedlock connected_to(World& world, const Options& options = plain_options()) {
    ScriptedRedlock locks = connect_to(world, options);
    {
        auto lock = locks.try_lock("warm-up", 10s);
        world.clock.advance(1s);
        static_cast<void>(lock->nodes());
    }
    world.clock.advance(1s);
    world.forget_handed();
    return locks;
}

}  // namespace redlock::test
