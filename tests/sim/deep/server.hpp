// SPDX-License-Identifier: Apache-2.0
// A server as its clients see it: RESP in, RESP out. What commands do to keys is SimNode's.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/clock.hpp"
#include "sim/node.hpp"
#include "sim/plan.hpp"
#include "sim/random.hpp"

namespace redlock::sim::deep {

using ConnectionId = std::uint32_t;

/// One connection, as its server knows it.
struct Session {
    ConnectionId connection = 0;
    std::uint32_t generation = 0;  ///< of the server process
    std::int64_t id = 0;
    std::uint32_t db = 0;
    std::optional<Wiring::Decoy> decoy{};  ///< it is at another server
    std::uint32_t login = 0;               ///< in which epoch of passwords; 0: not logged in
    bool has_served = false;               ///< a request beyond the log-in
    bool has_refused = false;              ///< part of the login
    std::size_t answered = 0;
    std::string channel{};  ///< that it subscribes to
    std::string input{};    ///< not yet a whole request
};

/// What a server does with one request.
struct Answer {
    std::string bytes{};
    bool hangs_up = false;
    std::optional<std::int64_t> kills{};  ///< the id of another connection; the answer is how many
};

// ---- RESP --------------------------------------------------------------------------------------------

[[nodiscard]] inline std::string resp_of_bulk(std::string_view text) {
    return std::string{"$"}.append(std::to_string(text.size())).append("\r\n").append(text).append("\r\n");
}
[[nodiscard]] inline std::string resp_of_error(std::string_view text) {
    return std::string{"-"}.append(text).append("\r\n");
}
[[nodiscard]] inline std::string resp_of_number(std::int64_t number) {
    return std::string{":"}.append(std::to_string(number)).append("\r\n");
}
[[nodiscard]] inline std::string resp_of_list(std::initializer_list<std::string_view> words) {
    std::string bytes = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string_view word : words) bytes += resp_of_bulk(word);
    return bytes;
}
[[nodiscard]] inline std::string resp_of(const ModelReply& reply) {
    using Kind = ModelReply::Kind;
    switch (reply.kind) {
        case Kind::integer: return resp_of_number(reply.integer);
        case Kind::error: return resp_of_error(reply.text);
        case Kind::text: return reply.text == "OK" ? "+OK\r\n" : resp_of_bulk(reply.text);
        case Kind::array: {
            std::string bytes = "*" + std::to_string(reply.elements.size()) + "\r\n";
            for (const std::int64_t element : reply.elements) bytes += resp_of_number(element);
            return bytes;
        }
        default: return "$-1\r\n";
    }
}

// ---- the server --------------------------------------------------------------------------------------

class Server {
   public:
    using Words = ModelRedis::Words;
    /// Why it serves nobody or not everybody for a while.
    enum class Refusal : std::uint8_t { loading, busy, no_replicas, misconfigured, out_of_memory };
    static constexpr std::size_t refusal_count = 5;

    Server(SimNode& node, const Wiring& wiring, Wiring::Denied denied, bool hides_info, const Instant& now,
           Random random)
        : node_{node},
          wiring_{wiring},
          denied_{denied},
          hides_info_{hides_info},
          now_{now},
          random_{random} {}

    // ---- connections -------------------------------------------------------------------------------

    [[nodiscard]] Session accept(ConnectionId connection) {
        Session session{connection, generation_};
        session.id = next_id_;
        next_id_ += random_.between(1, 3);  // others connect too
        return session;
    }

    [[nodiscard]] bool is_crowded() const noexcept { return now_ < crowded_until_; }
    [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }

    /// One request of a session.
    Answer answer(Session& session, Words words) {
        Answer answer;
        if (session.decoy) {
            answer.bytes = answer_as(*session.decoy, words);
        } else if (auto error = objection(session, words)) {
            answer.bytes = resp_of_error(*error);
        } else {
            answer = serve(session, words);
        }
        ++session.answered;
        answer.hangs_up |= now_ < hangs_up_until_ && session.answered >= hangs_up_after_;
        return answer;
    }

    // ---- faults ------------------------------------------------------------------------------------

    /// Another process serves from now on, with ids of its own.
    void begin_anew() noexcept {
        ++generation_;
        next_id_ = first_id;
    }
    void refuse(Refusal why, Instant until) noexcept {
        refusal_ = why;
        refuses_until_ = std::max(refuses_until_, until);
    }
    void hang_up_after(std::size_t answers, Instant until) noexcept {
        hangs_up_after_ = answers;
        hangs_up_until_ = std::max(hangs_up_until_, until);
    }
    [[nodiscard]] bool hangs_up_at_once() const noexcept {
        return now_ < hangs_up_until_ && hangs_up_after_ == 0;
    }
    void be_crowded(Instant until) noexcept { crowded_until_ = std::max(crowded_until_, until); }
    /// Sessions have to log in again.
    void forget_logins() noexcept { ++login_epoch_; }
    void change_password(Instant until) noexcept {
        other_password_until_ = std::max(other_password_until_, until);
    }

