// SPDX-License-Identifier: Apache-2.0
// What is said on a new connection before it may be used, and what the node says of itself.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/endpoint.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/hiredis/out_buffer.hpp"
#include "redlock/hiredis/replies.hpp"
#include "redlock/options.hpp"
#include "redlock/text/scrub.hpp"
#include "redlock/voting/command.hpp"

namespace redlock::inline v0_1::hiredis {

/// A connection as its server knows it: the id means that connection only in the same server process.
struct Identity {
    std::int64_t id = 0;
    std::string run_id;
};

/// The last connection of a node that was ready, for each of the server processes that the node led to: its
/// name may lead to one server, to another, and back.
class FormerConnections {
   public:
    void add(Identity identity) {
        constexpr std::size_t most = 4;
        if (identity.id == 0) return;  // it may not be asked for
        std::erase_if(list_, [&](const Identity& other) { return other.run_id == identity.run_id; });
        if (list_.size() == most) list_.erase(list_.begin());
        list_.push_back(std::move(identity));
    }

    [[nodiscard]] bool empty() const noexcept { return list_.empty(); }
    /// Nothing where there was none, or it is not known which process this is.
    [[nodiscard]] std::optional<std::int64_t> id_at(std::string_view run_id) const {
        for (const Identity& identity : list_) {
            if (!run_id.empty() && identity.run_id == run_id) return identity.id;
        }
        return std::nullopt;
    }

    [[nodiscard]] bool was_last_at(std::string_view run_id) const {
        return !list_.empty() && list_.back().run_id == run_id;
    }

   private:
    std::vector<Identity> list_;
};

/// The error text of a server, which may repeat our arguments (R31).
[[nodiscard]] inline std::string without_secrets(std::string_view text, const Endpoint& endpoint) {
    const std::array<std::string_view, 2> secrets{endpoint.password(), endpoint.user()};
    return detail::scrubbed(text, secrets);
}

/// Everything is sent in one write. Where there was a connection before, it takes two: the one to this server
/// process is ended first, as soon as the first replies say which that is.
class Login {
   public:
    enum class Outcome : std::uint8_t { going_on, done, failed };

    /// Of a subscription, where there is a channel. One of the former connections is ended first (R20).
    Login(const Endpoint& endpoint, const Options& options, std::string_view channel,
          const FormerConnections& former)
        : endpoint_{endpoint}, options_{options}, channel_{channel}, former_{former} {}

    void begin(OutBuffer& out, bool asks_about_scripts) {
        if (!endpoint_.user().empty()) {
            say(out, Step::auth, {"AUTH", endpoint_.user(), endpoint_.password()});
        } else if (!endpoint_.password().empty()) {
            say(out, Step::auth, {"AUTH", endpoint_.password()});
        }
        say(out, Step::info_server, {"INFO", "server"});
        say(out, Step::info_replication, {"INFO", "replication"});
        say(out, Step::id, {"CLIENT", "ID"});
        if (channel_.empty()) prepare_for_requests(out);
        asks_about_scripts_ = asks_about_scripts;
        if (former_.empty()) say_rest(out);
    }

    /// Takes the reply to the first question that has none. Where it failed, text() says why.
    [[nodiscard]] Outcome take(const redisReply& reply, OutBuffer& out) {
        const Step step = steps_[answered_++];
        text_.clear();
        if (reply.type == REDIS_REPLY_ERROR) {
            text_ = without_secrets(text_of(reply), endpoint_);
            if (!may_be_refused(step, text_of(reply))) return Outcome::failed;
        }
        note(step, reply);
        if (is_over() && !has_said_rest_) {
            end_previous(out);
            say_rest(out);
        }
        return is_over() ? Outcome::done : Outcome::going_on;
    }

    /// The last reply, where it was an error: the reason, should the server hang up now (R29).
    [[nodiscard]] const std::string& text() const noexcept { return text_; }
    [[nodiscard]] bool is_over() const noexcept { return answered_ == steps_.size(); }
    /// Whether only questions about scripts are left unanswered. Some servers take these for an attack.
    [[nodiscard]] bool is_at_scripts() const noexcept {
        return !is_over() && is_about_scripts(steps_[answered_]);
    }
    /// Whether it has begun to end the last connection that was ready.
    [[nodiscard]] bool has_ended_previous() const noexcept { return has_ended_previous_; }
    [[nodiscard]] const detail::NodeInfo& info() const noexcept { return info_; }
    [[nodiscard]] Identity identity() const { return {id_, info_.run_id}; }

   private:
    enum class Step : std::uint8_t {
        auth,
        info_server,
        info_replication,
        id,
        set_name,
        select,
        load,
        by_name,
        by_text,
        kill,
        subscribe
    };

