// SPDX-License-Identifier: Apache-2.0
// A model of one Redis server: what the commands and scripts that the library uses do.
//
// It knows a script by its text or the text's SHA-1, and does in C++ what the Lua does.
// model_redis_test.cpp compares it with a real server.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/voting/command.hpp"
#include "redlock/voting/reply.hpp"
#include "sim/model_store.hpp"

namespace redlock::sim {

struct ModelReply {
    using Kind = detail::Reply::Kind;
    Kind kind = Kind::nil;
    std::int64_t integer = 0;
    std::string text;
    std::vector<std::int64_t> elements;

    [[nodiscard]] static ModelReply number(std::int64_t value) { return {Kind::integer, value, {}, {}}; }
    [[nodiscard]] static ModelReply words(std::string value) { return {Kind::text, 0, std::move(value), {}}; }
    [[nodiscard]] static ModelReply error(std::string value) {
        return {Kind::error, 0, std::move(value), {}};
    }
};

class ModelRedis {
   public:
    using Words = std::span<const std::string_view>;

    /// The permissions of a user of the server.
    struct Permissions {
        bool channels = true;  ///< PUBLISH and SUBSCRIBE
        bool queues = true;    ///< keys that end in "queue"
    };
    /// A published message, for one subscriber of its channel.
    struct Notice {
        std::uint32_t subscriber;
        std::string payload;
    };

    /// One command, at a time of the node's wall clock. A script whose first write is refused does nothing.
    ModelReply execute(Words words, std::int64_t wall_us, std::string_view write_refusal = {}) try {
        store_.set_time(wall_us);
        store_.refuse_writes(write_refusal);
        if (is_write(words[0]) && !write_refusal.empty()) throw ModelStore::WriteRefused{};
        return dispatch(words);
    } catch (const ModelStore::WriteRefused&) {
        return ModelReply::error(store_.write_refusal());
    }

    // ---- channels ----------------------------------------------------------------------------------

    /// False: it is not permitted.
    bool subscribe(std::uint32_t subscriber, std::string_view channel) {
        if (permissions_.channels) subscriptions_.push_back({subscriber, std::string{channel}});
        return permissions_.channels;
    }
    void unsubscribe(std::uint32_t subscriber) {
        std::erase_if(subscriptions_, [=](const Subscription& s) { return s.subscriber == subscriber; });
    }
    /// The messages published since the last call, in order.
    [[nodiscard]] std::vector<Notice> take_notices() { return std::exchange(notices_, {}); }

    // ---- faults ------------------------------------------------------------------------------------

    void permit(Permissions permissions) noexcept { permissions_ = permissions; }
    void learn_scripts() noexcept { known_.fill(true); }
    void forget_scripts() noexcept { known_.fill(false); }
    [[nodiscard]] bool knows(std::string_view sha1) const {
        for (std::size_t i = 0; i < scripts.size(); ++i) {
            if (known_[i] && sha1 == detail::sha1_of(*scripts[i])) return true;
        }
        return false;
    }
    [[nodiscard]] ModelStore& store() noexcept { return store_; }

    /// Keys that have not expired.
    [[nodiscard]] const ModelStore::Entries& entries_at(std::int64_t wall_us) {
        store_.set_time(wall_us);
        return store_.entries();
    }

   private:
    using Entry = ModelStore::Entry;
    static constexpr auto scripts = detail::loaded_scripts;
    static constexpr int calls_max = 100;  // in one script

    struct Subscription {
        std::uint32_t subscriber;
        std::string channel;
    };
    /// Of a script's call: the resources, what stands beside them (counters or queues) and the arguments.
    struct Scope {
        Words resources;
        Words companions;
        Words arguments;
        bool is_exact = false;  ///< of an extension: it may shorten
        bool is_above = false;  ///< of a commit: the counters must be below
    };

