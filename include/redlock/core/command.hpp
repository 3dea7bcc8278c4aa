// What is said to a node, and how its reply becomes a vote.
#pragma once

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

#include "redlock/core/sha1.hpp"
#include "redlock/core/token.hpp"
#include "redlock/core/transport.hpp"
#include "redlock/result.hpp"

namespace redlock::detail {

/// A Lua script and the name that EVALSHA knows it by.
struct Script {
    std::string_view text;
    std::array<char, 40> sha1;
    explicit constexpr Script(std::string_view source) : text{source}, sha1{sha1_hex(source)} {}
};

// In every script KEYS are the resources, then (with fencing) their counters in the same order, and
// ARGV[1] is the token. Each is one atomic step on its node, for all its resources or for none.

/// ARGV: token, ttl. Grants all the resources or names the first that is held: {0, index, its PTTL}.
inline constexpr Script acquire_script{R"(
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return {0, i, redis.call('PTTL', KEYS[i])} end
end
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2]) end
return {1})"};

/// ARGV: token, ttl, fence_ttl, a proposal per resource. Grants with one fencing value per resource:
/// above the counter, and at the proposal where that is ahead; but no proposal may run more than a day
/// ahead of the node's own clock, so that one wild clock cannot spend the range of numbers. The counter
/// is written first: a failure between the two writes only skips a number.
inline constexpr Script fenced_acquire_script{R"(
local k = #KEYS / 2
for i = 1, k do
  if redis.call('EXISTS', KEYS[i]) == 1 then return {0, i, redis.call('PTTL', KEYS[i])} end
end
local time = redis.call('TIME')
local ceiling = time[1] * 1000000 + time[2] + 86400000000
local reply = {1}
for i = 1, k do
  local above = tonumber(redis.call('GET', KEYS[k + i]) or 0) + 1
  local fence = math.max(above, math.min(tonumber(ARGV[3 + i]), ceiling))
  redis.call('SET', KEYS[k + i], string.format('%.0f', fence), 'PX', ARGV[3])
  redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2])
  reply[1 + i] = fence
end
return reply)"};

/// ARGV: token, fence_ttl, a proposal per resource. As an acquire, for what is held already by this token:
/// whoever adopts it gets a fencing value of its own, above that of the holder before.
inline constexpr Script adopt_script{R"(
local k = #KEYS / 2
for i = 1, k do
  if redis.call('GET', KEYS[i]) ~= ARGV[1] then return {0, i, redis.call('PTTL', KEYS[i])} end
end
local time = redis.call('TIME')
local ceiling = time[1] * 1000000 + time[2] + 86400000000
local reply = {1}
for i = 1, k do
  local above = tonumber(redis.call('GET', KEYS[k + i]) or 0) + 1
  local fence = math.max(above, math.min(tonumber(ARGV[2 + i]), ceiling))
  redis.call('SET', KEYS[k + i], string.format('%.0f', fence), 'PX', ARGV[2])
  reply[1 + i] = fence
end
return reply)"};

/// ARGV: token, fence_ttl, the fencing value agreed on per resource. Raises the counters to it where the
/// resources are still ours and nothing larger was given out.
inline constexpr Script commit_script{R"(
local k = #KEYS / 2
for i = 1, k do
  if redis.call('GET', KEYS[i]) ~= ARGV[1] then return 0 end
  if tonumber(redis.call('GET', KEYS[k + i]) or 0) > tonumber(ARGV[2 + i]) then return 0 end
end
for i = 1, k do redis.call('SET', KEYS[k + i], ARGV[2 + i], 'PX', ARGV[2]) end
return 1)"};

