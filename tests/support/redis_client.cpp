// SPDX-License-Identifier: Apache-2.0
#include "support/redis_client.hpp"

#include <hiredis/hiredis.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/socket.hpp"

namespace redlock::test {

Reply RedisClient::query(const std::vector<std::string>& arguments) {
    const std::lock_guard lock{mutex_};
    const bool reused = context_ != nullptr;
    try {
        return exchange(arguments);
    } catch (const Disconnected&) {
        // The server has closed an idle connection (it was restarted), so this query was not executed.
        if (!reused) throw;
        return exchange(arguments);
    }
}

Reply RedisClient::listen() {
    const std::lock_guard lock{mutex_};
    if (!context_) throw ClientError(address_.uri() + ": not connected");
    return receive();
}

void RedisClient::disconnect() {
    const std::lock_guard lock{mutex_};
    context_.reset();
}

Reply RedisClient::exchange(const std::vector<std::string>& arguments) {
    if (!context_) connect();
    try {
        send_all(format(arguments));
        return receive();
    } catch (...) {
        context_.reset();
        throw;
    }
}

void RedisClient::connect() {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(options_.timeout);
    const timeval timeout{
        static_cast<time_t>(seconds.count()),
        static_cast<suseconds_t>(std::chrono::microseconds(options_.timeout - seconds).count())};
    context_.reset(address_.family == Family::tcp
                       ? redisConnectWithTimeout("127.0.0.1", address_.port, timeout)
                       : redisConnectUnixWithTimeout(address_.path.c_str(), timeout));
    if (!context_) throw std::bad_alloc{};
    if (context_->err != 0) {
        const std::string why = context_->errstr;
        context_.reset();
        throw Disconnected(address_.uri() + ": " + why);
    }
    ::fcntl(context_->fd, F_SETFD, FD_CLOEXEC);
    redisSetTimeout(context_.get(), timeout);
    ::setsockopt(context_->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (options_.user.empty()) return;
    const auto reply = exchange({"AUTH", options_.user, options_.password});
    if (reply.is_error()) throw ClientError(address_.uri() + ": " + reply.text);
}

std::string RedisClient::format(const std::vector<std::string>& arguments) {
    std::vector<const char*> pointers;
    std::vector<std::size_t> sizes;
    for (const auto& argument : arguments) {
        pointers.push_back(argument.data());
        sizes.push_back(argument.size());
    }
    char* bytes = nullptr;
    const auto size =
        redisFormatCommandArgv(&bytes, static_cast<int>(arguments.size()), pointers.data(), sizes.data());
    if (size < 0) throw std::bad_alloc{};
    std::string formatted{bytes, static_cast<std::size_t>(size)};
    redisFreeCommand(bytes);
    return formatted;
}

void RedisClient::send_all(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto sent = ::send(context_->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) throw ClientError(address_.uri() + ": timed out");
        if (sent < 0) throw Disconnected(address_.uri() + ": send failed");
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

Reply RedisClient::receive() {
    void* raw = nullptr;
    for (;;) {
        if (redisGetReplyFromReader(context_.get(), &raw) != REDIS_OK) fail();
        if (raw != nullptr) break;
        if (redisBufferRead(context_.get()) != REDIS_OK) fail();
    }
    const std::unique_ptr<redisReply, FreeReply> reply{static_cast<redisReply*>(raw)};
    return convert(*reply);
}

[[noreturn]] void RedisClient::fail() const {
    const auto what = address_.uri() + ": " + context_->errstr;
    if (context_->err == REDIS_ERR_EOF || (context_->err == REDIS_ERR_IO && errno == ECONNRESET)) {
        throw Disconnected(what);
    }
    throw ClientError(what);
}

Reply RedisClient::convert(const redisReply& from) {
    Reply to;
    switch (from.type) {
        case REDIS_REPLY_NIL: return to;
        case REDIS_REPLY_INTEGER:
            to.kind = Reply::Kind::integer;
            to.integer = from.integer;
            return to;
        case REDIS_REPLY_ARRAY:
            to.kind = Reply::Kind::array;
            for (std::size_t i = 0; i < from.elements; ++i) to.elements.push_back(convert(*from.element[i]));
            return to;
        case REDIS_REPLY_STATUS: to.kind = Reply::Kind::status; break;
        case REDIS_REPLY_ERROR: to.kind = Reply::Kind::error; break;
        default: to.kind = Reply::Kind::string; break;
    }
    to.text.assign(from.str, from.len);
    return to;
}

}  // namespace redlock::test