    ModelReply dispatch(Words words) {
        if (!permissions_.queues && names_queue(words)) return not_permitted();
        const std::string_view name = words[0];
        if (name == "EVALSHA" && words.size() >= 3) return evalsha(words);
        if (name == "EVAL" && words.size() >= 3) return eval(words);
        if (name == "SCRIPT" && words.size() == 3 && words[1] == "LOAD") return load(words[2]);
        if (name == "SET" && words.size() >= 3) return set(words);
        if (name == "GET" && words.size() == 2) return get(words[1]);
        if (name == "EXISTS" && words.size() == 2) return ModelReply::number(exists(words[1]) ? 1 : 0);
        if (name == "DEL" && words.size() == 2) return ModelReply::number(del(words[1]));
        if (name == "PTTL" && words.size() == 2) return ModelReply::number(store_.pttl(words[1]));
        if (name == "PEXPIRE" && words.size() == 3) return ModelReply::number(pexpire(words[1], words[2]));
        if (name == "PERSIST" && words.size() == 2) return ModelReply::number(persist(words[1]));
        if (name == "ZADD" && words.size() == 4) return zadd(words);
        if (name == "ZCARD" && words.size() == 2) return zcard(words[1]);
        if (name == "HSET" && words.size() == 4) return hset(words[1]);
        return ModelReply::error("ERR unknown command");
    }

    // ---- plain commands ----------------------------------------------------------------------------

    [[nodiscard]] static bool is_write(std::string_view name) noexcept {
        constexpr std::array writes{"SET", "DEL", "PEXPIRE", "PERSIST", "ZADD", "HSET"};
        return std::any_of(writes.begin(), writes.end(), [=](const char* other) { return name == other; });
    }
    [[nodiscard]] static std::int64_t number(std::string_view digits) noexcept {
        return ModelStore::number(digits);
    }
    [[nodiscard]] std::int64_t in_ms(std::string_view ttl_ms) const noexcept {
        return store_.now_ms() + number(ttl_ms);
    }
    [[nodiscard]] bool exists(std::string_view key) { return store_.find(key) != nullptr; }

    ModelReply get(std::string_view key) {
        const Entry* entry = store_.find(key);
        if (entry == nullptr) return {};
        if (!ModelStore::is_string(*entry)) return wrong_type();
        return ModelReply::words(entry->value);
    }

    std::int64_t del(std::string_view key) {
        store_.before_write();
        return store_.erase(key);
    }

    std::int64_t pexpire(std::string_view key, std::string_view ttl_ms) {
        Entry* entry = store_.find(key);
        if (entry == nullptr) return 0;
        if (number(ttl_ms) <= 0) return del(key);
        store_.before_write();
        entry->expires_ms = in_ms(ttl_ms);
        return 1;
    }

    std::int64_t persist(std::string_view key) {
        Entry* entry = store_.find(key);
        if (entry == nullptr || entry->expires_ms == ModelStore::forever_ms) return 0;
        store_.before_write();
        entry->expires_ms = ModelStore::forever_ms;
        return 1;
    }

    ModelReply zadd(Words words) {
        const Entry* entry = store_.find(words[1]);
        if (entry != nullptr && !ModelStore::is_queue(*entry)) return wrong_type();
        store_.before_write();
        const std::size_t before = entry == nullptr ? 0 : entry->members.size();
        store_.add_member(words[1], number(words[2]), words[3]);
        return ModelReply::number(store_.find(words[1])->members.size() > before ? 1 : 0);
    }

    ModelReply zcard(std::string_view key) {
        const Entry* entry = store_.find(key);
        if (entry == nullptr) return ModelReply::number(0);
        if (!ModelStore::is_queue(*entry)) return wrong_type();
        return ModelReply::number(static_cast<std::int64_t>(entry->members.size()));
    }

    /// Always the same field, since no test depends on the contents of a hash.
    ModelReply hset(std::string_view key) {
        const Entry* entry = store_.find(key);
        if (entry != nullptr) return entry->is_other ? ModelReply::number(0) : wrong_type();
        store_.before_write();
        store_.put_other(key);
        return ModelReply::number(1);
    }

    ModelReply set(Words words) {
        bool only_if_absent = false;
        std::int64_t expires_ms = ModelStore::forever_ms;
        for (std::size_t i = 3; i < words.size(); ++i) {
            if (words[i] == "NX") {
                only_if_absent = true;
            } else if (words[i] == "PX" && i + 1 < words.size()) {
                if (number(words[++i]) <= 0)
                    return ModelReply::error("ERR invalid expire time in 'set' command");
                expires_ms = in_ms(words[i]);
            } else {
                return ModelReply::error("ERR syntax error");
            }
        }
        if (only_if_absent && exists(words[1])) return {};
        store_.before_write();
        store_.put(words[1], words[2], expires_ms);
        return ModelReply::words("OK");
    }

    // ---- scripts -----------------------------------------------------------------------------------

    ModelReply evalsha(Words words) {
        for (std::size_t i = 0; i < scripts.size(); ++i) {
            if (words[1] != detail::sha1_of(*scripts[i]) || !known_[i]) continue;
            return run(*scripts[i], words.subspan(2));
        }
        return ModelReply::error("NOSCRIPT No matching script. Please use EVAL.");
    }

