// SPDX-License-Identifier: Apache-2.0
// How the resource that a lock protects uses a fencing token: it refuses late holders.
//
// A holder may be paused beyond its lock and write afterwards. No lock can prevent that; the resource can,
// if every write carries the fencing token of its lock and the resource remembers the largest it has seen.
// Check and write must be one atomic step there, and what it remembers must not be forgotten.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "redlock/result.hpp"
#include "redlock/token.hpp"

namespace redlock::inline v0_1 {

namespace detail {

[[nodiscard]] inline Failure fenced_off(std::string_view resource, std::uint64_t token,
                                        const std::string& seen) {
    return Failure{errc::fenced, "'" + std::string{resource} + "' has seen the fencing token " + seen +
                                     ", later than " + std::to_string(token)};
}

/// Why the number is no token; empty where it is one.
[[nodiscard]] inline std::string objection_to(std::uint64_t token) {
    if (token == 0) return "0 is no fencing token";
    if (token <= fencing_token_max) return {};
    return std::to_string(token) + " is no fencing token, which is below 2^53";
}

/// The type of what FenceGuard::apply() gives for an action that gives a T: Result<T>, or T where T is a
/// Result.
template <class T>
struct GuardedResult {
    using Type = Result<std::remove_cvref_t<T>>;
};
template <class T>
struct GuardedResult<Result<T>> {
    using Type = Result<T>;
};

}  // namespace detail

/// Guards resources inside this process, such as a file that only it writes. Thread-safe: a call waits for
/// the actions of other threads, however long they take. Remembers one number per resource for as long as
/// it lives, or until told to forget.
///
/// An action may call the same guard. It must not wait for another thread that does.
class FenceGuard {
   public:
    /// Notes the token; errc::fenced when a larger one came before. The same token may come often.
    /// errc::invalid_argument: the token is 0 or above fencing_token_max; or an action that runs for the same
    /// resource has a smaller token, and what it still writes would be late.
    [[nodiscard]] Result<void> admit(std::string_view resource, std::uint64_t token) {
        return apply(resource, token, [] {});
    }

    /// Runs `action` if the token is admitted. No call of another thread, for any resource, comes in between:
    /// check and write are one step. Returns a Result of what the action returns, or that itself where it is
    /// a Result; or the Failure of admit(). An exception of the action goes to the caller. The token stays
    /// noted then, since the action may have written before it threw: a smaller one is late, the same one may
    /// try again.
    template <class Action>
    [[nodiscard]] auto apply(std::string_view resource, std::uint64_t token, Action action) ->
        typename detail::GuardedResult<std::invoke_result_t<Action>>::Type {
        const std::lock_guard lock{mutex_};
        if (auto refusal = note(resource, token)) return *std::move(refusal);
        const UnderWay this_action{actions_, {resource, token}};
        if constexpr (std::is_void_v<std::invoke_result_t<Action>>) {
            std::move(action)();
            return {};
        } else {
            return std::move(action)();
        }
    }

    /// The largest token seen; 0: none.
    [[nodiscard]] std::uint64_t largest(std::string_view resource) const {
        const std::lock_guard lock{mutex_};
        const auto entry = largest_.find(resource);
        return entry == largest_.end() ? 0 : entry->second;
    }

    /// Forgets the resource's token. Call it only when no holder of an earlier lock can still write.
    void forget(std::string_view resource) {
        const std::lock_guard lock{mutex_};
        if (const auto entry = largest_.find(resource); entry != largest_.end()) largest_.erase(entry);
    }

   private:
    struct Entry {
        std::string_view resource;
        std::uint64_t token;
    };

    /// An action that runs, perhaps within another action of the same guard.
    class UnderWay {
       public:
        UnderWay(std::vector<Entry>& actions, Entry action) : actions_{actions} {
            actions_.push_back(action);
        }
        UnderWay(const UnderWay&) = delete;
        UnderWay& operator=(const UnderWay&) = delete;
        ~UnderWay() { actions_.pop_back(); }

