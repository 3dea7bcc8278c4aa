// SPDX-License-Identifier: Apache-2.0
// One connect to a node: over all its addresses, each with a log-in.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "redlock/core/transport.hpp"
#include "redlock/endpoint.hpp"
#include "redlock/hiredis/addresses.hpp"
#include "redlock/hiredis/line.hpp"
#include "redlock/hiredis/log_in.hpp"
#include "redlock/hiredis/resolver.hpp"
#include "redlock/options.hpp"

namespace redlock::hiredis {

/// How a node is reached, and what is remembered of that from one connect to the next.
struct Way {
    using Clock = std::chrono::steady_clock;

    Way(Endpoint node, const Options& how, std::shared_ptr<WakeUp> wake_up, std::string subscribed_channel)
        : endpoint{std::move(node)},
          options{how},
          channel{std::move(subscribed_channel)},
          addresses{endpoint, std::move(wake_up)} {}
    Way(const Way&) = delete;
    Way& operator=(const Way&) = delete;

    const Endpoint endpoint;
    const Options& options;
    const std::string channel;  ///< empty: for requests
    Addresses addresses;
    Identity previous{};                       ///< the last connection that was ready
    Clock::time_point ask_about_scripts_at{};  ///< not before
};

/// Why it failed, as a vote and in words.
struct Reason {
    Vote vote = Vote::unreachable;
    std::string words;
};

/// Ends as `ready` or `failed`, at the latest when connect_timeout is over. What fails at one address leads
/// to the next at once; who is silent has its share of the time.
class Attempt {
   public:
    using Clock = Way::Clock;
    enum class Stage : std::uint8_t { looking_up, connecting, logging_in, ready, failed };

    explicit Attempt(Way& way) : way_{way}, until_{Clock::now() + way.options.connect_timeout} {
        way_.addresses.begin();
        if (!way_.addresses.is_looking_up()) try_next();
    }

    [[nodiscard]] Stage stage() const noexcept { return stage_; }
    /// Of one that failed: the most telling of all.
    [[nodiscard]] const Reason& reason() const noexcept { return *reason_; }
    [[nodiscard]] const LogIn& log_in() const noexcept { return *log_in_; }
    /// Of one that is ready.
    [[nodiscard]] Line take_line() { return *std::move(line_); }
    /// Whether the former connection is as good as ended.
    [[nodiscard]] bool has_ended_previous() const noexcept {
        return stage_ >= Stage::logging_in && log_in_ && log_in_->has_ended_previous();
    }

    [[nodiscard]] pollfd interest() const noexcept {
        if (!line_) return {-1, 0, 0};
        const bool wants_to_write = stage_ == Stage::connecting || line_->has_unwritten();
        return {line_->fd(), static_cast<short>(wants_to_write ? POLLIN | POLLOUT : POLLIN), 0};
    }
    [[nodiscard]] Clock::time_point deadline() const noexcept {
        if (line_ && line_->is_broken()) return {};
        return stage_ == Stage::looking_up ? until_ : std::min(until_, address_until_);
    }
    void flush() {
        if (stage_ == Stage::logging_in) line_->flush();
    }
    void abandon() const noexcept {
        if (line_) ::close(line_->fd());
    }

    /// Does what can be done now. `ready` is what poll() said of the socket.
    void advance(short ready, Clock::time_point now) {
        if (stage_ == Stage::looking_up) take_addresses();
        if (stage_ == Stage::connecting && (ready & (POLLOUT | POLLERR | POLLHUP)) != 0) {
            finish_connect();
        } else if (stage_ == Stage::logging_in && ((ready & ~POLLOUT) != 0 || line_->is_broken())) {
            receive();
        }
        if (stage_ == Stage::ready || stage_ == Stage::failed) return;
        if (now >= until_) {
            note({Vote::timeout, within(way_.options.connect_timeout)});
            fail();
        } else if (stage_ != Stage::looking_up && now >= address_until_) {
            const auto share =
                std::chrono::duration_cast<std::chrono::milliseconds>(address_until_ - opened_);
            note({Vote::timeout, within(share) + " at " + way_.addresses.current()});
            try_next();
        }
    }

   private:
    static std::string within(std::chrono::milliseconds limit) {
        return "no connection within " + std::to_string(limit.count()) + " ms";
    }

    void take_addresses() {
        std::string error;
        if (!way_.addresses.take(error)) return;
        if (way_.addresses.left() == 0) note({Vote::unreachable, "host name: " + error});
        try_next();
    }

