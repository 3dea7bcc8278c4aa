// The Lua scripts: each is one atomic step on its node.
#pragma once

#include <array>
#include <string_view>

#include "redlock/core/sha1.hpp"

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

/// ARGV: token, fence_ttl, the fencing value agreed on per resource; last 'above', where the counters must be
/// below it. Raises them to it where the resources are still ours and nothing larger was given out. Who holds
/// by a token of its own may find the value there already, as its own grant; among several who adopt by one
/// token, as another's.
inline constexpr Script commit_script{R"(
local k = #KEYS / 2
local above = ARGV[#ARGV] == 'above' and 1 or 0
for i = 1, k do
  if redis.call('GET', KEYS[i]) ~= ARGV[1] then return 0 end
  if tonumber(redis.call('GET', KEYS[k + i]) or 0) + above > tonumber(ARGV[2 + i]) then return 0 end
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

/// All scripts, for a connection to begin with.
inline constexpr std::array<const Script*, 9> all_scripts{
    &acquire_script,  &fenced_acquire_script, &adopt_script,  &commit_script, &extend_script,
    &put_back_script, &release_script,        &enlist_script, &delist_script};

}  // namespace redlock::detail