       private:
        std::vector<Entry>& actions_;
    };

    [[nodiscard]] std::optional<Failure> note(std::string_view resource, std::uint64_t token) {
        if (auto objection = detail::objection_to(token); !objection.empty()) {
            return Failure{errc::invalid_argument, std::move(objection)};
        }
        for (const Entry& action : actions_) {
            if (action.resource != resource || action.token >= token) continue;
            return Failure{errc::invalid_argument, "'" + std::string{resource} + "' is being written with " +
                                                       std::to_string(action.token) + ", before " +
                                                       std::to_string(token)};
        }
        auto entry = largest_.find(resource);
        if (entry == largest_.end()) entry = largest_.emplace(resource, token).first;
        if (token < entry->second) return detail::fenced_off(resource, token, std::to_string(entry->second));
        entry->second = token;
        return std::nullopt;
    }

    mutable std::recursive_mutex mutex_;  // an action may call the guard
    std::vector<Entry> actions_;          // that run now, all on the thread that has the mutex
    std::map<std::string, std::uint64_t, std::less<>> largest_;
};

/// The beginning of any Lua script that is to be fenced on a Redis data node; it stands behind the line
/// "#!lua", where there is one. The script's last key is the one that remembers the largest token, and its
/// last argument is the token: they are taken from KEYS and ARGV, which hold the script's own afterwards. A
/// late token ends it with the error "FENCED <largest token seen>". A key that holds no number below 2^53 is
/// another's: it ends with "FOREIGN <why>". What is no token from 1 to 2^53 - 1, or a fence that is one of
/// the script's other keys, ends it with "INVALID <why>". An error has changed nothing.
inline constexpr std::string_view fence_prologue = R"(
do
  local fence, token = table.remove(KEYS), table.remove(ARGV)
  local function is_below_2_to_the_53(text)
    return string.find(text, '^%d+$') and tonumber(text) < 9007199254740992
  end
  if not fence or not token then
    return redis.error_reply('INVALID the last key must be that of the fence, the last argument the token')
  end
  if not is_below_2_to_the_53(token) or string.sub(token, 1, 1) == '0' then
    return redis.error_reply('INVALID the last argument is no fencing token from 1 to 2^53 - 1')
  end
  for _, key in ipairs(KEYS) do
    if key == fence then return redis.error_reply('INVALID the key of the fence is that of data too') end
  end
  local seen = redis.call('GET', fence)
  if seen and not is_below_2_to_the_53(seen) then
    return redis.error_reply('FOREIGN the key of the fence holds no number below 2^53')
  end
  if seen and tonumber(seen) > tonumber(token) then return redis.error_reply('FENCED ' .. seen) end
  redis.call('SET', fence, token)
end
)";

/// A script with the prologue before it. One with the flag no-writes cannot be fenced: Redis refuses to note
/// its token. fenced_eval() brings the key of the fence and the token as well.
[[nodiscard]] inline std::string fenced_script(std::string_view body) {
    std::string script;
    if (body.starts_with("#!")) {
        const std::string_view first_line = body.substr(0, body.find('\n'));
        script.append(first_line);
        body.remove_prefix(first_line.size());
    }
    return script.append(fence_prologue).append(body);
}

/// A Lua script of the user's, and what it sees as KEYS and ARGV.
struct LuaScript {
    std::string body;
    std::vector<std::string> keys{};
    std::vector<std::string> arguments{};
};

