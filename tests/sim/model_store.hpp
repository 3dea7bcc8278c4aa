// The keys of a model of Redis: strings and sorted sets, with lazy expiry on the node's wall clock.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
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
    struct Entry {
        std::string key;
        std::string value{};
        std::int64_t expires_ms = forever_ms;
        std::vector<Member> members{};  ///< of a sorted set; such a one is never empty
    };
    using Entries = std::vector<Entry>;

    /// Time goes on; what has expired by it is gone.
    void set_time(std::int64_t wall_us) {
        now_us_ = wall_us;
        const auto is_expired = [this](const Entry& entry) { return now_ms() > entry.expires_ms; };
        if (std::none_of(entries_.begin(), entries_.end(), is_expired)) return;
        for (const Entry& entry : entries_) {
            if (is_expired(entry) && is_counter(entry)) has_forgotten_counter_ = true;
        }
        std::erase_if(entries_, is_expired);
    }

    [[nodiscard]] std::int64_t now_us() const noexcept { return now_us_; }
    [[nodiscard]] std::int64_t now_ms() const noexcept { return now_us_ / 1000; }
    [[nodiscard]] const Entries& entries() const noexcept { return entries_; }
    [[nodiscard]] bool has_forgotten_counter() const noexcept { return has_forgotten_counter_; }
    [[nodiscard]] static bool is_counter(const Entry& entry) noexcept { return entry.key.ends_with("fence"); }
    [[nodiscard]] static bool is_queue(const Entry& entry) noexcept { return !entry.members.empty(); }

    // ---- reading -----------------------------------------------------------------------------------

    [[nodiscard]] Entry* find(std::string_view key) {
        for (Entry& entry : entries_) {
            if (entry.key == key) return &entry;
        }
        return nullptr;
    }

    [[nodiscard]] bool has(std::string_view key, std::string_view value) {
        const Entry* entry = find(key);
        return entry != nullptr && entry->value == value;
    }

    /// The number it holds; 0 where there is none.
    [[nodiscard]] std::int64_t number_at(std::string_view key) {
        const Entry* entry = find(key);
        return entry != nullptr ? number(entry->value) : 0;
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

    /// Of the lowest score; empty: there is none.
    std::string pop_member(std::string_view key) {
        Entry* entry = find(key);
        if (entry == nullptr) return {};
        const auto first = std::min_element(
            entry->members.begin(), entry->members.end(), [](const Member& a, const Member& b) {
                return a.score != b.score ? a.score < b.score : a.name < b.name;
            });
        std::string name = std::move(first->name);
        entry->members.erase(first);
        if (entry->members.empty()) erase(key);
        return name;
    }

    // ---- crashes -----------------------------------------------------------------------------------

    void keep_journal() noexcept { keeps_journal_ = true; }

    /// A command runs with all its writes or none: the states between commands are what a crash leaves.
    void before_write() {
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
    bool keeps_journal_ = false;
    bool has_forgotten_counter_ = false;
};

}  // namespace redlock::sim
