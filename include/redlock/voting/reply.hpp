// SPDX-License-Identifier: Apache-2.0
// How the reply of a node becomes a vote.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/result.hpp"
#include "redlock/text/scrub.hpp"
#include "redlock/voting/command.hpp"

namespace redlock::inline v0_1::detail {

/// One reply of a node, valid only while it is being handed over.
struct Reply {
    enum class Kind : std::uint8_t { nil, integer, text, error, array };
    Kind kind = Kind::nil;
    std::int64_t integer = 0;
    std::string_view text;            ///< of a text or an error
    std::span<const Reply> elements;  ///< of an array
};

/// A reply, read as a vote.
struct Answer {
    Vote vote = Vote::refused;
    std::string text;
    /// Of an acquire or adopt, granted: the fencing values; denied: index from 1, PTTL in ms. Of an extend
    /// that had no need to: PTTL in ms. Of a peek per resource: PTTL in ms, counter, -1 where it is not ours
    /// (and in `text` the digests, 8 digits each). Of a release: one, if it has notified a waiter. Of a
    /// waiter that enters the queue: the holder's PTTL in ms, its rank, and a digest of the holder's token.
    std::vector<std::int64_t> values;
};

[[nodiscard]] inline bool is_unknown_script(const Reply& reply) noexcept {
    return reply.kind == Reply::Kind::error && reply.text.starts_with("NOSCRIPT");
}

/// Whether an error has this code. Before Redis 7 the code of an error within a script is in the middle.
[[nodiscard]] inline bool has_code(std::string_view error, std::string_view code) {
    const auto is_at = [&](std::size_t at) {
        const std::string_view rest = error.substr(at);
        return rest.starts_with(code) && (rest.size() == code.size() || rest[code.size()] == ' ');
    };
    if (is_at(0)) return true;
    for (std::size_t at = error.find(" -"); at != std::string_view::npos; at = error.find(" -", at + 1)) {
        if (is_at(at + 2)) return true;
    }
    return false;
}

/// Whether an error says that one of these commands may not be run, or is not known.
[[nodiscard]] inline bool forbids(const Reply& reply, std::initializer_list<std::string_view> commands) {
    if (reply.kind != Reply::Kind::error) return false;
    if (!has_code(reply.text, "NOPERM") && reply.text.find("unknown command") == std::string_view::npos) {
        return false;
    }
    const auto ends_at = [&](std::size_t at) {
        constexpr std::string_view beside_words = " '`\",:.";
        return at >= reply.text.size() || beside_words.find(reply.text[at]) != std::string_view::npos;
    };
    const auto names = [&](std::string_view command) {
        const std::size_t at = reply.text.find(command);
        return at != std::string_view::npos && at > 0 && ends_at(at - 1) && ends_at(at + command.size());
    };
    return std::any_of(commands.begin(), commands.end(), names);
}

/// An error that says that scripts cannot be run by their names: by their text they may be.
[[nodiscard]] inline bool is_evalsha_refused(const Reply& reply) {
    return forbids(reply, {"evalsha", "EVALSHA"});
}

/// An error that says that the node is not, or we are not, what the login said (R29).
[[nodiscard]] inline bool is_contradiction(const Reply& reply) {
    if (reply.kind != Reply::Kind::error) return false;
    for (const std::string_view code : {"READONLY", "MOVED", "ASK", "NOAUTH", "DENIED"}) {
        if (has_code(reply.text, code)) return true;
    }
    return forbids(reply, {"eval", "EVAL", "evalsha", "EVALSHA"});
}

[[nodiscard]] inline Answer read_acquire_reply(const Reply& reply) {
    if (reply.kind == Reply::Kind::text && reply.text == "OK") return {Vote::granted, {}, {}};
    if (reply.kind == Reply::Kind::nil) return {Vote::denied, {}, {}};
    Answer answer;
    if (reply.kind == Reply::Kind::array && !reply.elements.empty()) {
        const std::int64_t verdict = reply.elements.front().integer;
        for (const Reply& element : reply.elements) {
            if (element.kind != Reply::Kind::integer) return {Vote::refused, "an unexpected reply", {}};
            if (&element != &reply.elements.front()) answer.values.push_back(element.integer);
        }
        if (verdict == 1) answer.vote = Vote::granted;
        constexpr std::int64_t no_such_key = -2;  // as PTTL says it; an acquire is denied by what is there
        if (verdict == 0 && answer.values.size() == 2) {
            answer.vote = answer.values[1] == no_such_key ? Vote::absent : Vote::denied;
        }
    }
    if (answer.vote == Vote::refused) answer.text = "an unexpected reply";
    return answer;
}

/// The vote on a peek is granted where the node answered.
[[nodiscard]] inline Answer read_peek_reply(const Reply& reply) {
    Answer answer{Vote::granted, {}, {}};
    if (reply.kind != Reply::Kind::array || reply.elements.empty() || reply.elements.size() % 3 != 0) {
        return {Vote::refused, "an unexpected reply", {}};
    }
    for (const Reply& element : reply.elements) {
        if (element.kind == Reply::Kind::text) answer.text.append(element.text);
        if (element.kind == Reply::Kind::integer) answer.values.push_back(element.integer);
    }
    if (answer.values.size() * 3 != reply.elements.size() * 2) answer.vote = Vote::refused;
    return answer;
}

/// Only an explicit yes is a yes; an error is a refusal with the node's own text.
[[nodiscard]] inline Answer read_reply(Command::Kind kind, const Reply& reply) {
    if (reply.kind == Reply::Kind::error) return {Vote::refused, std::string{reply.text}, {}};
    if (kind == Command::Kind::acquire || kind == Command::Kind::adopt) return read_acquire_reply(reply);
    if (kind == Command::Kind::peek) return read_peek_reply(reply);
    const std::size_t values = kind == Command::Kind::extend ? 1 : kind == Command::Kind::enlist ? 3 : 0;
    if (values != 0 && reply.kind == Reply::Kind::array) {
        Answer answer = read_acquire_reply(reply);
        if (answer.vote == Vote::granted && answer.values.size() == values) return answer;
    }
    if (reply.kind == Reply::Kind::integer) {
        if (reply.integer == 1) return {Vote::granted, {}, {}};
        if (reply.integer == 2 && kind == Command::Kind::release) return {Vote::granted, {}, {1}};
        if (reply.integer == 0) return {Vote::denied, {}, {}};
        if (reply.integer == -1) return {Vote::absent, {}, {}};
    }
    return {Vote::refused, "an unexpected reply", {}};
}

/// The same. The text of an error is shown without the secrets of the request.
[[nodiscard]] inline Answer read_reply(const Command& command, const Reply& reply) {
    if (is_unknown_script(reply)) return {Vote::refused, "NOSCRIPT it does not know the script", {}};
    Answer answer = read_reply(command.kind(), reply);
    if (reply.kind == Reply::Kind::error) answer.text = scrubbed(reply.text, command.secrets());
    return answer;
}

}  // namespace redlock::inline v0_1::detail
