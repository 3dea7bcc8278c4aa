// SPDX-License-Identifier: Apache-2.0
// Fenced writes on a Redis data node, through a hiredis connection of the user's.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/fencing.hpp"
#include "redlock/hiredis/api.hpp"
#include "redlock/hiredis/replies.hpp"
#include "redlock/result.hpp"
#include "redlock/text/scrub.hpp"

namespace redlock::inline v0_1::hiredis {

/// Keeps SIGPIPE from the application while a thread writes through hiredis, whose version 0.14 can raise it.
class NoSigpipe {
   public:
    NoSigpipe() {
        ::sigemptyset(&pipe_);
        ::sigaddset(&pipe_, SIGPIPE);
        sigset_t pending{};
        ::sigpending(&pending);
        was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
        ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    NoSigpipe(const NoSigpipe&) = delete;
    NoSigpipe& operator=(const NoSigpipe&) = delete;
    ~NoSigpipe() {
        sigset_t pending{};
        ::sigpending(&pending);
        const timespec at_once{};
        const bool is_ours = !was_pending_ && ::sigismember(&pending, SIGPIPE) == 1;
        if (is_ours) ::sigtimedwait(&pipe_, nullptr, &at_once);
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

   private:
    sigset_t pipe_{};
    sigset_t before_{};
    bool was_pending_ = false;
};

}  // namespace redlock::inline v0_1::hiredis

namespace redlock::inline v0_1::detail {

/// Nothing where the connection failed.
[[nodiscard]] inline hiredis::ReplyPtr ask(redisContext& connection,
                                           const std::vector<std::string>& arguments) {
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const std::string& word : arguments) {
        texts.push_back(word.data());
        sizes.push_back(word.size());
    }
    const hiredis::NoSigpipe no_sigpipe;
    return hiredis::ReplyPtr{static_cast<redisReply*>(
        redisCommandArgv(&connection, static_cast<int>(arguments.size()), texts.data(), sizes.data()))};
}

/// EXEC runs what stands beside a late script, so the transaction must not run: a command that the node
/// cannot queue, since it lacks its arguments, has EXEC refuse all of it.
[[nodiscard]] inline Failure refuse_transaction(redisContext& connection) {
    static_cast<void>(ask(connection, {"EVAL"}));
    return Failure{
        errc::invalid_argument,
        "the connection is within MULTI, where a late token keeps nothing else from being written; "
        "EXEC will refuse this transaction"};
}

/// Runs an EVAL that begins with the fence. No message repeats what is in `secrets`.
[[nodiscard]] inline Result<hiredis::ReplyPtr> run_fenced(redisContext& connection, std::string_view fence,
                                                          std::uint64_t token,
                                                          const std::vector<std::string>& arguments,
                                                          std::vector<std::string_view> secrets) {
    if ((connection.flags & REDIS_BLOCK) == 0) {
        return Failure{errc::invalid_argument, "the connection does not block"};
    }
    hiredis::ReplyPtr reply = ask(connection, arguments);
    if (!reply) return Failure{errc::unknown, connection.errstr};
    const std::string_view words_of_node = hiredis::text_of(*reply);
    if (reply->type == REDIS_REPLY_STATUS && words_of_node == "QUEUED") return refuse_transaction(connection);
    if (reply->type != REDIS_REPLY_ERROR) return reply;
    constexpr std::string_view refusal = "FENCED ";
    if (words_of_node.starts_with(refusal)) {
        return fenced_off(fence, token, std::string{words_of_node.substr(refusal.size())});
    }
    secrets.push_back(fence);
    return Failure{errc::unknown, scrubbed(words_of_node, secrets)};
}

}  // namespace redlock::inline v0_1::detail

namespace redlock::inline v0_1::hiredis {

/// Runs one command, such as {"SET", key, value}, unless the token is late; gives its reply. The key of the
/// command is its first argument; `fence` is the key that remembers the largest token, on the same node.
///
/// errc::fenced: it did not run, a larger token came before. errc::unknown: the connection failed, or the
/// node refused. errc::invalid_argument: it did not run, since what is asked can never be right: no command,
/// 0 or a number above fencing_token_max for a token, a fence that is the key of the data, a connection that
/// does not block, or one within MULTI, whose EXEC is then refused too (see docs/fencing.md for
/// transactions).
///
/// No other reply may be outstanding on the connection. Blocks as the connection does; of one within MULTI,
/// for a second round trip. Thread-safe for different connections.
[[nodiscard]] inline Result<ReplyPtr> fenced(redisContext& connection, std::string_view fence,
                                             std::uint64_t token, const std::vector<std::string>& command) {
    if (command.empty()) return Failure{errc::invalid_argument, "the command is empty"};
    const std::string objection = detail::objection_to(fence, token, detail::key_of(command));
    if (!objection.empty()) return Failure{errc::invalid_argument, objection};
    return detail::run_fenced(connection, fence, token, fenced_command(fence, token, command),
                              {command.begin() + 1, command.end()});
}

/// The same for a script: it sees its own keys and arguments, and may change no key of the fence's name.
[[nodiscard]] inline Result<ReplyPtr> fenced_eval(redisContext& connection, std::string_view fence,
                                                  std::uint64_t token, const LuaScript& script) {
    const std::string objection = detail::objection_to(fence, token, script.keys);
    if (!objection.empty()) return Failure{errc::invalid_argument, objection};
    std::vector<std::string_view> secrets{script.keys.begin(), script.keys.end()};
    secrets.insert(secrets.end(), script.arguments.begin(), script.arguments.end());
    return detail::run_fenced(connection, fence, token, redlock::fenced_eval(fence, token, script),
                              std::move(secrets));
}

}  // namespace redlock::inline v0_1::hiredis
