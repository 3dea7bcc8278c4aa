// SPDX-License-Identifier: Apache-2.0
#include "unit/scripted_world.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace redlock::test {

World::World(std::size_t count) : nodes_(count), driver_{std::this_thread::get_id()} {
    for (std::size_t i = 0; i < count; ++i) {
        nodes_[i].info.run_id = std::string(39, 'r') + static_cast<char>('a' + i);
        nodes_[i].info.uptime = 24h;
    }
}

World::~World() = default;

void World::refuse(std::size_t node) {
    serving(node, Serving::refuses);
    cut(node);
}

void World::resume(std::size_t node) {
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

void World::cut(std::size_t i, OnTheirWay fate) {
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

void World::restart_empty(std::size_t i) {
    cut(i);
    const std::lock_guard lock{mutex_};
    nodes_.at(i).memory.forget_all();
    nodes_.at(i).info.run_id.back() = static_cast<char>(nodes_.at(i).info.run_id.back() + 10);
    nodes_.at(i).info.uptime = 0s;
}

bool World::is_connecting() const {
    const std::lock_guard lock{mutex_};
    return std::any_of(nodes_.begin(), nodes_.end(), [](const Node& n) { return n.is_connecting; });
}

std::vector<Handed> World::handed() const {
    const std::lock_guard lock{mutex_};
    return handed_;
}

std::vector<Handed> World::handed(const std::string& kind) const {
    std::vector<Handed> some = handed();
    std::erase_if(some, [&](const Handed& one) { return one.kind() != kind; });
    return some;
}

std::vector<Handed> World::handed_to(std::size_t node, const std::string& kind) const {
    std::vector<Handed> some = kind.empty() ? handed() : handed(kind);
    std::erase_if(some, [&](const Handed& one) { return one.node != node; });
    return some;
}

void World::forget_handed() {
    const std::lock_guard lock{mutex_};
    handed_.clear();
}

std::optional<std::string> World::get(std::size_t node, const std::string& key) const {
    const std::lock_guard lock{mutex_};
    return nodes_.at(node).memory.get(key, clock.now().time_since_epoch());
}

std::size_t World::count_holding(const std::string& key) const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < size(); ++i) count += get(i, key) ? 1 : 0;
    return count;
}

void World::put(std::size_t node, const std::string& key, const std::string& value,
                std::chrono::milliseconds ttl) {
    const std::lock_guard lock{mutex_};
    nodes_.at(node).memory.set(key, value, ttl, clock.now().time_since_epoch());
}

void World::erase(std::size_t node, const std::string& key) {
    const std::lock_guard lock{mutex_};
    nodes_.at(node).memory.erase(key);
}

void World::let_arrive() {
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

void World::serving(std::size_t node, Serving how) {
    const std::lock_guard lock{mutex_};
    nodes_.at(node).serving = how;
}

detail::Sent World::connect(std::size_t i) {
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

detail::Sent World::send(std::size_t i, std::string_view bytes) {
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

bool World::is_promising(std::size_t i) const {
    const std::lock_guard lock{mutex_};
    return nodes_.at(i).is_connecting && !nodes_.at(i).is_troubled;
}

detail::Fault World::fault(std::size_t i) const {
    const std::lock_guard lock{mutex_};
    return {nodes_.at(i).drops > 0 ? Vote::refused : Vote::unreachable, nodes_.at(i).why};
}

void World::keep_trying(std::size_t i, bool is_wanted) {
    const std::lock_guard lock{mutex_};
    nodes_.at(i).is_wanted = is_wanted;
}

void World::drop(std::size_t i, const detail::Fault& fault) {
    const std::lock_guard lock{mutex_};
    Node& node = nodes_.at(i);
    node.is_connected = node.is_connecting = node.is_broken = false;
    ++node.connection;
    ++node.drops;
    node.is_troubled = true;
    node.why = fault.text;
    node.retry_at = clock.now() + backoff;
}

void World::arrive(Event event) {
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

void World::happen(std::vector<Event>& news) {
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

std::optional<Nanoseconds> World::connect_wanted(std::optional<Nanoseconds> timeout) {
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

std::vector<World::Event> World::wait(std::optional<Nanoseconds> timeout) {
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

void World::wake() {
    const std::lock_guard lock{mutex_};
    is_woken_ = true;
    changed_.notify_all();
}

void World::random(std::span<unsigned char> bytes) {
    const std::lock_guard lock{mutex_};
    for (unsigned char& byte : bytes) {
        random_ = random_ * 6364136223846793005U + 1442695040888963407U;
        byte = static_cast<unsigned char>(random_ >> 56U);
        if (jitter && bytes.size() != Token::byte_count) byte = *jitter;
    }
}

ScriptedTransport::ScriptedTransport(World& world) : world_{world} {
    ++world.transports;
    for (std::size_t i = 0; i < world.size(); ++i) names_.push_back("memory://" + std::to_string(i));
}

bool ScriptedTransport::poll(detail::TransportEvents& events, std::optional<Nanoseconds> timeout) {
    timeout = world_.connect_wanted(timeout);
    const auto news = world_.wait(timeout);
    if (!events.on_awake()) return false;
    for (const World::Event& event : news) tell(event, events);
    return true;
}

void ScriptedTransport::tell(const World::Event& event, detail::TransportEvents& events) {
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

detail::Reply ScriptedTransport::plain(const ScriptedReply& reply) {
    return {reply.kind, reply.integer, reply.text, {}};
}

Options plain_options() {
    Options options;
    options.fencing = false;
    options.notify = false;
    return options;
}

ScriptedRedlock connect_to(World& world, const Options& options) {
    return ScriptedRedlock{std::make_unique<ScriptedTransport>(world), options, world.clock};
}

ScriptedRedlock connected_to(World& world, const Options& options) {
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
