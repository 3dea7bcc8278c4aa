// SPDX-License-Identifier: Apache-2.0
// A small blocking client with which tests inspect a server. It is not the library under test, and not fast.
#pragma once

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

// A reply of a server.
struct Reply {
    enum class Kind { nil, status, error, string, integer, array };

    Kind kind = Kind::nil;
    std::string text;       // of a status, an error or a string
    long long integer = 0;  // of an integer
    std::vector<Reply> elements;

    [[nodiscard]] bool is_nil() const noexcept { return kind == Kind::nil; }
    [[nodiscard]] bool is_error() const noexcept { return kind == Kind::error; }
    // The text, or nothing for nil; throws for any other kind.
    [[nodiscard]] std::optional<std::string> optional_text() const {
        if (kind == Kind::nil) return std::nullopt;
        if (kind == Kind::string || kind == Kind::status) return text;
        throw std::runtime_error("unexpected reply: " + text);
    }
    // The integer; throws for any other kind.
    [[nodiscard]] long long number() const {
        if (kind != Kind::integer) throw std::runtime_error("unexpected reply: " + text);
        return integer;
    }

    friend std::ostream& operator<<(std::ostream& out, const Reply& reply) {
        switch (reply.kind) {
            case Kind::nil: return out << "(nil)";
            case Kind::integer: return out << reply.integer;
            case Kind::error: return out << "(error) " << reply.text;
            case Kind::array: break;
            default: return out << reply.text;
        }
        out << '[';
        for (const auto& element : reply.elements) out << ' ' << element;
        return out << " ]";
    }
};

// The deleter of a hiredis connection.
struct CloseContext {
    void operator()(redisContext* context) const noexcept { redisFree(context); }
};

// No answer: refused, closed, timed out or unreadable. (An error *reply* is a Reply, not this.)
struct ClientError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Connects when first used and again after a failure. Thread-safe, one query at a time.
class RedisClient {
   public:
    struct Options {
        std::string user{};  // empty: no AUTH
        std::string password{};
        std::chrono::milliseconds timeout{2000};
    };

    explicit RedisClient(Address address) : RedisClient(std::move(address), Options{}) {}
    RedisClient(Address address, Options options)
        : address_(std::move(address)), options_(std::move(options)) {}

    // Sends one command and waits for its reply; throws ClientError when none comes.
    Reply query(const std::vector<std::string>& arguments);

    // Waits for a message that the server pushes after SUBSCRIBE; throws ClientError when none comes.
    Reply listen();

    void disconnect();

   private:
    struct Disconnected : ClientError {
        using ClientError::ClientError;
    };
    struct FreeReply {
        void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
    };

    Reply exchange(const std::vector<std::string>& arguments);

    void connect();

    static std::string format(const std::vector<std::string>& arguments);

    // hiredis 0.14 writes with write(), which raises SIGPIPE on a closed connection; this does not.
    void send_all(std::string_view bytes);

    Reply receive();

    [[noreturn]] void fail() const;

    static Reply convert(const redisReply& from);

    Address address_;
    Options options_;
    std::mutex mutex_;
    std::unique_ptr<redisContext, CloseContext> context_;
};

}  // namespace redlock::test