    ModelReply eval(Words words) {
        for (std::size_t i = 0; i < scripts.size(); ++i) {
            if (words[1] != scripts[i]->text) continue;
            known_[i] = true;
            return run(*scripts[i], words.subspan(2));
        }
        return ModelReply::error("ERR the model does not know this script");
    }

    ModelReply load(std::string_view text) {
        for (std::size_t i = 0; i < scripts.size(); ++i) {
            if (text != scripts[i]->text) continue;
            known_[i] = true;
            return ModelReply::words(std::string{detail::sha1_of(*scripts[i])});
        }
        return ModelReply::error("ERR the model does not know this script");
    }

    ModelReply run(const detail::Script& script, Words words) {
        const auto key_count = static_cast<std::size_t>(number(words[0]));
        Scope scope{words.subspan(1, key_count), {}, words.subspan(1 + key_count)};
        const bool is_extend = &script == &detail::extend_script;
        scope.is_exact = is_extend && scope.arguments.back() == "exactly";
        scope.is_above = &script == &detail::commit_script && scope.arguments.back() == "above";
        if (scope.is_exact || scope.is_above) {
            scope.arguments = scope.arguments.first(scope.arguments.size() - 1);
        }
        const bool is_waiting = &script == &detail::enlist_script || &script == &detail::delist_script;
        // The number of arguments of an extend or put-back says whether there are counters.
        const bool holds = is_extend || &script == &detail::put_back_script;
        const bool is_adopt = &script == &detail::adopt_script;
        if (&script == &detail::fenced_acquire_script || &script == &detail::commit_script || is_waiting ||
            is_adopt || (holds && scope.arguments.size() > 2)) {
            scope.companions = scope.resources.subspan(key_count / 2);
            scope.resources = scope.resources.first(key_count / 2);
        }
        if (is_adopt) return adopt(scope);
        if (&script == &detail::commit_script) return commit(scope);
        if (is_extend) return extend(scope);
        if (&script == &detail::put_back_script) return put_back(scope);
        if (&script == &detail::release_script) return release(scope);
        if (&script == &detail::enlist_script) return enlist(scope);
        return is_waiting ? delist(scope) : acquire(scope);
    }

    /// Whether it is among the keys of a request. A key that is only an argument of a script counts when
    /// used.
    [[nodiscard]] static bool names_queue(Words words) {
        const auto is_queue = [](std::string_view word) { return word.ends_with("queue"); };
        if (!words[0].starts_with("EVAL")) return words.size() > 1 && is_queue(words[1]);
        const Words keys = words.subspan(3, static_cast<std::size_t>(number(words[2])));
        return std::any_of(keys.begin(), keys.end(), is_queue);
    }
    [[nodiscard]] static ModelReply wrong_type() {
        return ModelReply::error("WRONGTYPE Operation against a key holding the wrong kind of value");
    }
    [[nodiscard]] static ModelReply foreign() { return ModelReply::error("FOREIGN it is not one of ours"); }
    [[nodiscard]] static ModelReply not_permitted() {
        return ModelReply::error("NOPERM this user has no permissions");
    }

    ModelReply acquire(const Scope& scope) {
        for (std::size_t i = 0; i < scope.resources.size(); ++i) {
            if (!exists(scope.resources[i])) continue;
            const auto place = static_cast<std::int64_t>(i) + 1;
            return {ModelReply::Kind::array, 0, {}, {0, place, store_.pttl(scope.resources[i])}};
        }
        store_.before_write();
        ModelReply reply = count_on(scope, 2);
        if (reply.kind == ModelReply::Kind::error) return reply;
        for (const std::string_view resource : scope.resources) {
            store_.put(resource, scope.arguments[0], in_ms(scope.arguments[1]));
        }
        return reply;
    }

    ModelReply adopt(const Scope& scope) {
        for (std::size_t i = 0; i < scope.resources.size(); ++i) {
            if (store_.has(scope.resources[i], scope.arguments[0])) continue;
            const auto place = static_cast<std::int64_t>(i) + 1;
            return {ModelReply::Kind::array, 0, {}, {0, place, store_.pttl(scope.resources[i])}};
        }
        store_.before_write();
        return count_on(scope, 1);
    }