/// ARGV: token, ttl, and with fencing: fence_ttl, our fencing value per resource; last 'exactly', where it
/// may shorten. Without that it does not: it may come late, when who adopted the lease has extended it
/// further. 1: extended; {1, PTTL}: so much was left already, and is; 0: not ours, or a larger fencing value
/// was given out since; -1: not there.
inline constexpr Script extend_script{R"(
local exactly = ARGV[#ARGV] == 'exactly'
local fenced = #ARGV > (exactly and 3 or 2)
local k = fenced and #KEYS / 2 or #KEYS
local absent = false
for i = 1, k do
  local owner = redis.call('GET', KEYS[i])
  if owner and owner ~= ARGV[1] then return 0 end
  if fenced and tonumber(redis.call('GET', KEYS[k + i]) or 0) > tonumber(ARGV[3 + i]) then return 0 end
  absent = absent or not owner
end
if absent then return -1 end
local longest = 0
for i = 1, k do
  local left = redis.call('PTTL', KEYS[i])
  if exactly or left < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  else
    longest = math.max(longest, left)
  end
  if fenced then redis.call('SET', KEYS[k + i], ARGV[3 + i], 'PX', ARGV[3]) end
end
if longest > 0 then return {1, longest} end
return 1)"};

/// ARGV as for extend, never 'exactly'. Puts a lease that a quorum still holds back on a node that lost it.
inline constexpr Script put_back_script{R"(
local fenced = #ARGV > 2
local k = fenced and #KEYS / 2 or #KEYS
for i = 1, k do
  local owner = redis.call('GET', KEYS[i])
  if owner and owner ~= ARGV[1] then return 0 end
  if fenced and tonumber(redis.call('GET', KEYS[k + i]) or 0) > tonumber(ARGV[3 + i]) then return 0 end
end
for i = 1, k do
  if fenced then redis.call('SET', KEYS[k + i], ARGV[3 + i], 'PX', ARGV[3]) end
  redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2])
end
return 1)"};

/// ARGV: token, and where waiters are to be called the queues of the resources (no KEYS: who has no
/// permission for them must be able to release). Deletes what is ours and nothing else, and calls the
/// first waiter of what it freed: pops "channel number" from the queue and publishes "number resource"
/// there; one whom nobody hears any more is passed over. 1: all of it was ours; 2: and somebody was called;
/// 0: it was not.
inline constexpr Script release_script{R"(
local function call_next(queue, resource)
  for _ = 1, 100 do
    local first = redis.pcall('ZPOPMIN', queue)
    if first.err or not first[1] then return end
    local channel, number = string.match(first[1], '^(%S+) (%S+)$')
    local heard = channel and redis.pcall('PUBLISH', channel, number .. ' ' .. resource) or 0
    if type(heard) ~= 'number' then return end
    if heard > 0 then return 1 end
  end
end
local called
local freed = 0
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then
    freed = freed + redis.call('DEL', KEYS[i])
    if ARGV[1 + i] then called = call_next(ARGV[1 + i], KEYS[i]) or called end
  end
end
if freed < #KEYS then return 0 end
return called and 2 or 1)"};

/// KEYS: resources, then their queues. ARGV: "channel number", since when it waits, how long the queue
/// lives. 1: it is in the queue of what is held; 0: all is free, try at once.
inline constexpr Script enlist_script{R"(
local k = #KEYS / 2
local held = 0
for i = 1, k do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    held = 1
    redis.call('ZADD', KEYS[k + i], ARGV[2], ARGV[1])
    if redis.call('PTTL', KEYS[k + i]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[k + i], ARGV[3]) end
  end
end
return held)"};

/// KEYS: resources, then their queues. ARGV: "channel number" of one who leaves the queue. Where it is not
/// there any more it has been called, and if the resource is still free it did not use that: the next is
/// called.
inline constexpr Script delist_script{R"(
local k = #KEYS / 2
for i = 1, k do
  local was_called = redis.call('ZREM', KEYS[k + i], ARGV[1]) == 0 and redis.call('EXISTS', KEYS[i]) == 0
  for _ = 1, was_called and 100 or 0 do
    local first = redis.call('ZPOPMIN', KEYS[k + i])
    if not first[1] then break end
    local channel, number = string.match(first[1], '^(%S+) (%S+)$')
    if channel and redis.call('PUBLISH', channel, number .. ' ' .. KEYS[i]) > 0 then break end
  end
end
return 1)"};

