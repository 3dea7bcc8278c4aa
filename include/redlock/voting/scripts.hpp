// SPDX-License-Identifier: Apache-2.0
// The Lua scripts: each is one atomic step on its node.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "redlock/voting/sha1.hpp"

namespace redlock::inline v0_1::detail {

/// A Lua script, and its place in `every_script`.
struct Script {
    std::size_t index;
    std::string_view text;
};

/// Texts one after another, as one text.
template <const std::string_view&... Parts>
struct Joined {
    static constexpr auto letters = [] {
        std::array<char, (Parts.size() + ...)> joined{};
        auto end = joined.begin();
        ((end = std::copy(Parts.begin(), Parts.end(), end)), ...);
        return joined;
    }();
    static constexpr std::string_view text{letters.data(), letters.size()};
};

/// Functions that scripts share: a script is these, as far as it needs them, and its own text. They look at
/// what is at a key before anything is changed, since it may be another's (R30).
namespace lua {

/// The reply; nil where the key holds what is not of the command's type. Any other error ends the script,
/// as it does for redis.call.
inline constexpr std::string_view ask = R"(
local function ask(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then return nil end
  return redis.call(...)
end)";

/// A counter, and its PTTL: 0 and -2 where there is none; nothing where it is not in our form. What has no
/// ttl is given none.
inline constexpr std::string_view counters = R"(
local largest = 9007199254740991
local function counter_at(key)
  local text = ask('GET', key)
  if text == false then return 0, -2 end
  local number = text and string.find(text, '^%d+$') and tonumber(text)
  if number and number <= largest then return number, redis.call('PTTL', key) end
end
local function set_counter(key, left, text, ttl)
  if left == -1 then redis.call('SET', key, text) else redis.call('SET', key, text, 'PX', ttl) end
end
local function foreign(i)
  return redis.error_reply('FOREIGN the fencing counter of resource ' .. i ..
    ' is no number, or has no room below 2^53')
end)";

/// For k resources the next values of their counters, and the PTTLs: above the counter, and at the proposal
/// where that is ahead; the proposals follow ARGV[at]. But no proposal may run more than a day ahead of the
/// node's own clock, so that one wild clock cannot spend the range of numbers: one that is within a day of
/// the counter need not be compared to it. Nothing, and which, where a counter cannot be counted on.
inline constexpr std::string_view next_values = R"(
local function next_values(k, at)
  local values, lefts, ceiling = {}, {}, nil
  for i = 1, k do
    local counter, left = counter_at(KEYS[k + i])
    if not counter or counter == largest then return nil, i end
    local proposal = math.min(tonumber(ARGV[at + i]), largest)
    if left == -2 or proposal > counter + 86400000000 then
      if not ceiling then
        local time = redis.call('TIME')
        ceiling = time[1] * 1000000 + time[2] + 86400000000
      end
      proposal = math.min(proposal, ceiling)
    end
    values[i] = math.max(counter + 1, proposal)
    lefts[i] = left
  end
  return values, lefts
end)";

/// A waiter's channel and number, where it is one of ours.
inline constexpr std::string_view waiters = R"(
local function waiter_in(member)
  local channel, number = string.match(member, '^(redlock:[0-9a-f]+) (%d+)$')
  if channel and #channel == 48 then return channel, number end
end)";

/// The PTTL of a queue; -2 where there is none; nothing where it is not ours.
inline constexpr std::string_view queues = R"(
local function left_of(queue)
  local left = redis.call('PTTL', queue)
  if left == -2 then return left end
  local first = left >= 0 and ask('ZRANGE', queue, 0, 0)
  if first and waiter_in(first[1]) then return left end
end)";

/// Notifies the first waiter of a queue of ours: removes "channel number" from it and publishes "number
/// resource" on that channel. A waiter whose channel has no subscriber any more is passed over. A client
/// without a permission for this notifies nobody.
inline constexpr std::string_view notify_next = R"(
local function notify_next(queue, resource)
  local left = redis.pcall('PTTL', queue)
  if type(left) ~= 'number' or left < 0 then return end
  for _ = 1, 100 do
    local first = redis.pcall('ZRANGE', queue, 0, 0)
    if first.err or not first[1] then return end
    local channel, number = waiter_in(first[1])
    if not channel or redis.pcall('ZREM', queue, first[1]) ~= 1 then return end
    local heard = redis.pcall('PUBLISH', channel, number .. ' ' .. resource)
    if type(heard) ~= 'number' then return end
    if heard > 0 then return 1 end
  end
end)";

}  // namespace lua

// In every script KEYS are the resources, then (with fencing) their counters in the same order, and
// ARGV[1] is the token. Each is one atomic step on its node, for all its resources or for none.

/// ARGV: token, ttl. Grants all the resources or names the first that is held: {0, index, its PTTL}.
inline constexpr Script acquire_script{0, R"(
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return {0, i, redis.call('PTTL', KEYS[i])} end
end
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2]) end
return {1})"};

