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
#include <vector>

#include "redlock/core/words.hpp"
#include "redlock/fencing.hpp"
#include "redlock/hiredis/api.hpp"
#include "redlock/result.hpp"

namespace redlock::hiredis {

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

/// Runs one command, such as {"SET", key, value}, unless the token is late; gives its reply. errc::fenced:
/// it did not run, a larger token came before. errc::unknown: the connection failed, or the node refused.
/// Blocks as the connection does.
[[nodiscard]] inline Result<ReplyPtr> fenced(redisContext& connection, std::string_view fence,
                                             std::uint64_t token, const std::vector<std::string>& command) {
    if (token == 0) return Failure{errc::invalid_argument, "0 is no fencing token"};
    if (command.empty()) return Failure{errc::invalid_argument, "the command is empty"};
    const std::vector<std::string> words = fenced_command(fence, token, command);
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
        texts.push_back(word.data());
        sizes.push_back(word.size());
    }
    const NoSigpipe no_sigpipe;
    ReplyPtr reply{static_cast<redisReply*>(
        redisCommandArgv(&connection, static_cast<int>(words.size()), texts.data(), sizes.data()))};
    if (!reply) return Failure{errc::unknown, connection.errstr};
    if (reply->type != REDIS_REPLY_ERROR) return reply;
    const std::string_view words_of_node{reply->str, reply->len};
    constexpr std::string_view refusal = "FENCED ";
    if (!words_of_node.starts_with(refusal)) {
        std::vector<std::string_view> secrets{command.begin() + 1, command.end()};
        secrets.push_back(fence);
        return Failure{errc::unknown, detail::scrubbed(words_of_node, secrets)};
    }
    return detail::fenced_off(fence, token, std::string{words_of_node.substr(refusal.size())});
}

}  // namespace redlock::hiredis
