// SPDX-License-Identifier: Apache-2.0
// The connection to one node: makes it, uses it, makes it anew when it ends. Never blocks.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/endpoint.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/hiredis/backoff.hpp"
#include "redlock/hiredis/connect_attempt.hpp"
#include "redlock/hiredis/replies.hpp"
#include "redlock/hiredis/reply_reader.hpp"
#include "redlock/hiredis/stream.hpp"
#include "redlock/hiredis/system.hpp"
#include "redlock/options.hpp"
#include "redlock/text/printable.hpp"
#include "redlock/voting/command.hpp"

namespace redlock::inline v0_1::hiredis {

/// It has a stream that is in use, or an attempt to connect, or neither; or both, where the stream has been
/// silent for so long that it may be dead. See detail::IsTransport for what the functions promise.
template <class System>
class Connection {
   public:
    /// With a channel it subscribes to that, keeps it so, and takes no requests.
    Connection(System& system, Endpoint endpoint, const Options& options,
               std::shared_ptr<typename System::WakeUp> wake_up, std::string channel = {})
        : name_{endpoint.display()},
          route_{system, std::move(endpoint), options, std::move(wake_up), std::move(channel)},
          backoff_{options.reconnect_min, options.reconnect_max, system.now()},
          silence_limit_{
              std::max<std::chrono::milliseconds>(std::chrono::seconds{2}, 10 * options.node_timeout)},
          is_wanted_{is_subscription()} {}

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const Endpoint& endpoint() const noexcept { return route_.endpoint; }
    [[nodiscard]] bool is_up() const noexcept { return stream_.has_value(); }
    [[nodiscard]] detail::Fault fault() const noexcept { return {fault_.vote, fault_.text}; }
    [[nodiscard]] bool is_promising() const noexcept { return attempt_ && !stream_ && backoff_.is_clear(); }

    void drop(const detail::Fault& fault) {
        fault_ = {fault.vote, std::string{fault.text}};
        attempt_.reset();
        close_stream();
        route_.addresses.on_useless();
        backoff_.grow(now());
    }

    void keep_trying(bool is_wanted) noexcept { is_wanted_ = is_wanted; }

    /// Begins to connect where there is no connection, unless the backoff forbids it.
    detail::Sent connect() {
        if (stream_ && has_ended_idle()) end_idle();
        if (stream_) return detail::Sent::accepted;
        if (!attempt_ && !backoff_.forbids(now())) begin_attempt();
        return attempt_ ? detail::Sent::connecting : detail::Sent::down;
    }

    detail::Sent send(std::string_view request) {
        if (!stream_) return connect();
        stream_->out().append(request);
        if (unanswered_++ == 0) asked_at_ = now();
        return detail::Sent::accepted;
    }

    /// Whether there are bytes to write, or a connection is being made.
    [[nodiscard]] bool unfinished() const noexcept {
        return stream_ ? stream_->has_unwritten() : attempt_.has_value();
    }

    void flush() {
        if (stream_) stream_->flush();
        if (attempt_) attempt_->flush();
    }

    // ---- for poll ----------------------------------------------------------------------------------

    /// Before poll() waits: does what needs no event, and adds the sockets to wait for.
    void prepare(std::vector<pollfd>& watched) {
        if (is_wanted_ && !stream_ && !attempt_) connect();
        flush();
        watched_stream_ = stream_serial_;
        watched_attempt_ = attempt_serial_;
        watched.push_back(
            {stream_ ? stream_->fd() : -1, static_cast<short>(unfinished() ? POLLIN | POLLOUT : POLLIN), 0});
        watched.push_back(attempt_ ? attempt_->interest() : pollfd{-1, 0, 0});
    }
    static constexpr std::size_t sockets = 2;  ///< that prepare() adds

    /// When to look again though nothing happens.
    [[nodiscard]] std::optional<SteadyTime> deadline() const noexcept {
        if (stream_ && stream_->is_broken()) return SteadyTime{};
        if (attempt_) return attempt_->deadline();
        if (stream_) return silent_until();
        if (is_wanted_) return backoff_.until();
        return std::nullopt;
    }

