// SPDX-License-Identifier: Apache-2.0
#include "unit/memory_node.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/voting/scripts.hpp"

namespace redlock::test {

Request words_of(std::string_view bytes) {
    const auto number = [&bytes] {
        const std::size_t end = bytes.find("\r\n");
        const std::size_t value = std::stoul(std::string{bytes.substr(1, end - 1)});
        bytes.remove_prefix(end + 2);
        return value;
    };
    Request words(number());
    for (std::string& word : words) {
        const std::size_t size = number();
        word = bytes.substr(0, size);
        bytes.remove_prefix(size + 2);
    }
    return words;
}

std::string kind_of(const Request& request) {
    if (request.at(0) == "SET") return "acquire";
    if (request.at(0) != "EVALSHA" && request.at(0) != "EVAL") return request.at(0);
    const std::pair<const detail::Script*, const char*> known[] = {
        {&detail::acquire_script, "acquire"}, {&detail::fenced_acquire_script, "acquire"},
        {&detail::adopt_script, "adopt"},     {&detail::commit_script, "commit"},
        {&detail::extend_script, "extend"},   {&detail::put_back_script, "put_back"},
        {&detail::release_script, "release"}, {&detail::enlist_script, "enlist"},
        {&detail::delist_script, "delist"},
    };
    for (const auto& [script, name] : known) {
        const std::string_view sha1 = detail::sha1_of(*script);
        if (request.at(1) == sha1 || request.at(1) == script->text) return name;
    }
    return "an unknown script";
}

std::string token_of(const Request& request) {
    if (request.at(0) == "SET") return request.at(2);
    return request.at(3 + std::stoul(request.at(2)));
}

std::optional<std::string> MemoryNode::get(const std::string& key, Time now) const {
    const auto found = keys_.find(key);
    if (found == keys_.end() || found->second.expires <= now) return std::nullopt;
    return found->second.value;
}

MemoryNode::Time MemoryNode::time_to_live(const std::string& key, Time now) const {
    return get(key, now) ? keys_.at(key).expires - now : Time{0};
}

std::int64_t MemoryNode::pttl(const std::string& key, Time now) const {
    if (!get(key, now)) return -2;
    if (keys_.at(key).expires == Time::max()) return -1;
    return std::chrono::ceil<std::chrono::milliseconds>(time_to_live(key, now)).count();
}

void MemoryNode::set(const std::string& key, const std::string& value, std::chrono::milliseconds ttl,
                     Time now) {
    keys_[key] = {value, now + ttl};
}

void MemoryNode::forget_all() {
    keys_.clear();
    scripts_.clear();
}

std::vector<std::string> MemoryNode::lock_keys(Time now) const {
    std::vector<std::string> names;
    for (const auto& [name, entry] : keys_) {
        if (entry.expires > now && !name.ends_with(":redlock-fence")) names.push_back(name);
    }
    return names;
}

ScriptedReply MemoryNode::execute(const Request& request, Time now) {
    if (request[0] == "SET") return plain_set(request, now);
    if (request[0] == "SCRIPT") {
        scripts_.insert(kind_of({"EVAL", request.at(2)}));
        return ScriptedReply::ok();
    }
    if (!request[0].starts_with("EVAL")) return ScriptedReply::error("ERR unknown command");
    if (request[0] == "EVALSHA" && !scripts_.contains(kind_of(request))) {
        return ScriptedReply::error("NOSCRIPT No matching script.");
    }
    scripts_.insert(kind_of(request));
    Call call;
    const std::size_t key_count = std::stoul(request.at(2));
    call.keys = std::span{request}.subspan(3, key_count);
    call.args = std::span{request}.subspan(3 + key_count);
    const std::string kind = kind_of(request);
    call.is_exact = kind == "extend" && call.args.back() == "exactly";
    call.is_above = kind == "commit" && call.args.back() == "above";
    if (call.is_exact || call.is_above) call.args = call.args.first(call.args.size() - 1);
    call.is_fenced = kind == "commit" || kind == "adopt" || (kind != "release" && call.args.size() > 2);
    call.count = call.is_fenced ? key_count / 2 : key_count;
    if (kind == "acquire") return acquire(call, now);
    if (kind == "adopt") return adopt(call, now);
    if (kind == "commit") return commit(call, now);
    if (kind == "extend" || kind == "put_back") return hold(call, kind == "put_back", now);
    if (kind == "release") return release(call, now);
    if (kind == "enlist") return enlist(request, now);
    if (kind == "delist") return delist(request);
    return ScriptedReply::error("ERR unknown command");
}

ScriptedReply MemoryNode::plain_set(const Request& request, Time now) {
    if (request.size() != 6 || request[3] != "NX" || request[4] != "PX") {
        return ScriptedReply::error("ERR not the SET that was expected");
    }
    if (get(request[1], now)) return ScriptedReply::nil();
    set(request[1], request[2], milliseconds(request[5]), now);
    return ScriptedReply::ok();
}

ScriptedReply MemoryNode::acquire(const Call& call, Time now) {
    for (std::size_t i = 0; i < call.count; ++i) {
        if (!get(call.keys[i], now)) continue;
        return ScriptedReply::list({0, static_cast<std::int64_t>(i + 1), pttl(call.keys[i], now)});
    }
    std::vector<std::int64_t> reply{1};
    if (call.is_fenced && !count_on(call, 2, reply, now)) return foreign();
    for (std::size_t i = 0; i < call.count; ++i) {
        set(call.keys[i], call.args[0], milliseconds(call.args[1]), now);
    }
    return ScriptedReply::list(reply);
}

ScriptedReply MemoryNode::enlist(const Request& request, Time now) {
    const std::size_t count = std::stoul(request.at(2)) / 2;
    const std::span keys{request.begin() + 3, 2 * count};
    const std::pair waiter{std::stoll(request.at(4 + 2 * count)), request.at(3 + 2 * count)};
    std::int64_t longest = 0;
    std::int64_t rank = 0;
    std::string holders;
    for (std::size_t i = 0; i < count; ++i) {
        const auto holder = get(keys[i], now);
        if (!holder) continue;
        auto& waiters = queues_[keys[count + i]];
        waiters.insert(waiter);
        rank = std::max<std::int64_t>(rank, std::distance(waiters.begin(), waiters.find(waiter)));
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(time_to_live(keys[i], now));
        longest = std::max<std::int64_t>(longest, left.count());
        holders += *holder;
    }
    if (holders.empty()) return ScriptedReply::number(0);
    const auto digest = static_cast<std::int64_t>(std::hash<std::string>{}(holders) >> 16U);
    return ScriptedReply::list({1, longest, rank, digest});
}

ScriptedReply MemoryNode::delist(const Request& request) {
    const std::size_t count = std::stoul(request.at(2)) / 2;
    for (std::size_t i = 0; i < count; ++i) {
        std::erase_if(queues_[request.at(3 + count + i)],
                      [&](const auto& one) { return one.second == request.at(3 + 2 * count); });
    }
    return ScriptedReply::number(1);
}

ScriptedReply MemoryNode::adopt(const Call& call, Time now) {
    for (std::size_t i = 0; i < call.count; ++i) {
        const auto owner = get(call.keys[i], now);
        if (owner == call.args[0]) continue;
        return ScriptedReply::list({0, static_cast<std::int64_t>(i + 1), pttl(call.keys[i], now)});
    }
    std::vector<std::int64_t> reply{1};
    if (!count_on(call, 1, reply, now)) return foreign();
    return ScriptedReply::list(reply);
}

bool MemoryNode::count_on(const Call& call, std::size_t ttl, std::vector<std::int64_t>& values, Time now) {
    constexpr std::int64_t day_us = 86'400'000'000;
    for (std::size_t i = 0; i < call.count; ++i) {
        const auto before = counter(call, i, now);
        if (!before || *before == largest_counter) return false;
        std::int64_t proposal = std::min(std::stoll(call.args[ttl + 1 + i]), largest_counter);
        const bool is_near = get(call.keys[call.count + i], now) && proposal <= *before + day_us;
        if (!is_near) proposal = std::min(proposal, time_us + now.count() / 1000 + day_us);
        values.push_back(std::max(*before + 1, proposal));
    }
    for (std::size_t i = 0; i < call.count; ++i) {
        set_counter(call, i, std::to_string(values[values.size() - call.count + i]), call.args[ttl], now);
    }
    return true;
}

ScriptedReply MemoryNode::commit(const Call& call, Time now) {
    for (std::size_t i = 0; i < call.count; ++i) {
        if (get(call.keys[i], now) != call.args[0]) return ScriptedReply::number(0);
        const auto before = counter(call, i, now);
        const std::int64_t fence = std::stoll(call.args[2 + i]);
        if (!before || fence > largest_counter) return foreign();
        if (*before + (call.is_above ? 1 : 0) > fence) return ScriptedReply::number(0);
    }
    for (std::size_t i = 0; i < call.count; ++i) {
        set_counter(call, i, call.args[2 + i], call.args[1], now);
    }
    return ScriptedReply::number(1);
}

ScriptedReply MemoryNode::hold(const Call& call, bool is_put_back, Time now) {
    bool is_absent = false;
    for (std::size_t i = 0; i < call.count; ++i) {
        const auto owner = get(call.keys[i], now);
        if (owner && *owner != call.args[0]) return ScriptedReply::number(0);
        const auto before = call.is_fenced ? counter(call, i, now) : 0;
        const std::int64_t fence = call.is_fenced ? std::stoll(call.args[3 + i]) : 0;
        if (!before || fence > largest_counter) return foreign();
        if (*before > fence) return ScriptedReply::number(0);
        is_absent = is_absent || !owner;
    }
    if (is_absent && !is_put_back) return ScriptedReply::number(-1);
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < call.count; ++i) {
        const bool is_there = get(call.keys[i], now).has_value();
        const Time ttl = milliseconds(call.args[1]);
        const Time left = time_to_live(call.keys[i], now);
        const bool is_longer = call.is_exact || left < ttl;
        if (!is_longer) longest = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        if (is_put_back ? !is_there : is_longer) {
            set(call.keys[i], call.args[0], milliseconds(call.args[1]), now);
        }
        if (call.is_fenced) set_counter(call, i, call.args[3 + i], call.args[2], now);
    }
    if (!is_put_back && longest > 0) return ScriptedReply::list({1, longest});
    return ScriptedReply::number(1);
}