/// KEYS always with counters. Per resource: a digest of the holder's token ('' when free), PTTL, counter.
/// Changes nothing.
inline constexpr Script peek_script{R"(
local k = #KEYS / 2
local reply = {}
for i = 1, k do
  local owner = redis.call('GET', KEYS[i])
  reply[#reply + 1] = owner and string.sub(redis.sha1hex(owner), 1, 8) or ''
  reply[#reply + 1] = redis.call('PTTL', KEYS[i])
  reply[#reply + 1] = tonumber(redis.call('GET', KEYS[k + i]) or 0)
end
return reply)"};

/// A key beside a resource, on the resource's hash slot (which its first '{…}' decides, where it has one).
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
[[nodiscard]] inline std::string fence_key(std::string_view resource, std::string_view suffix = "fence") {
    return companion_key(resource, suffix);
}

/// The key of the queue of those who wait for a resource.
[[nodiscard]] inline std::string queue_key(std::string_view resource, std::string_view suffix = "queue") {
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

    RequestWriter& arg(std::chrono::milliseconds duration) {
        return arg(static_cast<std::int64_t>(duration.count()));
    }

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
                                            std::span<const std::int64_t> fences) {
    auto [writer, tail] = begin_script(commit_script, claim.resources, claim.counters, 2 + fences.size());
    writer.arg(token.str()).arg(fence_ttl);
    for (const std::int64_t fence : fences) writer.arg(fence);
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

/// All scripts, for a connection to begin with.
inline constexpr std::array<const Script*, 9> all_scripts{
    &acquire_script,  &fenced_acquire_script, &adopt_script,  &commit_script, &extend_script,
    &put_back_script, &release_script,        &enlist_script, &delist_script};

/// A reply, read as a vote.
struct Answer {
    Vote vote = Vote::refused;
    std::string words;
    /// Of an acquire or adopt, granted: the fencing values; denied: index from 1, PTTL in ms. Of an extend
    /// that had no need to: PTTL in ms. Of a peek per resource: PTTL in ms, counter (and in `words` the
    /// digests, 8 digits each). Of a release: one, if a waiter was called.
    std::vector<std::int64_t> values;
};

[[nodiscard]] inline bool is_unknown_script(const Reply& reply) noexcept {
    return reply.kind == Reply::Kind::error && reply.text.starts_with("NOSCRIPT");
}

/// A refusal that ends by itself.
[[nodiscard]] inline bool is_passing_refusal(const Reply& reply) noexcept {
    if (reply.kind != Reply::Kind::error) return false;
    return reply.text.starts_with("LOADING") || reply.text.starts_with("BUSY") ||
           reply.text.starts_with("MASTERDOWN");
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
    if (answer.vote == Vote::refused) answer.words = "an unexpected reply";
    return answer;
}

/// Granted: it answered.
[[nodiscard]] inline Answer read_peek_reply(const Reply& reply) {
    Answer answer{Vote::granted, {}, {}};
    if (reply.kind != Reply::Kind::array || reply.elements.empty() || reply.elements.size() % 3 != 0) {
        return {Vote::refused, "an unexpected reply", {}};
    }
    for (const Reply& element : reply.elements) {
        if (element.kind == Reply::Kind::text) answer.words.append(element.text);
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
    if (kind == Command::Kind::extend && reply.kind == Reply::Kind::array) {
        Answer answer = read_acquire_reply(reply);
        if (answer.vote == Vote::granted && answer.values.size() == 1) return answer;
    }
    if (reply.kind == Reply::Kind::integer) {
        if (reply.integer == 1) return {Vote::granted, {}, {}};
        if (reply.integer == 2 && kind == Command::Kind::release) return {Vote::granted, {}, {1}};
        if (reply.integer == 0) return {Vote::denied, {}, {}};
        if (reply.integer == -1) return {Vote::absent, {}, {}};
    }
    return {Vote::refused, "an unexpected reply", {}};
}

}  // namespace redlock::detail
