// SPDX-License-Identifier: Apache-2.0
// Several resources in one lock: all or none, in any order, as one lease.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "integration/holding_nodes.hpp"

namespace redlock::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// With fencing and without, since these use different scripts.
class HoldingResources : public testing::TestWithParam<bool> {
   protected:
    static Options options() {
        Options options = holding_options();
        options.fencing = GetParam();
        return options;
    }
    bool none_left() {
        return eventually(patience, [this] { return cluster.keys_left().empty(); });
    }

    Cluster cluster{3};
    Redlock locks{cluster.uris(), options()};
};

INSTANTIATE_TEST_SUITE_P(Fencing, HoldingResources, testing::Bool(),
                         [](const auto& with) { return with.param ? "fenced" : "plain"; });

TEST_P(HoldingResources, All_are_held_by_one_token) {
    auto lock = locks.try_lock({"a", "b", "c"}, 30s).value();
    EXPECT_THAT(lock.resources(), ElementsAre("a", "b", "c"));
    for (const char* name : {"a", "b", "c"}) {
        EXPECT_TRUE(eventually(patience, [&] {
            static_cast<void>(locks.inspect("another"));
            return cluster.count_holding(name) == 3;
        }));
        for (const auto& value : cluster.values(name)) EXPECT_EQ(value, lock.token().str());
        EXPECT_EQ(locks.try_lock(name, 30s).error(), errc::contended);
        EXPECT_EQ(lock.fencing_token(name) != 0, GetParam());
    }
    EXPECT_EQ(lock.fencing_token("d"), 0U);
    EXPECT_EQ(lock.fencing_token(), lock.fencing_token("a"));
    EXPECT_TRUE(lock.unlock());
    EXPECT_TRUE(none_left());
}

TEST_P(HoldingResources, None_is_taken_when_one_is_held_and_the_error_names_it) {
    auto held = locks.try_lock("b", 30s).value();
    const auto result = locks.try_lock({"a", "b", "c"}, 30s);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error(), errc::contended);
    EXPECT_THAT(result.error().message(), HasSubstr("'b' of 'a', 'b', 'c'"));
    EXPECT_GT(result.error().holder_remaining().value_or(0ms), 20s);
    EXPECT_TRUE(eventually(
        patience, [&] { return cluster.count_holding("a") == 0 && cluster.count_holding("c") == 0; }));
    for (const char* name : {"a", "c"}) EXPECT_TRUE(locks.try_lock(name, 30s));
}

TEST_P(HoldingResources, Extend_and_unlock_treat_them_as_one) {
    auto lock = locks.try_lock({"a", "b"}, 5s).value();
    ASSERT_TRUE(lock.extend(60s));
    const auto is_long = [&](const char* name) {
        std::size_t count = 0;
        for (auto& node : cluster) count += node.pttl(name).value_or(0ms) > 30s ? 1 : 0;
        return count >= 2;
    };
    EXPECT_TRUE(is_long("a") && is_long("b"));
    // On two nodes another client holds one of them: the whole lock is lost, and the rest is released.
    for (const std::size_t i : {0U, 1U}) cluster[i].query({"SET", "b", "of another", "PX", "60000"});
    EXPECT_EQ(lock.extend(60s).error(), errc::lost);
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_EQ(lock.unlock().error(), errc::lost);
    EXPECT_TRUE(eventually(patience, [&] { return cluster.count_holding("a") == 0; }));
    EXPECT_EQ(cluster.count_holding("b"), 2U);
}

TEST_P(HoldingResources, Renewal_holds_all_and_puts_back_what_one_node_lost) {
    auto lock = locks.lock({"a", "b"}, {.ttl = short_ttl, .renew = true}).value();
    const auto lost = lock.lost();
    const auto is_everywhere = [&] {
        static_cast<void>(locks.inspect("another"));
        return cluster.count_holding("a") == 3 && cluster.count_holding("b") == 3;
    };
    ASSERT_TRUE(eventually(patience, is_everywhere));
    cluster[2].query({"DEL", "b"});
    EXPECT_TRUE(eventually(patience, is_everywhere));
    EXPECT_TRUE(never_within(600ms, [&] { return lost.stop_requested(); }));
    EXPECT_TRUE(lock.unlock());
    EXPECT_TRUE(none_left());
}

