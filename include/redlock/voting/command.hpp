// SPDX-License-Identifier: Apache-2.0
// What is said to a node, and how its reply becomes a vote. The scripts are in scripts.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/engine/transport.hpp"
#include "redlock/result.hpp"
#include "redlock/text/scrub.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/scripts.hpp"

namespace redlock::inline v0_1::detail {

/// A key beside a resource, on the resource's hash slot (which its first '{…}' decides, where it has one),
/// but for a name with a '}' and no such tag, as `a}b` and `{}x`: a tag ends at its first '}', so that none
/// can stand for the whole name, and a server in cluster mode refuses it with CROSSSLOT. No two names share a
/// key.
[[nodiscard]] inline std::string companion_key(std::string_view resource, std::string_view suffix) {
    const std::size_t open = resource.find('{');
    const std::size_t close = open == std::string_view::npos ? open : resource.find('}', open);
    const bool is_tagged = close != std::string_view::npos && close > open + 1;
    std::string key;
    key.reserve(resource.size() + suffix.size() + 3);
    if (!is_tagged) key.push_back('{');
    key.append(resource).append(is_tagged ? "::" : "}:").append(suffix);  // "x" and "{x}" are two resources
    return key;
}

/// The key of a resource's fencing counter.
[[nodiscard]] inline std::string fence_key(std::string_view resource,
                                           std::string_view suffix = "redlock-fence") {
    return companion_key(resource, suffix);
}

/// The key of the queue of those who wait for a resource.
[[nodiscard]] inline std::string queue_key(std::string_view resource,
                                           std::string_view suffix = "redlock-queue") {
    return companion_key(resource, suffix);
}

/// Writes a request in RESP, the protocol that all servers speak.
class RequestWriter {
   public:
    explicit RequestWriter(std::size_t argument_count) { header('*', argument_count); }

    RequestWriter& arg(std::string_view text) {
        header('$', text.size());
        bytes_.append(text).append("\r\n");
        return *this;
    }

    RequestWriter& arg(std::int64_t number) {
        std::array<char, 20> digits{};
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
        return arg(std::string_view{digits.data(), static_cast<std::size_t>(end - digits.data())});
    }

    RequestWriter& arg(std::chrono::milliseconds duration) { return arg(std::int64_t{duration.count()}); }

    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
    [[nodiscard]] std::string take() && { return std::move(bytes_); }

   private:
    void header(char kind, std::size_t value) {
        bytes_.push_back(kind);
        bytes_.append(std::to_string(value)).append("\r\n");
    }

    std::string bytes_;
};

/// One request, the same for every node.
class Command {
   public:
    enum class Kind : std::uint8_t {
        acquire,
        adopt,
        commit,
        extend,
        put_back,
        release,
        peek,
        enlist,
        delist,
        load
    };

    Command(Kind kind, std::string bytes) : kind_{kind}, bytes_{std::move(bytes)} {}
    Command(Kind kind, const Script& script, std::string bytes, std::size_t tail)
        : kind_{kind}, script_{&script}, tail_{tail}, bytes_{std::move(bytes)} {}

    [[nodiscard]] Kind kind() const noexcept { return kind_; }
    [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }
    [[nodiscard]] const Script* script() const noexcept { return script_; }

    /// The same request with the script's text in place of its name, for a node that does not know it.
    [[nodiscard]] std::string with_script_text() const {
        const std::size_t count = bytes_.find("\r\n");
        std::string full = bytes_.substr(0, count + 2);
        full.append("$4\r\nEVAL\r\n$").append(std::to_string(script_->text.size())).append("\r\n");
        full.append(script_->text).append("\r\n").append(bytes_, tail_);
        return full;
    }

    /// What it says, the command's name first; views of its bytes. For errors: not fast.
    [[nodiscard]] std::vector<std::string_view> arguments() const {
        std::string_view rest = bytes_;
        const auto number = [&rest] {
            const std::size_t end = rest.find("\r\n");
            std::size_t value = 0;
            std::from_chars(rest.data() + 1, rest.data() + end, value);
            rest.remove_prefix(end + 2);
            return value;
        };
        std::vector<std::string_view> list(number());
        for (std::string_view& argument : list) {
            const std::size_t size = number();
            argument = rest.substr(0, size);
            rest.remove_prefix(size + 2);
        }
        return list;
    }