    /// The counters' next values. The argument `ttl` is that of the counters, and the proposals follow it.
    ModelReply count_on(const Scope& scope, std::size_t ttl) {
        ModelReply reply{ModelReply::Kind::array, 0, {}, {1}};
        constexpr std::int64_t day_us = 86'400'000'000;
        for (std::size_t i = 0; i < scope.companions.size(); ++i) {
            const auto counter = store_.counter_at(scope.companions[i]);
            if (!counter || *counter == ModelStore::largest_counter) return foreign();
            std::int64_t proposal =
                std::min(number(scope.arguments[ttl + 1 + i]), ModelStore::largest_counter);
            const bool is_near = exists(scope.companions[i]) && proposal <= *counter + day_us;
            if (!is_near) proposal = std::min(proposal, store_.now_us() + day_us);
            reply.elements.push_back(std::max(*counter + 1, proposal));
        }
        for (std::size_t i = 0; i < scope.companions.size(); ++i) {
            store_.put_counter(scope.companions[i], std::to_string(reply.elements[1 + i]),
                               in_ms(scope.arguments[ttl]));
        }
        return reply;
    }

    ModelReply commit(const Scope& scope) {
        for (std::size_t i = 0; i < scope.resources.size(); ++i) {
            if (!store_.has(scope.resources[i], scope.arguments[0])) return ModelReply::number(0);
            const auto counter = store_.counter_at(scope.companions[i]);
            const std::int64_t fence = number(scope.arguments[2 + i]);
            if (!counter || fence > ModelStore::largest_counter) return foreign();
            if (*counter + (scope.is_above ? 1 : 0) > fence) return ModelReply::number(0);
        }
        store_.before_write();
        for (std::size_t i = 0; i < scope.companions.size(); ++i) {
            store_.put_counter(scope.companions[i], scope.arguments[2 + i], in_ms(scope.arguments[1]));
        }
        return ModelReply::number(1);
    }

    /// The reply where a key belongs to another, or a larger fencing value was given out.
    [[nodiscard]] std::optional<ModelReply> refusal(const Scope& scope) {
        for (std::size_t i = 0; i < scope.resources.size(); ++i) {
            const bool is_ours = store_.has(scope.resources[i], scope.arguments[0]);
            if (!is_ours && exists(scope.resources[i])) return ModelReply::number(0);
            if (scope.companions.empty()) continue;
            const auto counter = store_.counter_at(scope.companions[i]);
            const std::int64_t fence = number(scope.arguments[3 + i]);
            if (!counter || fence > ModelStore::largest_counter) return foreign();
            if (*counter > fence) return ModelReply::number(0);
        }
        return std::nullopt;
    }

    void raise_counters(const Scope& scope) {
        for (std::size_t i = 0; i < scope.companions.size(); ++i) {
            store_.put_counter(scope.companions[i], scope.arguments[3 + i], in_ms(scope.arguments[2]));
        }
    }

    ModelReply extend(const Scope& scope) {
        if (auto refused = refusal(scope)) return *std::move(refused);
        for (const std::string_view resource : scope.resources) {
            if (!exists(resource)) return ModelReply::number(-1);
        }
        store_.before_write();
        std::int64_t longest = 0;
        for (const std::string_view resource : scope.resources) {
            const std::int64_t left = store_.pttl(resource);
            if (scope.is_exact || left < number(scope.arguments[1])) {
                store_.find(resource)->expires_ms = in_ms(scope.arguments[1]);
            } else {
                longest = std::max(longest, left);
            }
        }
        raise_counters(scope);
        if (longest > 0) return {ModelReply::Kind::array, 0, {}, {1, longest}};
        return ModelReply::number(1);
    }

    ModelReply put_back(const Scope& scope) {
        if (auto refused = refusal(scope)) return *std::move(refused);
        store_.before_write();
        raise_counters(scope);
        for (const std::string_view resource : scope.resources) {
            if (exists(resource)) continue;
            store_.put(resource, scope.arguments[0], in_ms(scope.arguments[1]));
        }
        return ModelReply::number(1);
    }

    ModelReply release(const Scope& scope) {
        std::size_t freed = 0;
        bool has_called = false;
        for (std::size_t i = 0; i < scope.resources.size(); ++i) {
            if (!store_.has(scope.resources[i], scope.arguments[0])) continue;
            freed += static_cast<std::size_t>(del(scope.resources[i]));
            if (scope.arguments.size() <= 1 + i || !permissions_.queues) continue;
            has_called |= notify_next(scope.arguments[1 + i], scope.resources[i]);
        }
        if (freed < scope.resources.size()) return ModelReply::number(0);
        return ModelReply::number(has_called ? 2 : 1);
    }

