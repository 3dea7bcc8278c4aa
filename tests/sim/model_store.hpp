// SPDX-License-Identifier: Apache-2.0
// The keys of a model of Redis: strings, sorted sets and others, with lazy expiry on the node's wall clock.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace redlock::sim {

class ModelStore {
   public:
    static constexpr std::int64_t forever_ms = INT64_MAX;

    struct Member {
        std::int64_t score;
        std::string name;
    };
    [[nodiscard]] static bool is_before(const Member& a, const Member& b) noexcept {
        return a.score != b.score ? a.score < b.score : a.name < b.name;
    }
    struct Entry {
        std::string key;
        std::string value{};
        std::int64_t expires_ms = forever_ms;
        std::vector<Member> members{};  ///< of a sorted set; such a one is never empty
        bool is_other = false;          ///< of a type that the library never uses
    };
    using Entries = std::vector<Entry>;

    /// Moves the time on and removes expired keys.
    void set_time(std::int64_t wall_us) {
        now_us_ = wall_us;
        const std::int64_t last_ms = now_ms() - (expires_early_ ? 0 : 1);
        const auto is_expired = [last_ms](const Entry& entry) { return last_ms >= entry.expires_ms; };
        if (std::none_of(entries_.begin(), entries_.end(), is_expired)) return;
        for (const Entry& entry : entries_) {
            if (is_expired(entry) && is_counter(entry)) has_forgotten_counter_ = true;
        }
        std::erase_if(entries_, is_expired);
    }

    /// A key is gone in its last millisecond already, as in Redis 8, or only after it.
    void expire_early() noexcept { expires_early_ = true; }

    /// Whether this is the last millisecond of one of the keys.
    [[nodiscard]] bool is_last_of_a_key(std::int64_t wall_ms) const {
        return std::any_of(entries_.begin(), entries_.end(),
                           [wall_ms](const Entry& entry) { return entry.expires_ms == wall_ms; });
    }

    [[nodiscard]] std::int64_t now_us() const noexcept { return now_us_; }
    [[nodiscard]] std::int64_t now_ms() const noexcept { return now_us_ / 1000; }
    [[nodiscard]] const Entries& entries() const noexcept { return entries_; }
    [[nodiscard]] bool has_forgotten_counter() const noexcept { return has_forgotten_counter_; }
    [[nodiscard]] static bool is_counter(const Entry& entry) noexcept { return entry.key.ends_with("fence"); }
    [[nodiscard]] static bool is_queue(const Entry& entry) noexcept { return !entry.members.empty(); }
    [[nodiscard]] static bool is_string(const Entry& entry) noexcept {
        return entry.members.empty() && !entry.is_other;
    }
    [[nodiscard]] static bool is_digits(std::string_view text) noexcept {
        return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
    }
    static constexpr std::int64_t largest_counter = 9'007'199'254'740'991;

    // ---- reading -----------------------------------------------------------------------------------

    [[nodiscard]] Entry* find(std::string_view key) {
        for (Entry& entry : entries_) {
            if (entry.key == key) return &entry;
        }
        return nullptr;
    }

    [[nodiscard]] bool has(std::string_view key, std::string_view value) {
        const Entry* entry = find(key);
        return entry != nullptr && is_string(*entry) && entry->value == value;
    }

    /// The number of a counter; 0 where there is no key; nothing where the value is not in our form.
    [[nodiscard]] std::optional<std::int64_t> counter_at(std::string_view key) {
        const Entry* entry = find(key);
        if (entry == nullptr) return 0;
        if (!is_string(*entry) || !is_digits(entry->value)) return std::nullopt;
        std::int64_t value = 0;
        const char* end = entry->value.data() + entry->value.size();
        if (std::from_chars(entry->value.data(), end, value).ec != std::errc{}) return std::nullopt;
        return value <= largest_counter ? std::optional{value} : std::nullopt;
    }

    /// PTTL of a queue; -2 where there is no key; nothing where the value is no queue of ours.
    [[nodiscard]] std::optional<std::int64_t> queue_left(std::string_view key) {
        const std::int64_t left = pttl(key);
        if (left == -2) return left;
        if (left < 0 || !is_waiter(first_member(key))) return std::nullopt;
        return left;
    }

    /// How many of a queue come before this member of it.
    [[nodiscard]] std::int64_t rank_of(std::string_view key, std::string_view name) {
        const auto& members = find(key)->members;
        const auto self = std::find_if(members.begin(), members.end(),
                                       [&](const Member& member) { return member.name == name; });
        return std::count_if(members.begin(), members.end(),
                             [&](const Member& member) { return is_before(member, *self); });
    }