// Two callers name the resources in opposite orders. A try gets all or none, so neither waits for the other.
TEST_P(HoldingResources, Opposite_orders_never_deadlock) {
    constexpr int tries = 1500;
    std::atomic<int> inside{0};
    std::atomic<int> together{0};
    std::array<int, 2> granted{};
    const auto contend = [&](std::size_t me, const Resources& names) {
        Redlock own{cluster.uris(), options()};
        for (int i = 0; i < tries; ++i) {
            const auto lock = own.try_lock(names, 30s);
            if (!lock) continue;
            if (++inside != 1) ++together;
            ++granted[me];
            --inside;
        }
        // In the end a caller gets them, however the tries before have interleaved.
        EXPECT_TRUE(own.lock(names, {.ttl = 30s, .wait = 20s}));
    };
    std::thread other{[&] { contend(1, {"b", "a"}); }};
    contend(0, {"a", "b"});
    other.join();
    EXPECT_EQ(together, 0);
    EXPECT_GT(granted[0] + granted[1], 0);
    EXPECT_TRUE(none_left());
}

TEST_P(HoldingResources, What_can_never_work_is_an_error_and_asks_no_node) {
    const auto commands = [this] { return cluster.command_stat("set") + cluster.command_stat("evalsha"); };
    const auto before = commands();
    EXPECT_EQ(locks.try_lock(std::vector<std::string>{}, 30s).error(), errc::invalid_argument);
    EXPECT_EQ(locks.try_lock({"a", "b", "a"}, 30s).error(), errc::invalid_argument);
    EXPECT_THAT(locks.try_lock({"a", "b", "a"}, 30s).error().message(), HasSubstr("'a' is there twice"));
    EXPECT_EQ(locks.try_lock({"a", ""}, 30s).error(), errc::invalid_argument);
    EXPECT_EQ(locks.try_lock("", 30s).error(), errc::invalid_argument);
    EXPECT_EQ(commands(), before);
}

TEST_P(HoldingResources, Names_of_any_bytes_are_taken_as_they_are) {
    const std::string odd{"a b\0'\"\r\n{x}\xff", 13};
    auto lock = locks.try_lock({std::string_view{odd}, std::string_view{"{tag}b"}}, 30s).value();
    EXPECT_TRUE(eventually(patience, [&] { return cluster.count_holding(odd) >= 2; }));
    EXPECT_EQ(lock.resource(), odd);
    EXPECT_TRUE(lock.extend(30s));
    EXPECT_TRUE(lock.unlock());
    EXPECT_TRUE(none_left());
}

// Two `const char*` in braces could be read as a begin and an end, which make one std::string.
TEST(HoldingResourceNames, Two_names_in_braces_are_two_names) {
    const auto names = [](const Resources& resources) { return resources.names(); };
    const std::string text = "text";
    const char* pointer = "pointer";
    EXPECT_THAT(names({"a", "b"}), ElementsAre("a", "b"));
    EXPECT_THAT(names({"a"}), ElementsAre("a"));
    EXPECT_THAT(names({"a", "b", "c"}), ElementsAre("a", "b", "c"));
    EXPECT_THAT(names({pointer, pointer + 3}), ElementsAre("pointer", "nter"));
    EXPECT_THAT(names({text.c_str(), pointer}), ElementsAre("text", "pointer"));
    EXPECT_THAT(names({text, "b", std::string_view{"c"}}), ElementsAre("text", "b", "c"));
    EXPECT_THAT(names("a"), ElementsAre("a"));
    EXPECT_THAT(names(text), ElementsAre("text"));
    EXPECT_THAT(names(std::vector<std::string>{"a", "b"}), ElementsAre("a", "b"));
    EXPECT_THAT(names(std::array<std::string_view, 2>{"a", "b"}), ElementsAre("a", "b"));
}

}  // namespace
}  // namespace redlock::test