/// ARGV: token, ttl, fence_ttl, a proposal per resource. Grants with one fencing value per resource. The
/// counter is written first: a failure between the two writes only skips a number.
inline constexpr std::string_view fenced_acquire_text = R"(
local k = #KEYS / 2
for i = 1, k do
  if redis.call('EXISTS', KEYS[i]) == 1 then return {0, i, redis.call('PTTL', KEYS[i])} end
end
local values, lefts = next_values(k, 3)
if not values then return foreign(lefts) end
for i = 1, k do
  set_counter(KEYS[k + i], lefts[i], string.format('%.0f', values[i]), ARGV[3])
  redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2])
end
return {1, unpack(values)})";
inline constexpr Script fenced_acquire_script{
    1, Joined<lua::ask, lua::counters, lua::next_values, fenced_acquire_text>::text};

/// ARGV: token, fence_ttl, a proposal per resource. As an acquire, for what is held already by this token:
/// whoever adopts it gets a fencing value of its own, above that of the holder before.
inline constexpr std::string_view adopt_text = R"(
local k = #KEYS / 2
for i = 1, k do
  if ask('GET', KEYS[i]) ~= ARGV[1] then return {0, i, redis.call('PTTL', KEYS[i])} end
end
local values, lefts = next_values(k, 2)
if not values then return foreign(lefts) end
for i = 1, k do set_counter(KEYS[k + i], lefts[i], string.format('%.0f', values[i]), ARGV[2]) end
return {1, unpack(values)})";
inline constexpr Script adopt_script{2, Joined<lua::ask, lua::counters, lua::next_values, adopt_text>::text};

/// ARGV: token, fence_ttl, the fencing value agreed on per resource; last 'above', where the counters must be
/// below it. Raises them to it where the resources are still ours and nothing larger was given out. A client
/// with a token of its own may find the value there already, as its own grant; one of several that adopt by
/// the same token, as another's.
inline constexpr std::string_view commit_text = R"(
local k = #KEYS / 2
local above = ARGV[#ARGV] == 'above' and 1 or 0
local lefts = {}
for i = 1, k do
  if ask('GET', KEYS[i]) ~= ARGV[1] then return 0 end
  local counter, left = counter_at(KEYS[k + i])
  if not counter or tonumber(ARGV[2 + i]) > largest then return foreign(i) end
  if counter + above > tonumber(ARGV[2 + i]) then return 0 end
  lefts[i] = left
end
for i = 1, k do set_counter(KEYS[k + i], lefts[i], ARGV[2 + i], ARGV[2]) end
return 1)";
inline constexpr Script commit_script{3, Joined<lua::ask, lua::counters, commit_text>::text};

/// ARGV: token, ttl, and with fencing: fence_ttl, our fencing value per resource; last 'exactly', where it
/// may shorten. Without that it does not: it may come late, when the client that adopted the lease has
/// extended it further. 1: extended; {1, PTTL}: that much was left already, and still is; 0: not ours, or a
/// larger fencing value was given out since; -1: not there.
inline constexpr std::string_view extend_text = R"(
local exactly = ARGV[#ARGV] == 'exactly'
local fenced = #ARGV > (exactly and 3 or 2)
local k = fenced and #KEYS / 2 or #KEYS
local absent = false
local lefts = {}
for i = 1, k do
  local owner = ask('GET', KEYS[i])
  if owner ~= false and owner ~= ARGV[1] then return 0 end
  if fenced then
    local counter, left = counter_at(KEYS[k + i])
    if not counter or tonumber(ARGV[3 + i]) > largest then return foreign(i) end
    if counter > tonumber(ARGV[3 + i]) then return 0 end
    lefts[i] = left
  end
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
  if fenced then set_counter(KEYS[k + i], lefts[i], ARGV[3 + i], ARGV[3]) end
end
if longest > 0 then return {1, longest} end
return 1)";
inline constexpr Script extend_script{4, Joined<lua::ask, lua::counters, extend_text>::text};

/// ARGV as for extend, never 'exactly'. Puts a lease that a quorum still holds back on a node that lost it.
inline constexpr std::string_view put_back_text = R"(
local fenced = #ARGV > 2
local k = fenced and #KEYS / 2 or #KEYS
local lefts = {}
for i = 1, k do
  local owner = ask('GET', KEYS[i])
  if owner ~= false and owner ~= ARGV[1] then return 0 end
  if fenced then
    local counter, left = counter_at(KEYS[k + i])
    if not counter or tonumber(ARGV[3 + i]) > largest then return foreign(i) end
    if counter > tonumber(ARGV[3 + i]) then return 0 end
    lefts[i] = left
  end
end
for i = 1, k do
  if fenced then set_counter(KEYS[k + i], lefts[i], ARGV[3 + i], ARGV[3]) end
  redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2])
end
return 1)";
inline constexpr Script put_back_script{5, Joined<lua::ask, lua::counters, put_back_text>::text};