   private:
    static constexpr std::int64_t first_id = 3;

    [[nodiscard]] bool wants_password() const noexcept { return !wiring_.password.empty(); }

    /// As Redis repeats what it does not know.
    [[nodiscard]] static std::string unknown(Words words) {
        std::string text = "ERR unknown command '" + std::string{words[0]} + "', with args beginning with: ";
        for (const std::string_view word : words.subspan(1)) {
            text.append("'").append(word.substr(0, 128)).append("' ");
        }
        std::replace(text.begin(), text.end(), '\n', ' ');  // an error is one line
        return text;
    }

    // ---- refusing ----------------------------------------------------------------------------------

    /// Why this request is not served.
    [[nodiscard]] std::optional<std::string> objection(const Session& session, Words words) {
        const std::string_view name = words[0];
        if (is_refusing(Refusal::busy) && name != "AUTH") {
            return "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
        }
        if (wants_password() && session.login != login_epoch_ && name != "AUTH") {
            return "NOAUTH Authentication required.";
        }
        if (auto denied = denial(words)) return denied;
        if (is_refusing(Refusal::loading) && !is_served_while_loading(name)) {
            return "LOADING Redis is loading the dataset in memory";
        }
        return std::nullopt;
    }

    /// What writes of this session are refused with; empty: they are not.
    [[nodiscard]] std::string_view write_refusal(const Session& session, Words words) const noexcept {
        const bool is_old = session.generation != generation_;  // a master that was replaced is a replica now
        if (is_old) return "READONLY You can't write against a read only replica.";
        if (is_refusing(Refusal::no_replicas)) return "NOREPLICAS Not enough good replicas to write.";
        if (is_refusing(Refusal::misconfigured)) return "MISCONF Errors writing to the AOF file";
        if (is_refusing(Refusal::out_of_memory) && needs_memory(words)) {
            return "OOM command not allowed when used memory > 'maxmemory'.";
        }
        return {};
    }

    [[nodiscard]] bool is_refusing(Refusal why) const noexcept {
        return now_ < refuses_until_ && refusal_ == why;
    }
    [[nodiscard]] static bool is_served_while_loading(std::string_view name) noexcept {
        constexpr std::array served{"AUTH", "INFO", "CLIENT", "SELECT", "SUBSCRIBE"};
        return std::any_of(served.begin(), served.end(), [=](const char* other) { return name == other; });
    }
    /// Once a script has written, it has the memory for the rest.
    [[nodiscard]] static bool needs_memory(Words words) noexcept {
        const std::string_view what = name_of(words);
        return what != "release" && what != "extend" && what != "delist";
    }

    [[nodiscard]] std::optional<std::string> denial(Words words) const {
        using Denied = Wiring::Denied;
        const std::string_view name = words[0];
        const auto no_permission = [&] {
            return "NOPERM this user has no permissions to run the '" + std::string{name} + "' command";
        };
        switch (denied_) {
            case Denied::client: return name == "CLIENT" ? std::optional{no_permission()} : std::nullopt;
            case Denied::client_unknown:
                return name == "CLIENT" ? std::optional{unknown(words)} : std::nullopt;
            case Denied::script_load: return name == "SCRIPT" ? std::optional{no_permission()} : std::nullopt;
            case Denied::script_unknown:
                return name == "SCRIPT" ? std::optional{unknown(words)} : std::nullopt;
            case Denied::select: return name == "SELECT" ? std::optional{no_permission()} : std::nullopt;
            case Denied::scripts:
                return name.starts_with("EVAL") ? std::optional{no_permission()} : std::nullopt;
            case Denied::evalsha: return name == "EVALSHA" ? std::optional{no_permission()} : std::nullopt;
            default: return std::nullopt;
        }
    }

    // ---- serving -----------------------------------------------------------------------------------

    Answer serve(Session& session, Words words) {
        const std::string_view name = words[0];
        if (name == "AUTH") return {log_in(session, words)};
        if (name == "INFO") return {info(session, words)};
        if (name == "CLIENT") return client(session, words);
        if (name == "SELECT") {
            session.db = static_cast<std::uint32_t>(ModelStore::number(words[1]));
            return {"+OK\r\n"};
        }
        if (name == "SUBSCRIBE") return {subscribe(session, words)};
        if (name == "EVAL" && words.size() > 2 && words[2] == "0") return {resp_of_number(1)};
        if (name == "EVALSHA" && words.size() > 2 && words[2] == "0") return {run_without_keys(words)};
        session.has_served = session.has_served || name != "SCRIPT";
        return {resp_of(node_.execute(words, write_refusal(session, words)))};
    }