ScriptedReply MemoryNode::release(const Call& call, Time now) {
    std::size_t freed = 0;
    for (const std::string& key : call.keys.first(call.count)) {
        if (get(key, now) == call.args[0]) freed += keys_.erase(key);
    }
    return ScriptedReply::number(freed == call.count ? 1 : 0);
}

std::optional<std::int64_t> MemoryNode::counter(const Call& call, std::size_t i, Time now) const {
    const std::string text = get(call.keys[call.count + i], now).value_or("0");
    const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number || text.size() > 16 || std::stoll(text) > largest_counter) return std::nullopt;
    return std::stoll(text);
}

void MemoryNode::set_counter(const Call& call, std::size_t i, const std::string& value,
                             const std::string& ttl, Time now) {
    const std::string& key = call.keys[call.count + i];
    const bool stays = get(key, now) && keys_.at(key).expires == Time::max();
    set(key, value, milliseconds(ttl), now);
    if (stays) persist(key);
}

ScriptedReply MemoryNode::foreign() {
    return ScriptedReply::error("FOREIGN the fencing counter is no number below 2^53");
}

std::chrono::milliseconds MemoryNode::milliseconds(const std::string& text) {
    return std::chrono::milliseconds{std::stoll(text)};
}

}  // namespace redlock::test
