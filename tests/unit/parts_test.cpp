// SPDX-License-Identifier: Apache-2.0
// SHA-1, tokens, the clock of leases, and the heap of timers.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/sha1.hpp"

namespace redlock {
namespace {

using namespace std::chrono_literals;

std::string sha1(std::string_view text) {
    const auto hex = detail::sha1_hex(text);
    return {hex.data(), hex.size()};
}

TEST(Sha1, known_vectors) {
    EXPECT_EQ(sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    EXPECT_EQ(sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    EXPECT_EQ(sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    EXPECT_EQ(sha1("The quick brown fox jumps over the lazy dog"),
              "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12");
    EXPECT_EQ(sha1(std::string(1'000'000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

// Lengths around the block size and around the space for the bit count. Reference: sha1sum.
TEST(Sha1, lengths_around_the_padding) {
    EXPECT_EQ(sha1(std::string(55, 'a')), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    EXPECT_EQ(sha1(std::string(56, 'a')), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    EXPECT_EQ(sha1(std::string(63, 'a')), "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    EXPECT_EQ(sha1(std::string(64, 'a')), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    EXPECT_EQ(sha1(std::string(65, 'a')), "11655326c708d70319be2610e8a57d9a5b959d3b");
}

TEST(Token, is_20_bytes_as_40_hex_digits) {
    std::array<unsigned char, 20> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 13);
    EXPECT_EQ(Token{bytes}.str(), "000d1a2734414e5b6875828f9ca9b6c3d0ddeaf7");
    EXPECT_TRUE(Token{}.str().empty());
}

TEST(Token, compares_with_text_and_is_none_where_a_name_is_wanted) {
    EXPECT_EQ(Token::parse("x"), "x");
    EXPECT_NE(Token::parse("x"), std::string{"y"});
    EXPECT_EQ(std::string_view{Token::parse("x")}.size(), 1U);
    static_assert(!std::is_convertible_v<Token, std::string_view>);
    static_assert(!std::is_convertible_v<std::string, Token>);
}

TEST(Token, parse_takes_what_str_gives_and_what_other_clients_use) {
    EXPECT_EQ(Token::parse("000d1a2734414e5b6875828f9ca9b6c3d0ddeaf7").str(),
              "000d1a2734414e5b6875828f9ca9b6c3d0ddeaf7");
    EXPECT_EQ(Token::parse("9f0d6c2e-uuid:17").str(), "9f0d6c2e-uuid:17");
    EXPECT_EQ(Token::parse("x"), Token::parse("x"));
    EXPECT_NE(Token::parse("x"), Token::parse("y"));
    EXPECT_EQ(Token::parse(std::string(128, 'x')).str().size(), 128U);
}

TEST(Token, parse_refuses_what_can_not_be_one) {
    for (const std::string& text :
         {std::string{}, std::string{"two words"}, std::string{"line\n"}, std::string{"nul\0", 4},
          std::string{"caf\xc3\xa9"}, std::string(129, 'x')}) {
        EXPECT_THROW(static_cast<void>(Token::parse(text)), std::invalid_argument) << text;
    }
}

using Point = LeaseClock::time_point;

// CASES 16; R27: BOOTTIME counts suspend and is slewed, MONOTONIC_RAW is the other way round.
TEST(LeaseClock, R27_the_time_between_two_points_is_the_larger_of_the_two_differences) {
    const Point start{100s, 50s};
    EXPECT_EQ((Point{110s, 60s} - start), 10s);
    EXPECT_EQ((Point{3700s, 60s} - start), 3600s) << "the machine was suspended";
    EXPECT_EQ((Point{109s, 60s} - start), 10s) << "one clock is slewed to run slow";
}

TEST(LeaseClock, R27_a_deadline_has_passed_as_soon_as_it_has_on_either_clock) {
    const Point deadline = Point{100s, 50s} + 10s;
    EXPECT_LT((Point{109s, 59s} - deadline).count(), 0);
    EXPECT_GE((Point{110s, 59s} - deadline).count(), 0);
    EXPECT_GE((Point{109s, 60s} - deadline).count(), 0);
}

TEST(LeaseClock, R25_an_end_has_come_for_certain_when_it_has_on_both_clocks) {
    const Point end = Point{100s, 50s} + 10s;
    EXPECT_EQ((end - Point{109s, 60s}), 1s) << "one clock is slewed to run fast";
    EXPECT_EQ((end - Point{3700s, 59s}), 1s) << "the machine was suspended";
    EXPECT_LE((end - Point{110s, 60s}).count(), 0);
}

TEST(LeaseClock, adds_and_subtracts_durations_on_both_clocks) {
    const Point point{100s, 50s};
    EXPECT_EQ(point + 5s, (Point{105s, 55s}));
    EXPECT_EQ(point - 5s, (Point{95s, 45s}));
    EXPECT_EQ((point + 5s) - point, 5s);
}

TEST(LeaseClock, never_runs_back) {
    Point last = LeaseClock::now();
    for (int i = 0; i < 10000; ++i) {
        const Point now = LeaseClock::now();
        ASSERT_GE((now - last).count(), 0);
        last = now;
    }
}

struct Entry : detail::TimerEntry<int> {
    using TimerEntry::TimerEntry;
};

// Adds, changes and removes at random, against a sorted container.
TEST(Timers, gives_the_earliest_whatever_was_added_changed_and_removed) {
    std::mt19937 random{20240607};
    detail::Timers<Entry> timers;
    std::vector<detail::Ref<Entry>> in;
    std::multimap<int, Entry*> sorted;
    const auto forget = [&](const Entry& entry) {
        const auto [begin, end] = sorted.equal_range(entry.deadline);
        sorted.erase(std::find_if(begin, end, [&](const auto& pair) { return pair.second == &entry; }));
    };
    for (int step = 0; step < 20000; ++step) {
        const auto what = random() % 8;
        const bool grows = (step / 2000) % 2 == 0;
        if (in.empty() || what < (grows ? 4U : 2U)) {
            in.push_back(detail::make_ref<Entry>(static_cast<int>(random() % 100)));
            timers.add(in.back());
            sorted.emplace(in.back()->deadline, in.back().get());
        } else if (what < 6) {
            const std::size_t at = what == 5 ? 0 : random() % in.size();
            forget(*in[at]);
            timers.remove(*in[at]);
            EXPECT_EQ(in[at]->timer_places[0], 0U);
            timers.remove(*in[at]);  // does nothing where the timer is not in the heap
            in[at] = in.back();
            in.pop_back();
        } else {
            Entry& entry = *in[random() % in.size()];
            forget(entry);
            entry.deadline = static_cast<int>(random() % 100);
            timers.update(entry);
            sorted.emplace(entry.deadline, &entry);
        }
        ASSERT_EQ(timers.empty(), sorted.empty());
        if (!sorted.empty()) {
            ASSERT_EQ(timers.earliest()->deadline, sorted.begin()->first);
        }
    }
    while (!timers.empty()) {
        ASSERT_EQ(timers.earliest()->deadline, sorted.begin()->first);
        const auto earliest = timers.earliest();
        forget(*earliest);
        timers.remove(*earliest);
    }
    EXPECT_TRUE(sorted.empty());
}

struct SlewedEntry : detail::TimerEntry<Point> {
    using TimerEntry::TimerEntry;
};

// Once lost() came 500 ms late: a timer due by one clock was behind one that comes first by the other clock.
TEST(Timers, R15_gives_what_is_due_by_whichever_clock) {
    std::mt19937 random{20261127};
    detail::Timers<SlewedEntry> timers;
    std::vector<detail::Ref<SlewedEntry>> in;
    const auto draw = [&] { return std::chrono::nanoseconds{random() % 1000}; };
    for (int step = 0; step < 5000; ++step) {
        if (in.size() < 2 || random() % 2 == 0) {
            in.push_back(detail::make_ref<SlewedEntry>(Point{draw(), draw()}));
            timers.add(in.back());
        } else {
            SlewedEntry& entry = *in[random() % in.size()];
            entry.deadline = Point{draw(), draw()};
            timers.update(entry);
        }
        const Point now{draw(), draw()};
        const auto is_due = [&](const auto& entry) { return (now - entry->deadline).count() >= 0; };
        ASSERT_EQ(timers.due(now) != nullptr, std::any_of(in.begin(), in.end(), is_due));
        ASSERT_EQ((now - timers.next_due()).count() >= 0, timers.due(now) != nullptr);
        while (const auto due = timers.due(now)) {
            ASSERT_TRUE(is_due(due));
            timers.remove(*due);
            std::erase(in, due);
        }
    }
}

struct WatchedEntry : Entry {
    using Entry::Entry;
    ~WatchedEntry() override { *is_gone = true; }
    bool* is_gone = nullptr;
};

TEST(Timers, keeps_its_entries_alive) {
    detail::Timers<WatchedEntry> timers;
    auto entry = detail::make_ref<WatchedEntry>(1);
    WatchedEntry& watched = *entry;
    bool is_gone = false;
    watched.is_gone = &is_gone;
    timers.add(std::move(entry));
    EXPECT_FALSE(is_gone);
    timers.remove(watched);
    EXPECT_TRUE(is_gone);
}

}  // namespace
}  // namespace redlock