/// ARGV: token, and where waiters are to be notified the queues of the resources (not as KEYS: a client
/// without a permission for them must be able to release). Deletes the keys that are ours and nothing else,
/// and notifies the first waiter for what it freed. 1: all were ours; 2: and a waiter was notified; 0: they
/// were not.
inline constexpr std::string_view release_text = R"(
local called
local freed = 0
for i = 1, #KEYS do
  if ask('GET', KEYS[i]) == ARGV[1] then
    freed = freed + redis.call('DEL', KEYS[i])
    if ARGV[1 + i] then called = notify_next(ARGV[1 + i], KEYS[i]) or called end
  end
end
if freed < #KEYS then return 0 end
return called and 2 or 1)";
inline constexpr Script release_script{6,
                                       Joined<lua::ask, lua::waiters, lua::notify_next, release_text>::text};

/// KEYS: resources, then their queues. ARGV: "channel number", since when it waits, how long the queue
/// lives. {1, PTTL, rank, holder}: it is in the queue. The resource is held for at most PTTL (2^53 - 1: no
/// end is known), `rank` waiters are before it, and `holder` is a digest of the holder's token. 0: all is
/// free, try at once.
inline constexpr std::string_view enlist_text = R"(
local k = #KEYS / 2
local lefts = {}
for i = 1, k do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    lefts[i] = left_of(KEYS[k + i])
    if not lefts[i] then
      return redis.error_reply('FOREIGN the queue of resource ' .. i .. ' is not one of ours')
    end
  end
end
if not next(lefts) then return 0 end
local longest, last, holders = 0, 0, ''
for i = 1, k do
  if lefts[i] then
    redis.call('ZADD', KEYS[k + i], ARGV[2], ARGV[1])
    if lefts[i] < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[k + i], ARGV[3]) end
    local left = redis.call('PTTL', KEYS[i])
    longest = math.max(longest, left < 0 and 9007199254740991 or left)
    local rank = redis.pcall('ZRANK', KEYS[k + i], ARGV[1])
    if type(rank) == 'number' then last = math.max(last, rank) end
    local holder = redis.pcall('GET', KEYS[i])
    if type(holder) == 'string' then holders = holders .. holder end
  end
end
return {1, longest, last, tonumber(string.sub(redis.sha1hex(holders), 1, 12), 16)})";
inline constexpr Script enlist_script{7, Joined<lua::ask, lua::waiters, lua::queues, enlist_text>::text};

/// KEYS: resources, then their queues. ARGV: "channel number" of a waiter that leaves the queue. Where it is
/// not there any more it has been notified; if the resource is still free it has not used that, and the next
/// is notified.
inline constexpr std::string_view delist_text = R"(
local k = #KEYS / 2
for i = 1, k do
  local is_ours = (left_of(KEYS[k + i]) or -2) >= 0
  if is_ours and redis.call('ZREM', KEYS[k + i], ARGV[1]) == 0 and redis.call('EXISTS', KEYS[i]) == 0 then
    notify_next(KEYS[k + i], KEYS[i])
  end
end
return 1)";
inline constexpr Script delist_script{
    8, Joined<lua::ask, lua::waiters, lua::queues, lua::notify_next, delist_text>::text};

/// KEYS always with counters. Per resource: a digest of the holder's token ('' when free), PTTL, counter (-1
/// where it is not in our form). Changes nothing.
inline constexpr std::string_view peek_text = R"(
local k = #KEYS / 2
local reply = {}
for i = 1, k do
  local owner = redis.call('GET', KEYS[i])
  reply[#reply + 1] = owner and string.sub(redis.sha1hex(owner), 1, 8) or ''
  reply[#reply + 1] = redis.call('PTTL', KEYS[i])
  reply[#reply + 1] = counter_at(KEYS[k + i]) or -1
end
return reply)";
inline constexpr Script peek_script{9, Joined<lua::ask, lua::counters, peek_text>::text};

inline constexpr std::array<const Script*, 10> every_script{
    &acquire_script,  &fenced_acquire_script, &adopt_script,  &commit_script, &extend_script,
    &put_back_script, &release_script,        &enlist_script, &delist_script, &peek_script};

/// What a connection loads before its first request: all but the script that only inspection needs.
inline constexpr std::span<const Script* const> loaded_scripts = std::span{every_script}.first<9>();

/// The name that EVALSHA knows a script by: 40 hex digits. Computed when the first is asked for; at compile
/// time it would cost every user of the header a second. Thread-safe.
[[nodiscard]] inline std::string_view sha1_of(const Script& script) {
    static const auto names = [] {
        std::array<std::array<char, 40>, every_script.size()> all{};
        for (const Script* one : every_script) all[one->index] = sha1_hex(one->text);
        return all;
    }();
    return {names[script.index].data(), names[script.index].size()};
}

}  // namespace redlock::inline v0_1::detail
