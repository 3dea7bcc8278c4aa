// SPDX-License-Identifier: Apache-2.0
// One connect to a node: over all its addresses, each with a login.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "redlock/endpoint.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/hiredis/addresses.hpp"
#include "redlock/hiredis/login.hpp"
#include "redlock/hiredis/reply_reader.hpp"
#include "redlock/hiredis/stream.hpp"
#include "redlock/hiredis/system.hpp"
#include "redlock/options.hpp"
#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1::hiredis {

/// How a node is reached, and what is remembered of that from one connect to the next.
template <class System>
struct Route {
    Route(System& machine, Endpoint node, const Options& how,
          std::shared_ptr<typename System::WakeUp> wake_up, std::string subscribed_channel)
        : system{machine},
          endpoint{std::move(node)},
          options{how},
          channel{std::move(subscribed_channel)},
          addresses{machine, endpoint, std::move(wake_up)} {}
    Route(const Route&) = delete;
    Route& operator=(const Route&) = delete;

    System& system;
    const Endpoint endpoint;
    const Options& options;
    const std::string channel;  ///< empty: for requests
    Addresses<System> addresses;
    FormerConnections former{};
    SteadyTime ask_about_scripts_at{};  ///< not before
};

/// Why it failed, as a vote and as text.
struct Reason {
    Vote vote = Vote::unreachable;
    std::string text;
};

/// Ends as `ready` or `failed`, at the latest when connect_timeout is over. After a failure at one address it
/// tries the next at once; an address that is silent has its share of the time.
template <class System>
class ConnectAttempt {
   public:
    using ByteStream = typename System::ByteStream;
    enum class Stage : std::uint8_t { looking_up, connecting, logging_in, ready, failed };

    explicit ConnectAttempt(Route<System>& route)
        : route_{route}, until_{now() + route.options.connect_timeout} {
        route_.addresses.begin();
        if (!route_.addresses.is_looking_up()) try_next();
    }

    [[nodiscard]] Stage stage() const noexcept { return stage_; }
    /// Why the attempt failed: of all reasons the most telling one. Only of an attempt that failed.
    [[nodiscard]] const Reason& reason() const noexcept { return *reason_; }
    [[nodiscard]] const Login& login() const noexcept { return *login_; }
    /// Only of an attempt that is ready.
    [[nodiscard]] Stream<ByteStream> take_stream() { return *std::move(stream_); }
    /// Whether the former connection is as good as ended.
    [[nodiscard]] bool has_ended_previous() const noexcept {
        return stage_ >= Stage::logging_in && login_ && login_->has_ended_previous();
    }

    [[nodiscard]] pollfd interest() const noexcept {
        if (!stream_) return {-1, 0, 0};
        const bool wants_to_write = stage_ == Stage::connecting || stream_->has_unwritten();
        return {stream_->fd(), static_cast<short>(wants_to_write ? POLLIN | POLLOUT : POLLIN), 0};
    }
    [[nodiscard]] SteadyTime deadline() const noexcept {
        if (stream_ && stream_->is_broken()) return {};
        return stage_ == Stage::looking_up ? until_ : std::min(until_, address_until_);
    }
    void flush() {
        if (stage_ == Stage::logging_in) stream_->flush();
    }
    void abandon() const noexcept {
        if (stream_) stream_->abandon();
    }

    /// Goes as far as it can without waiting. `ready`: the events that poll() returned for the socket.
    void advance(short ready, SteadyTime when) {
        if (stage_ == Stage::looking_up) take_addresses();
        if (stage_ == Stage::connecting && (ready & (POLLOUT | POLLERR | POLLHUP)) != 0) {
            finish_connect();
        } else if (stage_ == Stage::logging_in && ((ready & ~POLLOUT) != 0 || stream_->is_broken())) {
            receive();
        }
        if (stage_ == Stage::ready || stage_ == Stage::failed) return;
        if (when >= until_) {
            note({Vote::timeout, within(route_.options.connect_timeout)});
            fail();
        } else if (stage_ != Stage::looking_up && when >= address_until_) {
            const auto share =
                std::chrono::duration_cast<std::chrono::milliseconds>(address_until_ - opened_);
            note({Vote::timeout, detail::joined({within(share), " at ", route_.addresses.current()})});
            try_next();
        }
    }

   private:
    [[nodiscard]] SteadyTime now() const { return route_.system.now(); }

    static std::string within(std::chrono::milliseconds limit) {
        return detail::joined({"no connection within ", limit.count(), " ms"});
    }

