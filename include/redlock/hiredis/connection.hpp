// One node: connect, log in, write, read, reconnect. Never blocks.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/core/command.hpp"
#include "redlock/core/transport.hpp"
#include "redlock/endpoint.hpp"
#include "redlock/hiredis/api.hpp"
#include "redlock/hiredis/resolver.hpp"
#include "redlock/options.hpp"

namespace redlock::hiredis {

/// hiredis makes the connection and parses the replies; sending and receiving are done here, since its own
/// functions raise SIGPIPE in version 0.14.
class Connection {
   public:
    using Clock = std::chrono::steady_clock;

    /// With a channel it subscribes to that and takes no requests.
    Connection(Endpoint endpoint, const Options& options, std::shared_ptr<WakeUp> wake_up,
               std::string channel = {})
        : endpoint_{std::move(endpoint)},
          name_{endpoint_.display()},
          channel_{std::move(channel)},
          options_{options},
          wake_up_{std::move(wake_up)} {}

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }
    [[nodiscard]] bool is_up() const noexcept { return stage_ == Stage::up; }
    [[nodiscard]] detail::Fault fault() const noexcept { return {fault_vote_, fault_words_}; }

    /// See detail::Transport for what these promise.
    [[nodiscard]] bool is_promising() const noexcept {
        return stage_ != Stage::up && stage_ != Stage::down && failures_ == 0;
    }
    void drop(const detail::Fault& fault) {
        note_fault(fault.vote, std::string{fault.words});
        close_and_back_off();
    }
    void keep_trying(bool is_wanted) noexcept { is_wanted_ = is_wanted; }

    /// Begins to connect where there is no connection, unless the backoff forbids it.
    detail::Sent connect() {
        if (stage_ == Stage::up && has_ended_idle()) {
            close();
            retry_at_ = {};
        }
        if (stage_ == Stage::up) return detail::Sent::accepted;
        if (stage_ == Stage::down) {
            if (Clock::now() < retry_at_) return detail::Sent::down;
            begin_connect();
        }
        return stage_ == Stage::down ? detail::Sent::down : detail::Sent::connecting;
    }

    detail::Sent send(std::string_view request) {
        if (stage_ != Stage::up) return connect();
        out_.append(request);
        ++unanswered_;
        return detail::Sent::accepted;
    }

    /// Bytes to write, or a connection being made.
    [[nodiscard]] bool unfinished() const noexcept {
        return !out_.empty() || (stage_ != Stage::up && stage_ != Stage::down);
    }

    void flush() {
        if (out_.empty() || stage_ == Stage::connecting || is_broken_) return;
        while (written_ < out_.size()) {
            const auto size =
                ::send(context_->fd, out_.data() + written_, out_.size() - written_, MSG_NOSIGNAL);
            if (size < 0 && errno == EINTR) continue;
            if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
            if (size < 0) {
                is_broken_ = true;  // told in the next poll; there may be replies to read before
                return;
            }
            written_ += static_cast<std::size_t>(size);
        }
        if (written_ == out_.size()) {
            out_.clear();
            written_ = 0;
        } else if (written_ > compact_above) {
            out_.erase(0, written_);
            written_ = 0;
        }
    }

    /// What to wait for; nothing when there is no socket.
    [[nodiscard]] std::optional<pollfd> interest() noexcept {
        watched_ = serial_;
        if (!context_) return std::nullopt;
        const bool wants_to_write = stage_ == Stage::connecting || !out_.empty();
        return pollfd{context_->fd, static_cast<short>(wants_to_write ? POLLIN | POLLOUT : POLLIN), 0};
    }

    /// When to look again though nothing happens.
    [[nodiscard]] std::optional<Clock::time_point> deadline() const noexcept {
        if (is_broken_) return Clock::time_point{};
        if (stage_ == Stage::down && !channel_.empty()) return retry_at_;  // no request will ask for it
        if (stage_ == Stage::down || stage_ == Stage::up) return std::nullopt;
        return connect_by_;
    }