    [[nodiscard]] static bool is_about_scripts(Step step) noexcept {
        return step == Step::load || step == Step::by_name || step == Step::by_text;
    }

    void say(OutBuffer& out, Step step, std::initializer_list<std::string_view> text) {
        detail::RequestWriter writer{text.size()};
        for (const std::string_view word : text) writer.arg(word);
        out.append(std::move(writer).take());
        steps_.push_back(step);
    }

    /// SELECT is confirmed before the first request goes out.
    void prepare_for_requests(OutBuffer& out) {
        if (!options_.client_name.empty())
            say(out, Step::set_name, {"CLIENT", "SETNAME", options_.client_name});
        if (endpoint_.db() != 0) say(out, Step::select, {"SELECT", detail::joined({endpoint_.db()})});
    }

    /// Sends what has to wait until the former connection has been ended.
    void say_rest(OutBuffer& out) {
        has_said_rest_ = true;
        if (!channel_.empty()) return say(out, Step::subscribe, {"SUBSCRIBE", channel_});
        if (!asks_about_scripts_) return;
        for (const detail::Script* script : detail::loaded_scripts)
            say(out, Step::load, {"SCRIPT", "LOAD", script->text});
        // Without keys neither does anything, and no right to keys is needed. Some proxies want an argument.
        say(out, Step::by_name, {"EVALSHA", detail::sha1_of(detail::release_script), "0", "-"});
        say(out, Step::by_text, {"EVAL", "return 1", "0", "-"});
    }

    /// Ends the connection before this one: requests that are still queued there must not run later.
    void end_previous(OutBuffer& out) {
        const std::optional<std::int64_t> id = former_.id_at(info_.run_id);
        if (!id) return;
        say(out, Step::kill, {"CLIENT", "KILL", "ID", detail::joined({*id})});
        has_ended_previous_ = former_.was_last_at(info_.run_id);
    }

    /// Whether the connection can be used though the node has answered this step with that error.
    [[nodiscard]] static bool may_be_refused(Step step, std::string_view text) noexcept {
        if (step == Step::auth || step == Step::select || step == Step::subscribe) return false;
        if (is_lasting_refusal(text)) return true;
        // A script that may be run, but not at the moment, or that is not known yet.
        return is_about_scripts(step) &&
               begins_with_any(text, {"NOSCRIPT", "OOM", "MISCONF", "READONLY", "NOREPLICAS"});
    }

    void note(Step step, const redisReply& reply) {
        const std::string_view text = text_of(reply);
        if (reply.type == REDIS_REPLY_ERROR) {
            if (is_about_scripts(step)) note_script_refusal(step, text);
        } else if (step == Step::info_server) {
            info_.run_id = info_field(text, "run_id:");
            const std::string uptime = info_field(text, "uptime_in_seconds:");
            std::uint64_t seconds = 0;  // where it is negative too: the clock was set back
            if (!detail::read_number(uptime, seconds)) seconds = 0;
            info_.uptime = std::chrono::seconds{static_cast<std::int64_t>(seconds)};
        } else if (step == Step::info_replication) {
            const std::string role = info_field(text, "role:");
            info_.is_master = role.empty() || role == "master";
        } else if (step == Step::id) {
            id_ = reply.integer;
        }
    }

    /// An error about the number of keys or arguments says nothing of scripts that have keys.
    void note_script_refusal(Step step, std::string_view text) {
        const bool is_about_form =
            text.find("key") != std::string_view::npos || text.find("argument") != std::string_view::npos;
        const bool is_refused = is_lasting_refusal(text) && (text.starts_with("NOPERM") || !is_about_form);
        if (step == Step::load || !is_refused) return;
        if (step == Step::by_name) {
            info_.scripts = detail::Scripts::by_text;
        } else if (info_.scripts == detail::Scripts::by_text) {
            info_.scripts = detail::Scripts::never;
            info_.scripts_refusal = text_;
        }
    }

    [[nodiscard]] static std::string info_field(std::string_view info, std::string_view name) {
        for (std::size_t at = info.find(name); at != std::string_view::npos; at = info.find(name, at + 1)) {
            if (at != 0 && info[at - 1] != '\n') continue;
            const std::size_t begin = at + name.size();
            return std::string{info.substr(begin, info.find_first_of("\r\n", begin) - begin)};
        }
        return {};
    }

    const Endpoint& endpoint_;
    const Options& options_;
    std::string_view channel_;
    const FormerConnections& former_;
    std::vector<Step> steps_;   ///< all that was said
    std::size_t answered_ = 0;  ///< of them
    detail::NodeInfo info_;
    std::int64_t id_ = 0;
    std::string text_;
    bool has_ended_previous_ = false;
    bool has_said_rest_ = false;
    bool asks_about_scripts_ = false;
};

}  // namespace redlock::inline v0_1::hiredis