    void take_addresses() {
        std::string error;
        if (!route_.addresses.take(error)) return;
        if (route_.addresses.left() == 0) note({Vote::unreachable, detail::joined({"host name: ", error})});
        try_next();
    }

    void try_next() {
        stream_.reset();
        while (route_.addresses.left() > 0) {
            const auto share = static_cast<std::int64_t>(route_.addresses.left());
            route_.addresses.next();
            opened_ = now();
            address_until_ = opened_ + std::max(SteadyTime::duration::zero(), until_ - opened_) / share;
            if (open(opened_ >= route_.ask_about_scripts_at)) return;
        }
        fail();
    }

    /// Begins to connect to the current address.
    bool open(bool asks_about_scripts) {
        asks_about_scripts_ = asks_about_scripts;
        const std::string& address = route_.addresses.current();
        stream_.emplace(route_.system.connect(route_.endpoint, address));
        if (stream_->error().empty()) {
            stage_ = Stage::connecting;
            return true;
        }
        note({Vote::unreachable, stream_->error()});
        stream_.reset();
        return false;
    }

    void finish_connect() {
        const bool is_connected = stream_->finish_connect();
        login_.emplace(route_.endpoint, route_.options, route_.channel, route_.former);
        stage_ = Stage::logging_in;
        if (is_connected) {
            login_->begin(stream_->out(), asks_about_scripts_ && route_.channel.empty());
            return stream_->flush();
        }
        const std::string why = stream_->error();
        if (!has_said_why()) hang_up({Vote::unreachable, why});
    }

    /// Whether the peer has ended the connection before we sent anything, and said why: that is the reason.
    bool has_said_why() {
        ReplyPtr reply;
        if (stream_->receive() != Received::Kind::bytes || stream_->next(reply) != ReplyReader::Next::reply)
            return false;
        if (reply->type != REDIS_REPLY_ERROR) return false;
        hang_up({Vote::refused, without_secrets(text_of(*reply), route_.endpoint)});
        return true;
    }

    void receive() {
        do {
            const Received::Kind received = stream_->receive();
            if (received == Received::Kind::nothing) break;
            if (received == Received::Kind::end) return hang_up(last_text(stream_->error()));
            if (!take_replies()) return;
        } while (stream_->may_hold_more());
        if (stream_->is_broken()) hang_up(last_text("the node closed the connection"));
    }

    /// False when the login has ended, in whatever way.
    bool take_replies() {
        ReplyPtr reply;
        for (;;) {
            switch (stream_->next(reply)) {
                case ReplyReader::Next::none: return true;
                case ReplyReader::Next::rubbish: return refuse(stream_->error());
                case ReplyReader::Next::reply: break;
            }
            if (login_->is_over()) return refuse("it sent a reply that nobody asked for");
            switch (login_->take(*reply, stream_->out())) {
                case Login::Outcome::going_on: stream_->flush(); break;
                case Login::Outcome::done: return accept();
                case Login::Outcome::failed: return refuse(login_->text());
            }
        }
    }

    /// A node that cannot be used is refused: at another address there may be one that can.
    bool accept() {
        const detail::NodeInfo& info = login_->info();
        if (!info.is_master) return refuse("it is a replica, not a master");
        if (info.scripts == detail::Scripts::never && route_.addresses.left() > 0) {
            return refuse(detail::joined({"it runs no scripts: ", info.scripts_refusal}));
        }
        stage_ = Stage::ready;
        return false;
    }

    bool refuse(std::string text) {
        note({Vote::refused, text.empty() ? "an error without a text" : std::move(text)});
        try_next();
        return false;
    }

    /// The reason is the last error that the server sent before it hung up, if any.
    [[nodiscard]] Reason last_text(const std::string& otherwise) const {
        if (!login_->text().empty()) return {Vote::refused, login_->text()};
        return {Vote::unreachable, otherwise};
    }

    /// A server that hangs up at the questions about scripts is not asked them again for a while.
    void hang_up(Reason reason) {
        constexpr auto a_while = std::chrono::minutes{1};
        if (asks_about_scripts_ && login_->is_at_scripts()) {
            route_.ask_about_scripts_at = now() + a_while;
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
        stream_.reset();
        stage_ = Stage::failed;
    }

    Route<System>& route_;
    SteadyTime until_;
    SteadyTime opened_{};
    SteadyTime address_until_{};
    Stage stage_ = Stage::looking_up;
    bool asks_about_scripts_ = true;
    std::optional<Stream<ByteStream>> stream_;
    std::optional<Login> login_;
    std::optional<Reason> reason_;
};

}  // namespace redlock::inline v0_1::hiredis