    /// The keys, tokens and names in it, which no message may show (R31).
    [[nodiscard]] std::vector<std::string_view> secrets() const {
        std::vector<std::string_view> list = arguments();
        if (kind_ == Kind::load || list.size() < 3) return {};
        if (script_ == nullptr) return {list[1], list[2]};  // SET key token
        // EVALSHA name count keys... token, or whoever waits..., numbers and flags
        std::size_t key_count = 0;
        std::from_chars(list[2].data(), list[2].data() + list[2].size(), key_count);
        list.erase(list.begin(), list.begin() + 3);
        const std::size_t first_known = std::min(key_count + 1, list.size());
        const auto is_known = [](std::string_view argument) {
            const bool is_number = argument.find_first_not_of("-0123456789") == std::string_view::npos;
            return is_number || argument == "exactly" || argument == "above";
        };
        list.erase(
            std::remove_if(list.begin() + static_cast<std::ptrdiff_t>(first_known), list.end(), is_known),
            list.end());
        return list;
    }

   private:
    Kind kind_;
    const Script* script_ = nullptr;
    std::size_t tail_ = 0;  // where what follows the script's name begins
    std::string bytes_;
};

/// What a claim is about: the resources, and the fencing counters beside them when fencing is on.
struct Claim {
    std::vector<std::string> resources{};
    std::vector<std::string> counters{};  ///< empty without fencing
    std::vector<std::string> queues{};    ///< empty where the release calls nobody
    [[nodiscard]] bool is_fenced() const noexcept { return !counters.empty(); }
};

/// The beginning of an EVALSHA: script, key count, the claim's keys.
[[nodiscard]] inline std::pair<RequestWriter, std::size_t> begin_script(
    const Script& script, std::span<const std::string> keys, std::span<const std::string> more_keys,
    std::size_t argument_count) {
    const std::size_t key_count = keys.size() + more_keys.size();
    RequestWriter writer{3 + key_count + argument_count};
    writer.arg("EVALSHA").arg(std::string_view{script.sha1.data(), script.sha1.size()});
    const std::size_t tail = writer.size();
    writer.arg(static_cast<std::int64_t>(key_count));
    for (const std::string& key : keys) writer.arg(key);
    for (const std::string& key : more_keys) writer.arg(key);
    return {std::move(writer), tail};
}

/// SET resource token NX PX ttl, or the script that does as much and more.
[[nodiscard]] inline Command acquire_command(const Claim& claim, const Token& token,
                                             std::chrono::milliseconds ttl,
                                             std::chrono::milliseconds fence_ttl,
                                             std::span<const std::int64_t> proposals) {
    constexpr auto kind = Command::Kind::acquire;
    if (!claim.is_fenced() && claim.resources.size() == 1) {
        RequestWriter writer{6};
        writer.arg("SET").arg(claim.resources.front()).arg(token.str()).arg("NX").arg("PX").arg(ttl);
        return {kind, std::move(writer).take()};
    }
    const Script& script = claim.is_fenced() ? fenced_acquire_script : acquire_script;
    auto [writer, tail] =
        begin_script(script, claim.resources, claim.counters, claim.is_fenced() ? 3 + proposals.size() : 2);
    writer.arg(token.str()).arg(ttl);
    if (claim.is_fenced()) writer.arg(fence_ttl);
    for (const std::int64_t proposal : proposals) writer.arg(proposal);
    return {kind, script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command adopt_command(const Claim& claim, const Token& token,
                                           std::chrono::milliseconds fence_ttl,
                                           std::span<const std::int64_t> proposals) {
    auto [writer, tail] = begin_script(adopt_script, claim.resources, claim.counters, 2 + proposals.size());
    writer.arg(token.str()).arg(fence_ttl);
    for (const std::int64_t proposal : proposals) writer.arg(proposal);
    return {Command::Kind::adopt, adopt_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command commit_command(const Claim& claim, const Token& token,
                                            std::chrono::milliseconds fence_ttl,
                                            std::span<const std::int64_t> fences, bool above = false) {
    const std::size_t count = 2 + fences.size() + (above ? 1 : 0);
    auto [writer, tail] = begin_script(commit_script, claim.resources, claim.counters, count);
    writer.arg(token.str()).arg(fence_ttl);
    for (const std::int64_t fence : fences) writer.arg(fence);
    if (above) writer.arg("above");
    return {Command::Kind::commit, commit_script, std::move(writer).take(), tail};
}

/// Extend or put back, which take the same words; an extension may be one that shortens.
[[nodiscard]] inline Command hold_command(Command::Kind kind, const Claim& claim, const Token& token,
                                          std::chrono::milliseconds ttl, std::chrono::milliseconds fence_ttl,
                                          std::span<const std::int64_t> fences, bool exactly = false) {
    const Script& script = kind == Command::Kind::put_back ? put_back_script : extend_script;
    const std::size_t count = (claim.is_fenced() ? 3 + fences.size() : 2) + (exactly ? 1 : 0);
    auto [writer, tail] = begin_script(script, claim.resources, claim.counters, count);
    writer.arg(token.str()).arg(ttl);
    if (claim.is_fenced()) writer.arg(fence_ttl);
    for (const std::int64_t fence : fences) writer.arg(fence);
    if (exactly) writer.arg("exactly");
    return {kind, script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command release_command(const Claim& claim, const Token& token) {
    auto [writer, tail] = begin_script(release_script, claim.resources, {}, 1 + claim.queues.size());
    writer.arg(token.str());
    for (const std::string& queue : claim.queues) writer.arg(queue);
    return {Command::Kind::release, release_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command enlist_command(const Claim& claim, std::string_view waiter, std::int64_t since,
                                            std::chrono::milliseconds life) {
    auto [writer, tail] = begin_script(enlist_script, claim.resources, claim.queues, 3);
    writer.arg(waiter).arg(since).arg(life);
    return {Command::Kind::enlist, enlist_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command delist_command(const Claim& claim, std::string_view waiter) {
    auto [writer, tail] = begin_script(delist_script, claim.resources, claim.queues, 1);
    writer.arg(waiter);
    return {Command::Kind::delist, delist_script, std::move(writer).take(), tail};
}

[[nodiscard]] inline Command peek_command(std::span<const std::string> resources,
                                          std::span<const std::string> counters) {
    auto [writer, tail] = begin_script(peek_script, resources, counters, 0);
    return {Command::Kind::peek, peek_script, std::move(writer).take(), tail};
}

/// Makes a node know a script, and runs nothing.
[[nodiscard]] inline Command load_command(const Script& script) {
    RequestWriter writer{3};
    writer.arg("SCRIPT").arg("LOAD").arg(script.text);
    return {Command::Kind::load, std::move(writer).take()};
}

/// A reply, read as a vote.
struct Answer {
    Vote vote = Vote::refused;
    std::string text;
    /// Of an acquire or adopt, granted: the fencing values; denied: index from 1, PTTL in ms. Of an extend
    /// that had no need to: PTTL in ms. Of a peek per resource: PTTL in ms, counter, -1 where it is not ours
    /// (and in `words` the digests, 8 digits each). Of a release: one, if a waiter was called. Of one who
    /// lines up: how long the holder has, how many are before it, and a digest of who holds.
    std::vector<std::int64_t> values;
};

[[nodiscard]] inline bool is_unknown_script(const Reply& reply) noexcept {
    return reply.kind == Reply::Kind::error && reply.text.starts_with("NOSCRIPT");
}

/// Whether an error is of this kind. What a script's command met is in the middle, before Redis 7.
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

/// An error that says that the node is not, or we are not, what the log-in said (R29).
[[nodiscard]] inline bool is_contradiction(const Reply& reply) {
    if (reply.kind != Reply::Kind::error) return false;
    for (const std::string_view code : {"READONLY", "MOVED", "ASK", "NOAUTH", "DENIED"}) {
        if (has_code(reply.text, code)) return true;
    }
    const bool is_forbidden =
        has_code(reply.text, "NOPERM") || reply.text.find("unknown command") != std::string_view::npos;
    const bool names_evalsha = reply.text.find("evalsha") != std::string_view::npos ||
                               reply.text.find("EVALSHA") != std::string_view::npos;
    return is_forbidden && names_evalsha;
}

[[nodiscard]] inline Answer read_acquire_reply(const Reply& reply) {
    if (reply.kind == Reply::Kind::text && reply.text == "OK") return {Vote::granted, {}, {}};
    if (reply.kind == Reply::Kind::nil) return {Vote::denied, {}, {}};
    Answer answer;
    if (reply.kind == Reply::Kind::array && !reply.elements.empty()) {
        const std::int64_t verdict = reply.elements.front().integer;
        for (const Reply& element : reply.elements.subspan(1)) {
            if (element.kind != Reply::Kind::integer) return {Vote::refused, "an unexpected reply", {}};
            answer.values.push_back(element.integer);
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

/// Granted: it answered.
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

/// Only an explicit yes is a yes; an error is a refusal in the node's own words.
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

/// The same, and where it is an error without what was said in the request.
[[nodiscard]] inline Answer read_reply(const Command& command, const Reply& reply) {
    if (is_unknown_script(reply)) return {Vote::refused, "NOSCRIPT it does not know the script", {}};
    Answer answer = read_reply(command.kind(), reply);
    if (reply.kind == Reply::Kind::error) answer.text = scrubbed(reply.text, command.secrets());
    return answer;
}

}  // namespace redlock::inline v0_1::detail
