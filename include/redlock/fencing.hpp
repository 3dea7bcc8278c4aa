// SPDX-License-Identifier: Apache-2.0
// What the thing that a lock protects does with a fencing token: it refuses whoever is late.
//
// A holder may be paused beyond its lock and write afterwards. No lock can prevent that; the resource can,
// if every write carries the fencing token of its lock and the resource remembers the largest it has seen.
// Check and write must be one atomic step there, and what it remembers must not be forgotten.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/result.hpp"

namespace redlock {

namespace detail {

[[nodiscard]] inline Failure fenced_off(std::string_view resource, std::uint64_t token,
                                        const std::string& seen) {
    return Failure{errc::fenced, "'" + std::string{resource} + "' has seen the fencing token " + seen +
                                     ", later than " + std::to_string(token)};
}

}  // namespace detail

/// Guards resources inside this process, such as a file that only it writes. Thread-safe. Remembers one
/// number per resource for as long as it lives, or until told to forget.
class FenceGuard {
   public:
    /// Notes the token; errc::fenced when a larger one came before. The same token may come often.
    /// errc::invalid_argument for 0, which is no token.
    Result<void> admit(std::string_view resource, std::uint64_t token) {
        return apply(resource, token, [] {});
    }

    /// Runs `action` if the token is admitted, before any other call for any resource: check and write
    /// are one step.
    template <class Action>
    Result<void> apply(std::string_view resource, std::uint64_t token, Action action) {
        if (token == 0) return Failure{errc::invalid_argument, "0 is no fencing token"};
        const std::lock_guard lock{mutex_};
        auto entry = largest_.find(resource);
        if (entry == largest_.end()) entry = largest_.emplace(resource, token).first;
        if (token < entry->second) return detail::fenced_off(resource, token, std::to_string(entry->second));
        entry->second = token;
        std::move(action)();
        return {};
    }

    /// The largest token seen; 0: none.
    [[nodiscard]] std::uint64_t largest(std::string_view resource) const {
        const std::lock_guard lock{mutex_};
        const auto entry = largest_.find(resource);
        return entry == largest_.end() ? 0 : entry->second;
    }

    /// Only when no holder of an earlier lock can still be about.
    void forget(std::string_view resource) {
        const std::lock_guard lock{mutex_};
        if (const auto entry = largest_.find(resource); entry != largest_.end()) largest_.erase(entry);
    }

   private:
    mutable std::mutex mutex_;
    std::map<std::string, std::uint64_t, std::less<>> largest_;
};

/// The beginning of any Lua script that is to be fenced on a Redis data node. The script's last key is the
/// one that remembers the largest token, and its last argument is the token; the others are the script's
/// own, numbered as ever. A late token ends it with the error "FENCED <largest token seen>". A key that holds
/// no number below 2^53 is another's: it ends with "FOREIGN <why>" and is left as it is.
inline constexpr std::string_view fence_prologue = R"(
local fence_seen = redis.call('GET', KEYS[#KEYS])
if fence_seen and not (string.find(fence_seen, '^%d+$') and tonumber(fence_seen) < 9007199254740992) then
  return redis.error_reply('FOREIGN the key of the fence holds no number below 2^53')
end
if fence_seen and tonumber(fence_seen) > tonumber(ARGV[#ARGV]) then
  return redis.error_reply('FENCED ' .. fence_seen)
end
redis.call('SET', KEYS[#KEYS], ARGV[#ARGV])
)";

/// A script with the prologue before it.
[[nodiscard]] inline std::string fenced_script(std::string_view body) {
    return std::string{fence_prologue}.append(body);
}

/// The words of an EVAL that runs one command, such as SET or HSET, unless the token is late. The first
/// key is the command's first argument; `fence` is the key that remembers, on the same node. For any
/// client; hiredis/fenced.hpp runs it on hiredis.
[[nodiscard]] inline std::vector<std::string> fenced_command(std::string_view fence, std::uint64_t token,
                                                             const std::vector<std::string>& command) {
    std::vector<std::string> words{"EVAL", fenced_script("return redis.call(unpack(ARGV, 1, #ARGV - 1))")};
    const bool has_key = command.size() > 1;
    words.emplace_back(has_key ? "2" : "1");
    if (has_key) words.push_back(command[1]);
    words.emplace_back(fence);
    words.insert(words.end(), command.begin(), command.end());
    words.push_back(std::to_string(token));
    return words;
}

/// For PostgreSQL: the table that remembers.
inline constexpr std::string_view postgres_fence_table =
    "CREATE TABLE IF NOT EXISTS redlock_fence (resource text PRIMARY KEY, token bigint NOT NULL)";

/// One statement: $1 the resource, $2 the token. It gives one row when the token is admitted and none when
/// it is late. Run it first in the transaction that does the write: it locks the resource's row until the
/// commit, so that check and write are one step.
inline constexpr std::string_view postgres_fence =
    "INSERT INTO redlock_fence AS f (resource, token) VALUES ($1, $2) "
    "ON CONFLICT (resource) DO UPDATE SET token = EXCLUDED.token WHERE f.token <= EXCLUDED.token "
    "RETURNING f.token";

}  // namespace redlock
