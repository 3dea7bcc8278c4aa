// SPDX-License-Identifier: Apache-2.0
// A node in memory: it executes the library's requests as a master would, at a time that the caller gives.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/engine/transport.hpp"
#include "redlock/voting/command.hpp"

namespace redlock::test {

// {"SET", "name", "token", "NX", "PX", "10000"}
using Request = std::vector<std::string>;

// A reply of a node that has not arrived yet.
struct ScriptedReply {
    using Kind = detail::Reply::Kind;
    Kind kind = Kind::nil;
    std::int64_t integer = 0;
    std::string text{};
    std::vector<ScriptedReply> elements{};

    static ScriptedReply nil() { return {}; }
    static ScriptedReply ok() { return {Kind::text, 0, "OK", {}}; }
    static ScriptedReply number(std::int64_t value) { return {Kind::integer, value, {}, {}}; }
    static ScriptedReply error(std::string text) { return {Kind::error, 0, std::move(text), {}}; }
    static ScriptedReply list(const std::vector<std::int64_t>& numbers) {
        ScriptedReply reply{Kind::array, 0, {}, {}};
        for (const std::int64_t value : numbers) reply.elements.push_back(number(value));
        return reply;
    }
};

// Splits one whole RESP request into its arguments.
[[nodiscard]] Request words_of(std::string_view bytes);

// The kind of a request: "acquire", "adopt", "commit", "extend", "put_back", "release", "enlist", "delist",
// or its first argument.
[[nodiscard]] std::string kind_of(const Request& request);

// The token that a request of ours carries.
[[nodiscard]] std::string token_of(const Request& request);

// Keys with expiry, and the scripts as their comments in scripts.hpp describe them.
class MemoryNode {
   public:
    using Time = std::chrono::nanoseconds;

    std::int64_t time_us = 1'700'000'000'000'000;  // the reply of TIME at time 0

    [[nodiscard]] std::optional<std::string> get(const std::string& key, Time now) const;
    [[nodiscard]] Time time_to_live(const std::string& key, Time now) const;
    // The reply of PTTL.
    [[nodiscard]] std::int64_t pttl(const std::string& key, Time now) const;
    void set(const std::string& key, const std::string& value, std::chrono::milliseconds ttl, Time now);
    // Removes its ttl.
    void persist(const std::string& key) { keys_.at(key).expires = Time::max(); }
    void erase(const std::string& key) { keys_.erase(key); }
    // Like a restart without persistence.
    void forget_all();
    void flush_scripts() { scripts_.clear(); }
    [[nodiscard]] std::vector<std::string> lock_keys(Time now) const;

    ScriptedReply execute(const Request& request, Time now);

   private:
    struct Entry {
        std::string value;
        Time expires{};
    };
    struct Call {
        std::span<const std::string> keys;
        std::span<const std::string> args;
        std::size_t count = 0;  // of resources; with fencing their counters follow
        bool is_fenced = false;
        bool is_exact = false;  // of an extension: it may shorten
        bool is_above = false;  // of a commit: the counters must be below
    };

    ScriptedReply plain_set(const Request& request, Time now);

    ScriptedReply acquire(const Call& call, Time now);

    // No notice is ever published.
    ScriptedReply enlist(const Request& request, Time now);
    ScriptedReply delist(const Request& request);

    ScriptedReply adopt(const Call& call, Time now);

    // The counters' next values; the counters' ttl comes before the proposals. False: one is no counter.
    bool count_on(const Call& call, std::size_t ttl, std::vector<std::int64_t>& values, Time now);

    ScriptedReply commit(const Call& call, Time now);

    ScriptedReply hold(const Call& call, bool is_put_back, Time now);

    ScriptedReply release(const Call& call, Time now);

    // Nothing: it is not in our form.
    [[nodiscard]] std::optional<std::int64_t> counter(const Call& call, std::size_t i, Time now) const;
    // A key without a ttl gets none.
    void set_counter(const Call& call, std::size_t i, const std::string& value, const std::string& ttl,
                     Time now);
    static ScriptedReply foreign();
    static constexpr long long largest_counter = 9'007'199'254'740'991;
    static std::chrono::milliseconds milliseconds(const std::string& text);

    std::map<std::string, Entry> keys_;
    std::map<std::string, std::set<std::pair<std::int64_t, std::string>>> queues_;
    std::set<std::string> scripts_;
};

}  // namespace redlock::test
