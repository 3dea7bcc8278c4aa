// SPDX-License-Identifier: Apache-2.0
#include "chaos/judge.hpp"

#include <cstdio>
#include <iterator>

namespace redlock::chaos {
namespace {

std::string describe(const HoldRecord& hold, Nanoseconds origin) {
    constexpr double ms = 1e6;
    char text[160];
    std::snprintf(text, sizeof text, "client %zu, thread %zu, token %llu, %.3f to %.3f ms",
                  hold.worker / threads_per_client, hold.worker % threads_per_client,
                  static_cast<unsigned long long>(hold.token), static_cast<double>(hold.from - origin) / ms,
                  static_cast<double>(hold.until - origin) / ms);
    return text;
}

}  // namespace

void Judge::add(const HoldRecord& record) {
    Holds& holds = holds_.at(record.resource);
    const auto [place, is_new] = holds.emplace(record.from, record);
    if (!is_new) {
        // The same hold comes twice where its process was killed just after it had reported it.
        if (place->second.id != record.id) compare(place->second, record);
        return;
    }
    ++judged_;
    if (place != holds.begin()) compare(std::prev(place)->second, record);
    if (std::next(place) != holds.end()) compare(record, std::next(place)->second);
}

void Judge::compare(const HoldRecord& first, const HoldRecord& second) {
    if (second.from < first.until) {
        ++two_holders_;
        note("two holders at once", first, second);
    }
    // Equal tokens: the lock was handed over.
    if (second.token < first.token) {
        ++tokens_out_of_order_;
        note("fencing tokens out of order", first, second);
    }
}

void Judge::note(const char* what, const HoldRecord& first, const HoldRecord& second) {
    constexpr std::size_t enough = 20;
    if (violations_.size() >= enough) return;
    violations_.push_back(std::string{what} + ", resource " + std::to_string(first.resource) + ": " +
                          describe(first, first.from) + "; and " + describe(second, first.from));
}

void Judge::forget_before(Nanoseconds time) {
    for (Holds& holds : holds_) {
        // The last one stays: the next token is compared with it.
        while (holds.size() > 1 && holds.begin()->second.until < time) holds.erase(holds.begin());
    }
}

}  // namespace redlock::chaos