    /// Does what can be done now, and tells it. Who is told may call connect() and send() at once: after
    /// each telling this may be another connection than before, as `serial_` says.
    void advance(short ready, std::size_t node, detail::TransportEvents& events) {
        if (stage_ == Stage::down) return;
        if (watched_ != serial_) ready = 0;  // that was said of the connection before
        if (stage_ == Stage::resolving) take_addresses(node, events);
        if (stage_ == Stage::connecting && (ready & (POLLOUT | POLLERR | POLLHUP)) != 0) {
            finish_connect(node, events);
        } else if (context_ && stage_ != Stage::connecting && ((ready & ~POLLOUT) != 0 || is_broken_)) {
            receive(node, events);
        }
        if (stage_ != Stage::up && stage_ != Stage::down && Clock::now() >= connect_by_) {
            const auto limit = std::to_string(options_.connect_timeout.count());
            fail(node, events, Vote::timeout, "no connection within " + limit + " ms");
        }
    }

    /// In a forked child: closes its copy of the socket, and touches nothing that another thread may have
    /// been changing when the process was forked.
    void abandon() const noexcept {
        if (context_) ::close(context_->fd);
    }

   private:
    enum class Stage : std::uint8_t { down, resolving, connecting, logging_in, up };
    enum class Step : std::uint8_t {
        auth,
        info_server,
        info_replication,
        set_name,
        id,
        select,
        kill,
        subscribe,
        load
    };

    struct FreeContext {
        void operator()(redisContext* context) const noexcept { redisFree(context); }
    };
    struct FreeReply {
        void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
    };
    using ReplyPtr = std::unique_ptr<redisReply, FreeReply>;

    static constexpr std::size_t compact_above = std::size_t{1} << 16U;
    static constexpr std::size_t reply_max = std::size_t{1} << 20U;  // a call has a name, of 64 KiB at most

    // ---- connecting --------------------------------------------------------------------------------

    /// A server that closes idle connections, or was restarted, must not cost the next round its vote.
    [[nodiscard]] bool has_ended_idle() const noexcept {
        constexpr auto recently = std::chrono::milliseconds{5};
        if (unanswered_ > 0 || !out_.empty() || Clock::now() - last_heard_ < recently) return false;
        char byte = 0;
        const auto size = ::recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    }

    void begin_connect() {
        connect_by_ = Clock::now() + options_.connect_timeout;
        if (endpoint_.scheme() == Endpoint::Scheme::unix_socket) {
            return open(redisConnectUnixNonBlock(endpoint_.path().c_str()));
        }
        if (Lookup::is_numeric(endpoint_.host())) {
            return open(redisConnectNonBlock(endpoint_.host().c_str(), endpoint_.port()));
        }
        if (!addresses_.empty()) return open_next_address();
        // One that was too slow for an earlier try goes on: its answer is as good.
        if (!lookup_) lookup_.emplace(endpoint_.host(), wake_up_);
        if (lookup_->is_done()) wake_up_->signal();
        stage_ = Stage::resolving;
    }

    void take_addresses(std::size_t node, detail::TransportEvents& events) {
        if (!lookup_->is_done()) return;
        const auto found = lookup_->addresses();
        addresses_.assign(found.begin(), found.end());
        const std::string error = lookup_->error();
        lookup_.reset();
        if (addresses_.empty()) return fail(node, events, Vote::unreachable, "host name: " + error);
        open_next_address();
        if (stage_ == Stage::down) fail(node, events, Vote::unreachable, std::string{fault_words_});
    }

    void open_next_address() {
        const std::string address = std::move(addresses_.front());
        addresses_.pop_front();  // the next one is for the next try
        open(redisConnectNonBlock(address.c_str(), endpoint_.port()));
    }

