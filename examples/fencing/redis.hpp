// SPDX-License-Identifier: Apache-2.0
// A Redis that stores the data. It need not be one of the nodes that vote.
#pragma once

#include <hiredis/hiredis.h>
#include <sys/time.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <redlock/endpoint.hpp>
#include <redlock/hiredis/fenced.hpp>

#include "store.hpp"

namespace fencing {

class Redis final : public Store {
   public:
    Redis(const redlock::Endpoint& at, std::string key) : key_{std::move(key)}, connection_{connect(at)} {
        const bool is_usable = connection_ && connection_->err == 0;
        if (!is_usable) {
            const std::string why = connection_ ? connection_->errstr : "no memory";
            throw std::runtime_error{"no connection to " + at.display() + ": " + why};
        }
        redisSetTimeout(connection_.get(), patience);
        if (!at.user().empty()) {
            run("AUTH %s %s", at.user().c_str(), at.password().c_str());
        } else if (!at.password().empty()) {
            run("AUTH %s", at.password().c_str());
        }
        if (at.db() != 0) run("SELECT %u", at.db());
    }

    /// Without a fence, a SET. With one, the same SET, with the token and the key of the latest token.
    redlock::Result<void> write(const std::string& text, std::uint64_t token, bool is_fenced) override {
        if (!is_fenced) {
            run("SET %s %s", key_.c_str(), text.c_str());
            return {};
        }
        auto reply = redlock::hiredis::fenced(*connection_, key_ + ":fence", token, {"SET", key_, text});
        if (!reply) return reply.error();
        return {};
    }

    std::string read() override {
        const auto reply = run("GET %s", key_.c_str());
        return reply->str == nullptr ? "" : reply->str;
    }

    void clean_up() override { run("DEL %s %s:fence", key_.c_str(), key_.c_str()); }

   private:
    struct Close {
        void operator()(redisContext* context) const noexcept { redisFree(context); }
    };

    static constexpr timeval patience{5, 0};

    static redisContext* connect(const redlock::Endpoint& at) {
        return at.scheme() == redlock::Endpoint::Scheme::unix_socket
                   ? redisConnectUnixWithTimeout(at.path().c_str(), patience)
                   : redisConnectWithTimeout(at.host().c_str(), at.port(), patience);
    }

    template <class... Arguments>
    redlock::hiredis::ReplyPtr run(const char* format, Arguments... arguments) {
        redlock::hiredis::ReplyPtr reply{
            static_cast<redisReply*>(redisCommand(connection_.get(), format, arguments...))};
        if (!reply) throw std::runtime_error{connection_->errstr};
        if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error{reply->str};
        return reply;
    }

    std::string key_;
    std::unique_ptr<redisContext, Close> connection_;
};

}  // namespace fencing