namespace detail {

/// Why a fence cannot guard these keys; empty where it can.
[[nodiscard]] inline std::string objection_to(std::string_view fence, std::uint64_t token,
                                              std::span<const std::string> keys) {
    const bool is_data = std::find(keys.begin(), keys.end(), fence) != keys.end();
    if (is_data) return "the key of the fence is that of data too";
    return objection_to(token);
}

/// The key of a command as far as it is known here: its first argument, if any.
[[nodiscard]] inline std::span<const std::string> key_of(const std::vector<std::string>& command) {
    return std::span{command}.subspan(command.empty() ? 0 : 1).first(command.size() > 1 ? 1 : 0);
}

/// Checks the fence again after the command, which may have more keys than its first argument.
inline constexpr std::string_view fenced_command_body = R"(
local reply = redis.call(unpack(ARGV, 1, #ARGV - 2))
local fence, token = ARGV[#ARGV - 1], ARGV[#ARGV]
if redis.pcall('GET', fence) ~= token then  -- an error, where its type is another
  redis.call('SET', fence, token)
  return redis.error_reply('ERR the command itself changed the key of its fence, which is put back')
end
return reply
)";

}  // namespace detail

/// The arguments of an EVAL that runs the script unless the token is late, for any client; hiredis/fenced.hpp
/// runs it on hiredis. `fence` is the key that remembers, on the same node. The script may change no key of
/// that name. Throws std::invalid_argument for what is no token (0, or above fencing_token_max), and for a
/// fence that is one of the script's keys. Not for use within MULTI: EXEC runs what stands beside a late
/// script.
[[nodiscard]] inline std::vector<std::string> fenced_eval(std::string_view fence, std::uint64_t token,
                                                          const LuaScript& script) {
    const std::string objection = detail::objection_to(fence, token, script.keys);
    if (!objection.empty()) throw std::invalid_argument{objection};
    std::vector<std::string> words{"EVAL", fenced_script(script.body),
                                   std::to_string(script.keys.size() + 1)};
    words.insert(words.end(), script.keys.begin(), script.keys.end());
    words.emplace_back(fence);
    words.insert(words.end(), script.arguments.begin(), script.arguments.end());
    words.push_back(std::to_string(token));
    return words;
}

/// The same for one command, such as SET or HSET, whose key is its first argument. A command that changes the
/// key of the fence in another way ends in an error when it has run, and the token is put back.
[[nodiscard]] inline std::vector<std::string> fenced_command(std::string_view fence, std::uint64_t token,
                                                             const std::vector<std::string>& command) {
    const auto key = detail::key_of(command);
    LuaScript script{std::string{detail::fenced_command_body}, {key.begin(), key.end()}, command};
    script.arguments.emplace_back(fence);
    script.arguments.push_back(std::to_string(token));
    return fenced_eval(fence, token, script);
}

/// For PostgreSQL: makes the table that remembers, where it is not there. It may be run at any time, within a
/// transaction or not, and by several at once: IF NOT EXISTS alone would fail one of those with error 23505.
inline constexpr std::string_view postgres_fence_table =
    "DO $$ BEGIN "
    "PERFORM pg_advisory_xact_lock(hashtext('redlock_fence')); "
    "CREATE TABLE IF NOT EXISTS redlock_fence (resource text PRIMARY KEY, "
    "token bigint NOT NULL CHECK (token BETWEEN 1 AND 9007199254740991)); "
    "END $$";

/// One statement: $1 the resource, $2 the token. It gives one row when the token is admitted and none when
/// it is late. Run it first in the transaction that does the write: it locks the resource's row until the
/// commit, so that check and write are one step.
///
/// Errors of PostgreSQL, none of which admits the token: 40001, only at REPEATABLE READ and SERIALIZABLE,
/// when another's commit came in between (run the whole transaction again); 40P01, of a transaction that
/// fences several resources in another order than the next one (likewise); 23514, the token is 0 or above
/// fencing_token_max; 22021, the name is not in the encoding of the database; 54000, the name is too long,
/// from about 2,600 bytes on. Most clients cut a name at its first NUL: of a name that holds one always pass
/// a digest.
inline constexpr std::string_view postgres_fence =
    "INSERT INTO redlock_fence AS f (resource, token) VALUES ($1, $2) "
    "ON CONFLICT (resource) DO UPDATE SET token = EXCLUDED.token WHERE f.token <= EXCLUDED.token "
    "RETURNING f.token";

}  // namespace redlock::inline v0_1