    /// Leaves the stage `connecting`, or `down` with the reason.
    void open(redisContext* context) {
        context_.reset(context);
        if (context == nullptr || context->err != 0) {
            note_fault(Vote::unreachable, context == nullptr ? "out of memory" : context->errstr);
            return close_and_back_off();
        }
        ::fcntl(context->fd, F_SETFD, FD_CLOEXEC);  // what the application executes must not hold it open
        if (endpoint_.scheme() == Endpoint::Scheme::tcp) set_keep_alive(context->fd);
        stage_ = Stage::connecting;
    }

    /// A peer that vanished without a word is noticed, one that is slow is left in peace for long.
    static void set_keep_alive(int fd) noexcept {
        const auto set = [fd](int level, int name, int value) {
            ::setsockopt(fd, level, name, &value, sizeof value);
        };
        set(SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
        set(IPPROTO_TCP, TCP_KEEPIDLE, 15);
        set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
        set(IPPROTO_TCP, TCP_KEEPCNT, 3);
#endif
#ifdef TCP_USER_TIMEOUT
        set(IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
#endif
    }

    void finish_connect(std::size_t node, detail::TransportEvents& events) {
        int error = 0;
        socklen_t size = sizeof error;
        if (::getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        if (error != 0) return fail(node, events, Vote::unreachable, std::strerror(error));
        stage_ = Stage::logging_in;
        begin_log_in();
        flush();
    }

    // ---- logging in --------------------------------------------------------------------------------

    /// All of it in one write; SELECT and AUTH are confirmed before the first request goes out.
    void begin_log_in() {
        const auto say = [this](Step step, std::initializer_list<std::string_view> words) {
            detail::RequestWriter writer{words.size()};
            for (const std::string_view word : words) writer.arg(word);
            out_.append(std::move(writer).take());
            steps_.push_back(step);
        };
        info_ = {};
        id_ = 0;
        if (!endpoint_.user().empty()) {
            say(Step::auth, {"AUTH", endpoint_.user(), endpoint_.password()});
        } else if (!endpoint_.password().empty()) {
            say(Step::auth, {"AUTH", endpoint_.password()});
        }
        if (!channel_.empty()) return say(Step::subscribe, {"SUBSCRIBE", channel_});
        say(Step::info_server, {"INFO", "server"});
        say(Step::info_replication, {"INFO", "replication"});
        say(Step::id, {"CLIENT", "ID"});
        if (!options_.client_name.empty()) say(Step::set_name, {"CLIENT", "SETNAME", options_.client_name});
        for (const detail::Script* script : detail::all_scripts)
            say(Step::load, {"SCRIPT", "LOAD", script->text});
        if (endpoint_.db() != 0) say(Step::select, {"SELECT", std::to_string(endpoint_.db())});
    }

    void take_log_in_reply(const redisReply& reply, std::size_t node, detail::TransportEvents& events) {
        const Step step = steps_.front();
        steps_.pop_front();
        const std::string_view text = reply.str == nullptr ? "" : std::string_view{reply.str, reply.len};
        if (reply.type == REDIS_REPLY_ERROR) {
            const bool must_work = step == Step::auth || step == Step::select || step == Step::subscribe;
            const bool may_fail = !must_work && !text.starts_with("NOAUTH");
            if (!may_fail) return fail(node, events, Vote::refused, std::string{text});
        } else if (step == Step::info_server) {
            info_.run_id = info_field(text, "run_id:");
            const std::string uptime = info_field(text, "uptime_in_seconds:");
            std::int64_t seconds = 0;
            std::from_chars(uptime.data(), uptime.data() + uptime.size(), seconds);
            info_.uptime = std::chrono::seconds{seconds};
        } else if (step == Step::info_replication) {
            const std::string role = info_field(text, "role:");
            info_.is_master = role.empty() || role == "master";
        } else if (step == Step::id) {
            id_ = reply.integer;
        }
        if (!steps_.empty()) return;
        if (step != Step::kill && channel_.empty() && must_kill_previous()) return kill_previous();
        come_up(node, events);
    }

    /// What is still queued on the connection before this one must not run later. Only in the same server
    /// process does its id mean that connection.
    [[nodiscard]] bool must_kill_previous() const noexcept {
        return previous_id_ != 0 && !info_.run_id.empty() && info_.run_id == previous_run_id_;
    }

    void kill_previous() {
        detail::RequestWriter writer{4};
        writer.arg("CLIENT").arg("KILL").arg("ID").arg(previous_id_);
        out_.append(std::move(writer).take());
        steps_.push_back(Step::kill);
        flush();
    }

    void come_up(std::size_t node, detail::TransportEvents& events) {
        stage_ = Stage::up;
        failures_ = 0;
        addresses_.clear();
        previous_id_ = id_;
        previous_run_id_ = info_.run_id;
        if (channel_.empty()) events.on_up(node, info_);
        flush();
    }

    [[nodiscard]] static std::string info_field(std::string_view info, std::string_view name) {
        for (std::size_t at = info.find(name); at != std::string_view::npos; at = info.find(name, at + 1)) {
            if (at != 0 && info[at - 1] != '\n') continue;
            const std::size_t begin = at + name.size();
            return std::string{info.substr(begin, info.find_first_of("\r\n", begin) - begin)};
        }
        return {};
    }

    // ---- reading -----------------------------------------------------------------------------------

    void receive(std::size_t node, detail::TransportEvents& events) {
        // Filling it would cost more than reading into it.
        std::array<char, 16384> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
        for (;;) {
            const auto size = ::recv(context_->fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (size < 0 && errno == EINTR) continue;
            if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
            if (size < 0) return fail(node, events, Vote::unreachable, std::strerror(errno));
            if (size == 0) return fail(node, events, Vote::unreachable, "the node closed the connection");
            last_heard_ = Clock::now();
            const auto length = static_cast<std::size_t>(size);
            redisReaderFeed(context_->reader, buffer.data(), length);
            unfinished_reply_ += length;
            if (!take_replies(node, events)) return;
            if (unfinished_reply_ > reply_max) {
                return fail(node, events, Vote::refused, "not Redis: a reply without an end");
            }
            if (length < buffer.size()) break;
        }
        if (is_broken_) fail(node, events, Vote::unreachable, "the node closed the connection");
    }

    /// False when the connection has ended over it.
    bool take_replies(std::size_t node, detail::TransportEvents& events) {
        for (;;) {
            void* raw = nullptr;
            if (redisReaderGetReply(context_->reader, &raw) != REDIS_OK) {
                fail(node, events, Vote::refused, std::string{"not Redis: "} + context_->reader->errstr);
                return false;
            }
            if (raw == nullptr) return true;
            const ReplyPtr reply{static_cast<redisReply*>(raw)};
            unfinished_reply_ = 0;
            const std::uint64_t serial = serial_;
            if (stage_ == Stage::logging_in && !steps_.empty()) {
                take_log_in_reply(*reply, node, events);
            } else if (stage_ == Stage::up && !channel_.empty()) {
                take_message(*reply, node, events);
            } else if (stage_ == Stage::up && unanswered_ > 0) {
                --unanswered_;
                tell(*reply, node, events);
            } else {
                fail(node, events, Vote::refused, "it sent a reply that nobody asked for");
            }
            if (serial_ != serial) return false;
        }
    }

    /// "message", channel, payload.
    static void take_message(const redisReply& reply, std::size_t node, detail::TransportEvents& events) {
        if (reply.type != REDIS_REPLY_ARRAY || reply.elements != 3 || reply.element[2]->str == nullptr)
            return;
        events.on_message(node, {reply.element[2]->str, reply.element[2]->len});
    }

    static detail::Reply convert(const redisReply& reply) noexcept {
        detail::Reply plain;
        switch (reply.type) {
            case REDIS_REPLY_INTEGER:
                plain.kind = detail::Reply::Kind::integer;
                plain.integer = reply.integer;
                break;
            case REDIS_REPLY_STRING:
            case REDIS_REPLY_STATUS:
            case REDIS_REPLY_ERROR:
                plain.kind =
                    reply.type == REDIS_REPLY_ERROR ? detail::Reply::Kind::error : detail::Reply::Kind::text;
                plain.text = {reply.str, reply.len};
                break;
            case REDIS_REPLY_ARRAY: plain.kind = detail::Reply::Kind::array; break;
            default: break;
        }
        return plain;
    }

    void tell(const redisReply& reply, std::size_t node, detail::TransportEvents& events) {
        detail::Reply plain = convert(reply);
        elements_.clear();
        for (std::size_t i = 0; plain.kind == detail::Reply::Kind::array && i < reply.elements; ++i) {
            elements_.push_back(convert(*reply.element[i]));
        }
        plain.elements = elements_;
        events.on_reply(node, plain);
    }

    // ---- ending ------------------------------------------------------------------------------------

    void note_fault(Vote vote, std::string words) {
        fault_vote_ = vote;
        fault_words_ = std::move(words);
    }

    void fail(std::size_t node, detail::TransportEvents& events, Vote vote, const std::string& words) {
        const bool was_up = stage_ == Stage::up;
        note_fault(vote, words);
        if (was_up && channel_.empty()) {
            close();
            retry_at_ = {};  // it was well a moment ago: the next try is at once
        } else {
            close_and_back_off();
        }
        // What this decides may connect anew at once, and note another fault.
        if (channel_.empty()) events.on_down(node, {vote, words});
    }

    void close() noexcept {
        ++serial_;
        stage_ = Stage::down;
        context_.reset();
        steps_.clear();
        out_.clear();
        written_ = 0;
        unanswered_ = 0;
        unfinished_reply_ = 0;
        is_broken_ = false;
    }

    void close_and_back_off() {
        close();
        const auto longest = std::min<std::int64_t>(
            options_.reconnect_min.count() << std::min(failures_, 20U), options_.reconnect_max.count());
        ++failures_;
        jitter_ = jitter_ * 1664525U + 1013904223U;  // any spread will do
        retry_at_ = Clock::now() + std::chrono::milliseconds{longest / 2 + jitter_ % (longest / 2 + 1)};
    }

    Endpoint endpoint_;
    std::string name_;
    std::string channel_;
    const Options& options_;
    std::shared_ptr<WakeUp> wake_up_;

    Stage stage_ = Stage::down;
    std::uint64_t serial_ = 0;   ///< of the connection; a new one with every close
    std::uint64_t watched_ = 0;  ///< the one that poll was asked about
    std::unique_ptr<redisContext, FreeContext> context_;
    std::optional<Lookup> lookup_;
    std::deque<std::string> addresses_;
    Clock::time_point connect_by_{};
    Clock::time_point retry_at_{};
    Clock::time_point last_heard_{};
    unsigned failures_ = 0;
    std::uint32_t jitter_ = static_cast<std::uint32_t>(Clock::now().time_since_epoch().count());
    Vote fault_vote_ = Vote::unreachable;
    std::string fault_words_ = "not connected yet";

    std::deque<Step> steps_;  ///< of the log-in, still unanswered
    detail::NodeInfo info_;
    std::int64_t id_ = 0;
    std::int64_t previous_id_ = 0;  ///< of the last connection that was up, and the server it was to
    std::string previous_run_id_;

    std::string out_;
    std::size_t written_ = 0;           ///< of out_
    std::size_t unanswered_ = 0;        ///< requests
    std::size_t unfinished_reply_ = 0;  ///< bytes at most
    bool is_broken_ = false;
    bool is_wanted_ = false;  ///< poll() is to connect by itself
    std::vector<detail::Reply> elements_;
};

}  // namespace redlock::hiredis