    /// Goes as far as it can without waiting, and reports events. Their receiver may call drop(), connect()
    /// and send() at once: after each event this may be another stream or attempt than before, as the serial
    /// numbers tell.
    void advance(const pollfd* ready, std::size_t node, detail::TransportEvents& events) {
        if (stream_ && watched_stream_ == stream_serial_ &&
            ((ready[0].revents & ~POLLOUT) != 0 || stream_->is_broken())) {
            receive(node, events);
        }
        if (!stream_ && !attempt_) return;
        const SteadyTime when = now();
        if (attempt_) {
            advance_attempt(watched_attempt_ == attempt_serial_ ? ready[1].revents : short{0}, when, node,
                            events);
        } else {
            check_silence(when);
        }
    }

    /// In a forked child: closes its copy of the sockets, and touches nothing that another thread may have
    /// been changing when the process was forked.
    void abandon() const noexcept {
        if (stream_) stream_->abandon();
        if (attempt_) attempt_->abandon();
    }

   private:
    using Attempt = ConnectAttempt<System>;
    using Stage = typename Attempt::Stage;

    [[nodiscard]] SteadyTime now() const { return route_.system.now(); }
    [[nodiscard]] bool is_subscription() const noexcept { return !route_.channel.empty(); }

    // ---- idle --------------------------------------------------------------------------------------

    /// A server that closes idle connections, or was restarted, must not cost the next round its vote.
    [[nodiscard]] bool has_ended_idle() const noexcept {
        constexpr auto recently = std::chrono::milliseconds{5};
        if (is_subscription() || unanswered_ > 0 || stream_->has_unwritten()) return false;
        return now() - heard_at_ >= recently && stream_->has_news();
    }

    void end_idle() {
        ReplyPtr reply;
        fault_ = {Vote::unreachable, "the node closed the connection"};
        if (stream_->receive() == Received::Kind::bytes && stream_->next(reply) == ReplyReader::Next::reply) {
            fault_ = unasked(*reply);
        }
        end_stream();
    }

    [[nodiscard]] Reason unasked(const redisReply& reply) const {
        if (reply.type != REDIS_REPLY_ERROR) return {Vote::refused, "it sent a reply that nobody asked for"};
        return {Vote::refused, without_secrets(text_of(reply), route_.endpoint)};
    }

    // ---- attempts ----------------------------------------------------------------------------------

    void begin_attempt() {
        ++attempt_serial_;
        attempt_.emplace(route_);
        if (attempt_->stage() == Stage::failed) end_attempt();
    }

    void end_attempt() {
        if (!stream_) fault_ = attempt_->reason();
        attempt_.reset();
        backoff_.grow(now());
    }

    void advance_attempt(short ready, SteadyTime when, std::size_t node, detail::TransportEvents& events) {
        attempt_->advance(ready, when);
        if (attempt_->stage() == Stage::ready) return come_up(node, events);
        if (attempt_->stage() != Stage::failed) return;
        end_attempt();
        if (!stream_) tell_down(node, events);
    }

    void come_up(std::size_t node, detail::TransportEvents& events) {
        if (stream_ && !replace_stream(node, events)) return;
        const detail::NodeInfo info = attempt_->login().info();
        route_.former.add(attempt_->login().identity());
        route_.addresses.on_success();
        stream_ = attempt_->take_stream();
        attempt_.reset();
        const std::uint64_t serial = ++stream_serial_;
        up_since_ = heard_at_ = now();
        if (!is_subscription()) events.on_up(node, info);
        if (stream_serial_ != serial || !take_replies(node, events)) return;
        stream_->flush();
    }

    /// The old stream has been silent and the new one is ready. There is none while the event is reported.
    /// False when its receiver has dropped the connection.
    bool replace_stream(std::size_t node, detail::TransportEvents& events) {
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now() - silent_since());
        fault_ = {Vote::timeout, detail::joined({"no answer for ", seconds.count(), " s"})};
        close_stream();
        const std::uint64_t serial = attempt_serial_;
        tell_down(node, events);
        return attempt_ && attempt_serial_ == serial;
    }

    // ---- silence -----------------------------------------------------------------------------------

    [[nodiscard]] SteadyTime silent_since() const noexcept { return std::max(heard_at_, asked_at_); }

    /// Until when the silence of the stream needs no action (R19).
    [[nodiscard]] std::optional<SteadyTime> silent_until() const noexcept {
        if (unanswered_ > 0) return std::max(silent_since() + silence_limit_, backoff_.until());
        if (is_subscription()) return heard_at_ + silence_limit_;
        return std::nullopt;
    }