    /// The release script with no keys: it does nothing.
    [[nodiscard]] std::string run_without_keys(Words words) {
        const bool is_known = node_.redis().knows(words[1]);
        return is_known ? resp_of_number(1) : resp_of_error("NOSCRIPT No matching script. Please use EVAL.");
    }

    [[nodiscard]] std::string log_in(Session& session, Words words) const {
        if (!wants_password() && words.size() == 2) {
            return resp_of_error(
                "ERR AUTH <password> called without any password configured for the default "
                "user. Are you sure your configuration is correct?");
        }
        const std::string_view user = words.size() > 2 ? words[1] : "";
        const bool is_right =
            now_ >= other_password_until_ && words.back() == wiring_.password && user == wiring_.user;
        if (!is_right) {
            // Some servers and proxies repeat what they were given.
            return resp_of_error("WRONGPASS invalid username-password pair or user '" + std::string{user} +
                                 "' is disabled, password '" + std::string{words.back()} + "'");
        }
        session.login = login_epoch_;
        return "+OK\r\n";
    }

    [[nodiscard]] std::string info(const Session& session, Words words) const {
        if (hides_info_) return resp_of_error("NOPERM this user has no permissions to run 'info'");
        const bool is_old = session.generation != generation_;
        const detail::NodeInfo info = node_.info(false);
        const std::string_view which = words.size() > 1 ? words[1] : "";
        if (which == "replication") {
            return resp_of_bulk(std::string{"# Replication\r\nrole:"} +
                                (info.is_master && !is_old ? "master" : "slave") +
                                "\r\nconnected_slaves:0\r\n");
        }
        const std::string run_id = is_old ? "old" + info.run_id : info.run_id;
        return resp_of_bulk("# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\nrun_id:" + run_id +
                            "\r\nuptime_in_seconds:" + std::to_string(info.uptime.count()) +
                            "\r\nuptime_in_days:0\r\n");
    }

    [[nodiscard]] static Answer client(const Session& session, Words words) {
        const std::string_view what = words.size() > 1 ? words[1] : "";
        if (what == "ID") return {resp_of_number(session.id)};
        if (what == "SETNAME") return {"+OK\r\n"};
        if (what == "KILL" && words.size() == 4 && words[2] == "ID") {
            return {{}, false, ModelStore::number(words[3])};
        }
        return {resp_of_error(unknown(words))};
    }

    [[nodiscard]] std::string subscribe(Session& session, Words words) {
        if (session.channel != words[1] && !node_.subscribe(session.connection, words[1])) {
            return resp_of_error("NOPERM No permissions to access a channel");
        }
        session.channel = words[1];
        std::string bytes = "*3\r\n" + resp_of_bulk("subscribe") + resp_of_bulk(words[1]);
        return bytes.append(":1\r\n");
    }

    // ---- other servers -----------------------------------------------------------------------------

    /// At an address that is not the node's own.
    [[nodiscard]] static std::string answer_as(Wiring::Decoy decoy, Words words) {
        const std::string_view name = words[0];
        if (decoy == Wiring::Decoy::wants_other_password) {
            return resp_of_error(name == "AUTH" ? "WRONGPASS invalid username-password pair"
                                                : "NOAUTH Authentication required.");
        }
        const bool is_replica = decoy == Wiring::Decoy::is_replica;
        if (name == "INFO" && words.size() > 1 && words[1] == "replication") {
            return resp_of_bulk(is_replica ? "role:slave\r\n" : "role:master\r\n");
        }
        if (name == "INFO") return resp_of_bulk("run_id:somebody\r\nuptime_in_seconds:77777\r\n");
        if (name == "CLIENT") return words.size() > 1 && words[1] == "ID" ? resp_of_number(5) : "+OK\r\n";
        if (name == "AUTH" || name == "SELECT") return "+OK\r\n";
        if (name == "SUBSCRIBE")
            return "*3\r\n" + resp_of_bulk("subscribe") + resp_of_bulk(words[1]) + ":1\r\n";
        if (is_replica) return resp_of_error("READONLY You can't write against a read only replica.");
        return resp_of_error("NOPERM this user has no permissions to run this command");
    }

    SimNode& node_;
    const Wiring& wiring_;
    Wiring::Denied denied_;
    bool hides_info_;
    const Instant& now_;
    Random random_;
    std::uint32_t generation_ = 0;
    std::int64_t next_id_ = first_id;
    Refusal refusal_ = Refusal::loading;
    Instant refuses_until_{0};
    std::size_t hangs_up_after_ = 0;
    Instant hangs_up_until_{0};
    Instant crowded_until_{0};
    Instant other_password_until_{0};
    std::uint32_t login_epoch_ = 1;
};

}  // namespace redlock::sim::deep