    // ---- waiting -----------------------------------------------------------------------------------

    ModelReply enlist(const Scope& scope) {
        std::vector<std::size_t> held;
        for (std::size_t i = 0; i < scope.resources.size(); ++i) {
            if (!exists(scope.resources[i])) continue;
            if (!store_.queue_left(scope.companions[i])) return foreign();
            held.push_back(i);
        }
        if (held.empty()) return ModelReply::number(0);
        store_.before_write();
        std::int64_t longest = 0;
        std::int64_t rank = 0;
        std::string holders;
        for (const std::size_t i : held) {
            const std::string_view queue = scope.companions[i];
            store_.add_member(queue, number(scope.arguments[1]), scope.arguments[0]);
            if (store_.pttl(queue) < number(scope.arguments[2])) {
                store_.find(queue)->expires_ms = in_ms(scope.arguments[2]);
            }
            const std::int64_t left = store_.pttl(scope.resources[i]);
            longest = std::max(longest, left < 0 ? ModelStore::largest_counter : left);
            rank = std::max(rank, store_.rank_of(queue, scope.arguments[0]));
            const Entry& holder = *store_.find(scope.resources[i]);
            if (ModelStore::is_string(holder)) holders += holder.value;
        }
        return {ModelReply::Kind::array, 0, {}, {1, longest, rank, digest_of(holders)}};
    }

    /// The first 12 digits of its SHA-1.
    [[nodiscard]] static std::int64_t digest_of(std::string_view text) {
        const auto sha1 = detail::sha1_hex(text);
        std::int64_t digest = 0;
        std::from_chars(sha1.data(), sha1.data() + 12, digest, 16);
        return digest;
    }

    ModelReply delist(const Scope& scope) {
        bool has_begun = false;
        for (std::size_t i = 0; i < scope.resources.size(); ++i) {
            if (store_.queue_left(scope.companions[i]).value_or(-2) < 0) continue;
            if (!std::exchange(has_begun, true)) store_.before_write();
            const bool was_there = store_.erase_member(scope.companions[i], scope.arguments[0]);
            if (was_there || exists(scope.resources[i])) continue;
            notify_next(scope.companions[i], scope.resources[i]);
        }
        return ModelReply::number(1);
    }

    /// Removes the first waiter that has a subscriber from the queue. False: there is none.
    bool notify_next(std::string_view queue, std::string_view resource) {
        if (store_.pttl(queue) < 0) return false;
        for (int i = 0; i < calls_max; ++i) {
            const std::string first = store_.first_member(queue);
            if (!ModelStore::is_waiter(first)) return false;
            store_.erase_member(queue, first);
            if (!permissions_.channels) return false;
            const std::size_t blank = first.find(' ');
            const std::string payload = first.substr(blank + 1).append(" ").append(resource);
            if (publish(std::string_view{first}.substr(0, blank), payload) > 0) return true;
        }
        return false;
    }

    /// To how many.
    std::size_t publish(std::string_view channel, const std::string& payload) {
        std::size_t receivers = 0;
        for (const Subscription& subscription : subscriptions_) {
            if (subscription.channel != channel) continue;
            notices_.push_back({subscription.subscriber, payload});
            ++receivers;
        }
        return receivers;
    }

    ModelStore store_;
    std::array<bool, scripts.size()> known_{};
    Permissions permissions_;
    std::vector<Subscription> subscriptions_;
    std::vector<Notice> notices_;
};

/// Takes the next request from a RESP stream; false when none is complete.
inline bool take_request(std::string_view& stream, std::vector<std::string_view>& words) {
    std::string_view rest = stream;
    const auto header = [&rest](char kind) -> std::int64_t {
        const std::size_t end = rest.find("\r\n");
        if (end == std::string_view::npos || rest.front() != kind) return -1;
        std::int64_t value = -1;
        std::from_chars(rest.data() + 1, rest.data() + end, value);
        rest.remove_prefix(end + 2);
        return value;
    };
    if (rest.empty()) return false;
    const std::int64_t count = header('*');
    words.clear();
    for (std::int64_t i = 0; i < count; ++i) {
        const auto size = static_cast<std::size_t>(rest.empty() ? -1 : header('$'));
        if (size > rest.size() || rest.size() - size < 2) return false;
        words.push_back(rest.substr(0, size));
        rest.remove_prefix(size + 2);
    }
    stream = rest;
    return count > 0;
}

}  // namespace redlock::sim