    /// Makes a second connection beside the stream, which stays in use: it may only be slow. On a
    /// subscription a request is sent first that every subscriber may send and the server is sure to answer.
    void check_silence(SteadyTime when) {
        const auto until = silent_until();
        if (!until || when < *until) return;
        if (unanswered_ > 0) return begin_attempt();
        detail::RequestWriter writer{2};
        writer.arg("SUBSCRIBE").arg(route_.channel);
        stream_->out().append(std::move(writer).take());
        stream_->flush();
        unanswered_ = 1;
        asked_at_ = when;
    }

    void note_sign_of_life() {
        heard_at_ = now();
        // The attempt is not needed any more, unless it has ended the stream at the server already.
        if (attempt_ && !attempt_->has_ended_previous()) attempt_.reset();
        if (!is_subscription()) return;
        unanswered_ = 0;
        note_answer();
    }

    void note_answer() noexcept {
        has_answered_ = true;
        backoff_.clear();
    }

    // ---- reading -----------------------------------------------------------------------------------

    void receive(std::size_t node, detail::TransportEvents& events) {
        do {
            const Received::Kind received = stream_->receive();
            if (received == Received::Kind::nothing) break;
            if (received == Received::Kind::end)
                return fail({Vote::unreachable, stream_->error()}, node, events);
            note_sign_of_life();
            if (!take_replies(node, events)) return;
        } while (stream_->may_hold_more());
        if (stream_->is_broken()) fail({Vote::unreachable, "the node closed the connection"}, node, events);
    }

    /// False: the stream has ended meanwhile.
    bool take_replies(std::size_t node, detail::TransportEvents& events) {
        const std::uint64_t serial = stream_serial_;
        ReplyPtr reply;
        while (stream_serial_ == serial) {
            const ReplyReader::Next next = stream_->next(reply);
            if (next == ReplyReader::Next::none) return true;
            if (next == ReplyReader::Next::rubbish) {
                fail({Vote::refused, stream_->error()}, node, events);
            } else if (is_subscription()) {
                take_message(*reply, node, events);
            } else if (unanswered_ == 0) {
                fail(unasked(*reply), node, events);
            } else {
                --unanswered_;
                const detail::Reply plain = plain_of(*reply, elements_);
                if (plain.kind != detail::Reply::Kind::error) note_answer();
                events.on_reply(node, plain);
            }
        }
        return false;
    }

    /// "message", channel, payload.
    static void take_message(const redisReply& reply, std::size_t node, detail::TransportEvents& events) {
        if (reply.type != REDIS_REPLY_ARRAY || reply.elements != 3 || reply.element[2]->str == nullptr)
            return;
        events.on_message(node, text_of(*reply.element[2]));
    }

    // ---- ending ------------------------------------------------------------------------------------

    void fail(Reason reason, std::size_t node, detail::TransportEvents& events) {
        fault_ = std::move(reason);
        end_stream();
        tell_down(node, events);
    }

    void tell_down(std::size_t node, detail::TransportEvents& events) {
        if (is_subscription()) return;
        const Reason reason = fault_;  // what this decides may connect anew at once, and note another fault
        events.on_down(node, {reason.vote, reason.text});
    }

    /// Where the stream has answered a request, the next try is at once: the node was well a moment ago. A
    /// stream that ended after the login and before any answer counts as a failure (R22), unless it lasted
    /// for long.
    void end_stream() {
        if (!has_answered_) backoff_.grow(up_since_);
        close_stream();
    }

    void close_stream() noexcept {
        ++stream_serial_;
        stream_.reset();
        unanswered_ = 0;
        has_answered_ = false;
    }

    std::string name_;
    Route<System> route_;
    Backoff backoff_;
    std::chrono::milliseconds silence_limit_;
    bool is_wanted_;  ///< poll() is to connect by itself

    std::optional<Attempt> attempt_;
    std::uint64_t attempt_serial_ = 0;
    std::uint64_t watched_attempt_ = 0;  ///< the one that poll was asked about
    Reason fault_{Vote::unreachable, "not connected yet"};

    std::optional<Stream<typename System::ByteStream>> stream_;
    std::uint64_t stream_serial_ = 0;  ///< a new one with every beginning and end
    std::uint64_t watched_stream_ = 0;
    SteadyTime up_since_{};
    SteadyTime heard_at_{};       ///< last
    SteadyTime asked_at_{};       ///< the oldest request that is unanswered, if none was answered since
    std::size_t unanswered_ = 0;  ///< requests
    bool has_answered_ = false;   ///< a request, on this stream
    std::vector<detail::Reply> elements_;
};

}  // namespace redlock::inline v0_1::hiredis