    void try_next() {
        line_.reset();
        while (way_.addresses.left() > 0) {
            const auto share = static_cast<std::int64_t>(way_.addresses.left());
            way_.addresses.next();
            opened_ = Clock::now();
            address_until_ = opened_ + std::max(Clock::duration::zero(), until_ - opened_) / share;
            if (open(opened_ >= way_.ask_about_scripts_at)) return;
        }
        fail();
    }

    /// Begins to connect to the current address.
    bool open(bool asks_about_scripts) {
        asks_about_scripts_ = asks_about_scripts;
        const std::string& address = way_.addresses.current();
        line_ = way_.endpoint.scheme() == Endpoint::Scheme::unix_socket
                    ? Line::to_socket(address)
                    : Line::to_address(address, way_.endpoint.port());
        if (line_->is_open()) {
            stage_ = Stage::connecting;
            return true;
        }
        note({Vote::unreachable, line_->error()});
        line_.reset();
        return false;
    }

    void finish_connect() {
        const bool is_connected = line_->finish_connect();
        log_in_.emplace(way_.endpoint, way_.options, way_.channel, way_.previous);
        stage_ = Stage::logging_in;
        if (is_connected) return log_in_->begin(*line_, asks_about_scripts_ && way_.channel.empty());
        const std::string why = line_->error();
        if (!has_said_why()) hang_up({Vote::unreachable, why});
    }

    /// A peer that ends a connection before a word from us may have said why.
    bool has_said_why() {
        ReplyPtr reply;
        if (line_->receive() != Line::Received::bytes || line_->next(reply) != Line::Next::reply)
            return false;
        if (reply->type != REDIS_REPLY_ERROR) return false;
        hang_up({Vote::refused, without_secrets(text_of(*reply), way_.endpoint)});
        return true;
    }

    void receive() {
        do {
            const Line::Received received = line_->receive();
            if (received == Line::Received::nothing) break;
            if (received == Line::Received::end) return hang_up(last_words(line_->error()));
            if (!take_replies()) return;
        } while (line_->may_hold_more());
        if (line_->is_broken()) hang_up(last_words("the node closed the connection"));
    }

    /// False when the log-in has ended, in whatever way.
    bool take_replies() {
        ReplyPtr reply;
        for (;;) {
            switch (line_->next(reply)) {
                case Line::Next::none: return true;
                case Line::Next::rubbish: return refuse(line_->error());
                case Line::Next::reply: break;
            }
            if (log_in_->is_over()) return refuse("it sent a reply that nobody asked for");
            switch (log_in_->take(*reply, *line_)) {
                case LogIn::Outcome::going_on: break;
                case LogIn::Outcome::done: return accept();
                case LogIn::Outcome::failed: return refuse(log_in_->words());
            }
        }
    }

    /// At another address there may be a node that is of use.
    bool accept() {
        const detail::NodeInfo& info = log_in_->info();
        if (!info.is_master) return refuse("it is a replica, not a master");
        if (info.scripts == detail::Scripts::never && way_.addresses.left() > 0) {
            return refuse("it runs no scripts: " + info.scripts_refusal);
        }
        stage_ = Stage::ready;
        return false;
    }

    bool refuse(const std::string& words) {
        note({Vote::refused, words});
        try_next();
        return false;
    }

    /// What a server said before it hung up is the reason.
    [[nodiscard]] Reason last_words(const std::string& otherwise) const {
        if (!log_in_->words().empty()) return {Vote::refused, log_in_->words()};
        return {Vote::unreachable, otherwise};
    }

    /// Who hangs up on the questions about scripts is not asked them again, for a while.
    void hang_up(Reason reason) {
        constexpr auto a_while = std::chrono::minutes{1};
        if (asks_about_scripts_ && log_in_->is_at_scripts()) {
            way_.ask_about_scripts_at = Clock::now() + a_while;
            if (open(false)) return;
        } else {
            note(std::move(reason));
        }
        try_next();
    }

    void note(Reason reason) {
        const auto weight = [](Vote vote) {
            return vote == Vote::refused ? 2 : vote == Vote::timeout ? 1 : 0;
        };
        if (reason_ && weight(reason.vote) <= weight(reason_->vote)) return;
        reason_ = std::move(reason);
    }

    void fail() {
        line_.reset();
        stage_ = Stage::failed;
    }

    Way& way_;
    Clock::time_point until_;
    Clock::time_point opened_{};
    Clock::time_point address_until_{};
    Stage stage_ = Stage::looking_up;
    bool asks_about_scripts_ = true;
    std::optional<Line> line_;
    std::optional<LogIn> log_in_;
    std::optional<Reason> reason_;
};

}  // namespace redlock::hiredis