    /// Of the lowest score; empty: there is none.
    [[nodiscard]] std::string first_member(std::string_view key) {
        const Entry* entry = find(key);
        if (entry == nullptr || entry->members.empty()) return {};
        return std::min_element(entry->members.begin(), entry->members.end(), is_before)->name;
    }

    /// "redlock:<40 hex digits> <number>".
    [[nodiscard]] static bool is_waiter(std::string_view member) {
        constexpr std::string_view prefix = "redlock:";
        constexpr std::size_t blank = prefix.size() + 40;
        if (!member.starts_with(prefix) || member.size() < blank + 2 || member[blank] != ' ') return false;
        const std::string_view channel = member.substr(prefix.size(), 40);
        return channel.find_first_not_of("0123456789abcdef") == std::string_view::npos &&
               is_digits(member.substr(blank + 1));
    }

    [[nodiscard]] std::int64_t pttl(std::string_view key) {
        const Entry* entry = find(key);
        if (entry == nullptr) return -2;
        return entry->expires_ms == forever_ms ? -1 : entry->expires_ms - now_ms();
    }

    [[nodiscard]] static std::int64_t number(std::string_view digits) noexcept {
        std::int64_t value = 0;
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return value;
    }

    // ---- writing -----------------------------------------------------------------------------------

    void put(std::string_view key, std::string_view value, std::int64_t expires_ms) {
        Entry* entry = find(key);
        if (entry == nullptr) entry = &entries_.emplace_back(Entry{std::string{key}});
        entry->value = value;
        entry->expires_ms = expires_ms;
        entry->members.clear();
        entry->is_other = false;
    }

    /// A key without a ttl gets none.
    void put_counter(std::string_view key, std::string_view value, std::int64_t expires_ms) {
        put(key, value, pttl(key) == -1 ? forever_ms : expires_ms);
    }

    void put_other(std::string_view key) {
        put(key, {}, forever_ms);
        find(key)->is_other = true;
    }

    std::int64_t erase(std::string_view key) {
        const auto count = std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
        return static_cast<std::int64_t>(count);
    }

    void add_member(std::string_view key, std::int64_t score, std::string_view name) {
        Entry* entry = find(key);
        if (entry == nullptr) entry = &entries_.emplace_back(Entry{std::string{key}});
        std::erase_if(entry->members, [&](const Member& member) { return member.name == name; });
        entry->members.push_back({score, std::string{name}});
    }

    /// Whether it was there.
    bool erase_member(std::string_view key, std::string_view name) {
        Entry* entry = find(key);
        if (entry == nullptr) return false;
        const auto count =
            std::erase_if(entry->members, [&](const Member& member) { return member.name == name; });
        if (entry->members.empty()) erase(key);
        return count > 0;
    }

    /// What a write is refused with; empty: it is not.
    void refuse_writes(std::string_view text) { write_refusal_ = text; }
    [[nodiscard]] const std::string& write_refusal() const noexcept { return write_refusal_; }
    struct WriteRefused {};

    // ---- crashes -----------------------------------------------------------------------------------

    void keep_journal() noexcept { keeps_journal_ = true; }

    /// A command runs with all its writes or none, so a crash leaves a state between two commands.
    void before_write() {
        if (!write_refusal_.empty()) throw WriteRefused{};
        constexpr std::size_t longest = 8;
        if (!keeps_journal_) return;
        if (journal_.size() == longest) journal_.erase(journal_.begin());
        journal_.push_back(entries_);
    }

    void forget_all() {
        note_counters_gone();
        entries_.clear();
    }

    void undo_last_writes(std::size_t count) {
        if (journal_.empty()) return;
        note_counters_gone();
        count = std::min(count, journal_.size());
        entries_ = journal_[journal_.size() - count];
        journal_.clear();
    }

   private:
    void note_counters_gone() {
        const bool has_counter = std::any_of(entries_.begin(), entries_.end(), is_counter);
        has_forgotten_counter_ = has_forgotten_counter_ || has_counter;
    }

    Entries entries_;
    std::vector<Entries> journal_;
    std::int64_t now_us_ = 0;
    std::string write_refusal_;
    bool expires_early_ = false;
    bool keeps_journal_ = false;
    bool has_forgotten_counter_ = false;
};

}  // namespace redlock::sim
