// SPDX-License-Identifier: Apache-2.0
// How a Redlock is made and called: what compiles, what that means, and what must not compile.
#include <gtest/gtest.h>

#include <functional>
#include <list>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "redlock/redlock.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

using Names = std::vector<std::string>;

Names names_of(const Resources& resources) { return resources.names(); }
Names hosts_of(const Endpoints& nodes) {
    Names hosts;
    for (const Endpoint& node : nodes.list()) hosts.push_back(node.host());
    return hosts;
}

std::string complaint(const std::function<void()>& make) {
    try {
        make();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

TEST(Resources, one_name_in_any_form_of_string) {
    EXPECT_EQ(names_of("a"), Names{"a"});
    EXPECT_EQ(names_of(std::string{"a"}), Names{"a"});
    EXPECT_EQ(names_of(std::string_view{"a"}), Names{"a"});
    const char* pointer = "abc";
    EXPECT_EQ(names_of(pointer), Names{"abc"});
}

// Two const char* must never be taken for the iterators of one string.
TEST(Resources, a_brace_list_is_a_list_of_names) {
    EXPECT_EQ(names_of({"a"}), Names{"a"});
    EXPECT_EQ(names_of({"a", "b"}), (Names{"a", "b"}));
    EXPECT_EQ(names_of({"a", "b", "c"}), (Names{"a", "b", "c"}));
    const std::string x = "x";
    EXPECT_EQ(names_of({x, "y"}), (Names{"x", "y"}));
    EXPECT_EQ(names_of({x, x}), (Names{"x", "x"}));
}

TEST(Resources, any_range_of_strings) {
    EXPECT_EQ(names_of(Names{"a", "b"}), (Names{"a", "b"}));
    EXPECT_EQ(names_of(std::list<const char*>{"a", "b"}), (Names{"a", "b"}));
    EXPECT_EQ(names_of(std::set<std::string_view>{"b", "a"}), (Names{"a", "b"}));
}

TEST(Endpoints, brace_lists_ranges_and_one_string_with_commas) {
    EXPECT_EQ(hosts_of({"redis://a"}), Names{"a"});
    EXPECT_EQ(hosts_of({"redis://a", "redis://b"}), (Names{"a", "b"}));
    EXPECT_EQ(hosts_of({"redis://a", "redis://b", "redis://c"}), (Names{"a", "b", "c"}));
    EXPECT_EQ(hosts_of("redis://a,redis://b, redis://c"), (Names{"a", "b", "c"}));
    EXPECT_EQ(hosts_of(Names{"redis://a", "redis://b"}), (Names{"a", "b"}));
    EXPECT_EQ(hosts_of(std::vector<Endpoint>{"redis://a"}), Names{"a"});
}

TEST(Construction, every_form_compiles_and_connects_to_nothing) {
    const Redlock one{{"redis://a"}};
    const Redlock two{{"redis://a", "redis://b"}};
    const Redlock three{{"redis://a", "redis://b", "redis://c"}};
    const Redlock with_options{{"redis://a", "redis://b", "redis://c"}, {.node_timeout = 100ms}};
    const Redlock commas{"redis://a,redis://b,redis://c"};
    const Redlock from_range{Names{"redis://a", "redis://b", "redis://c"}};
    const Redlock in_parentheses({"redis://a"});
    const Redlock two_in_parentheses({"redis://a", "redis://b"});
    const Redlock without_inner_braces{"redis://a", "redis://b"};
    const Redlock of_several_lists{"redis://a,redis://b", Names{"redis://c"}};
    const Redlock in_braces_and_parentheses({{"redis://a"}});
    static_assert(std::is_same_v<decltype(one), const Redlock>);
    static_assert(std::is_same_v<decltype(three), const Redlock>);
    static_assert(std::is_same_v<decltype(commas), const Redlock>);
}

// On g++ 12 an initializer-list constructor would take the value of the one field for a URI. A name that is
// refused shows that it was read as the option.
template <class Nodes>
void expect_options_after(const Nodes& nodes) {
    EXPECT_NE(complaint([&] {
                  Redlock locks{nodes, {.client_name = "a b"}};
              }).find("Options::client_name"),
              std::string::npos);
    EXPECT_NE(complaint([&] {
                  Redlock locks{nodes, {.client_name = "a b"}};
              }).find("Options::client_name"),
              std::string::npos);
    EXPECT_NE(complaint([&] { Redlock locks(nodes, {.client_name = "a b"}); }).find("Options::client_name"),
              std::string::npos);
    EXPECT_NE(complaint([&] {
                  Redlock locks{nodes, {.fence_suffix = "{"}};
              }).find("Options::fence_suffix"),
              std::string::npos);
    EXPECT_NE(complaint([&] {
                  Redlock locks{nodes, {.queue_suffix = "{"}};
              }).find("Options::queue_suffix"),
              std::string::npos);
    EXPECT_NE(complaint([&] {
                  Redlock locks{nodes, {.backlog = 1}};
              }).find("Options::backlog"),
              std::string::npos);
    EXPECT_NE(complaint([&] {
                  Redlock locks{nodes, {.retry = {.base = 0ms}}};
              }).find("RetryPolicy::base"),
              std::string::npos);
    const Redlock named{nodes, {.client_name = "redis://b"}};  // could be read as a URI or as the option
    const Redlock suffixed{nodes, {.fence_suffix = "redis://b"}};
    const Redlock queued{nodes, {.queue_suffix = "redis://b"}};
    const Redlock unfenced{nodes, {.fencing = false}};
    const Redlock drifting{nodes, {.drift_factor = 0.02}};
    const Redlock plain{nodes, {}};
}

TEST(Construction, the_second_brace_list_is_the_options) {
    expect_options_after("redis://a");
    expect_options_after(std::string{"redis://a,redis://b"});
    expect_options_after(Names{"redis://a", "redis://b"});
    expect_options_after(Endpoints{"redis://a"});
    const auto is_about_the_name = [](const std::function<void()>& make) {
        return complaint(make).find("Options::client_name") != std::string::npos;
    };
    EXPECT_TRUE(is_about_the_name([] { Redlock locks{{"redis://a"}, {.client_name = "a b"}}; }));
    EXPECT_TRUE(is_about_the_name([] { Redlock locks{{"redis://a", "redis://b"}, {.client_name = "a b"}}; }));
    EXPECT_TRUE(is_about_the_name([] {
        Redlock locks({"redis://a", "redis://b", "redis://c"}, {.client_name = "a b"});
    }));
    const std::string node = "redis://a";
    EXPECT_TRUE(is_about_the_name([&] { Redlock locks{{node, "redis://b"}, {.client_name = "a b"}}; }));
}

TEST(Construction, N_0_is_refused) {
    EXPECT_NE(complaint([] { Redlock locks{Names{}}; }).find("empty"), std::string::npos);
    EXPECT_NE(complaint([] { Redlock locks{""}; }).find("empty"), std::string::npos);
    for (const char* uris : {",", "redis://a,", ",redis://a", "redis://a,,redis://b", " "}) {
        EXPECT_NE(complaint([&] { Redlock locks{uris}; }).find("an empty URI"), std::string::npos) << uris;
    }
}

TEST(Construction, the_same_node_twice_is_refused_and_named) {
    const std::string message = complaint([] {
        Redlock locks{{"redis://a", "redis://b", "redis://u:hunter2@A:6379/3"}};
    });
    EXPECT_NE(message.find("redis://a:6379/3 is there twice"), std::string::npos) << message;
    EXPECT_EQ(message.find("hunter2"), std::string::npos);
    EXPECT_NE(complaint([] { Redlock locks{"unix:///a,unix:///a?db=1"}; }), "");
    EXPECT_NE(complaint([] { Redlock locks{"redis://a,redis://b", "redis://a"}; }), "");
    EXPECT_NE(complaint([] { Redlock locks{"redis://a\n"}; }).find("'redis://***': "), std::string::npos);
}

TEST(Construction, a_bad_uri_or_option_is_refused_by_name) {
    EXPECT_NE(complaint([] {
                  Redlock locks{{"redis://a", "redis://b:x"}};
              }).find("node 2 of 2: bad URI 'redis://***'"),
              std::string::npos);
    EXPECT_NE(complaint([] {
                  Redlock locks{{"redis://a"}, {.node_timeout = -1ms}};
              }).find("Options::node_timeout is -1 ms"),
              std::string::npos);
}

TEST(Calls, brace_lists_of_names_are_lists) {
    World world{1};
    auto locks = connect_to(world);
    EXPECT_EQ(locks.try_lock("a", 10s)->resources().size(), 1U);
    EXPECT_EQ(locks.try_lock({"a"}, 10s)->resources().size(), 1U);
    EXPECT_EQ(locks.try_lock({"a", "b"}, 10s)->resources().size(), 2U);
    EXPECT_EQ(locks.try_lock({"a", "b", "c"}, 10s)->resources().size(), 3U);
    EXPECT_EQ(locks.lock({"a", "b"}, {.ttl = 10s})->resources().size(), 2U);
    EXPECT_EQ(locks.lock("a")->resource(), "a");
}

std::vector<std::string> many_names(std::size_t count, std::size_t size = 8) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < count; ++i) {
        std::string digits = std::to_string(i);
        names.push_back("n" + std::string(size - 1 - digits.size(), '0') + digits);
    }
    return names;
}

// A list that is too long would block a node for all other clients.
TEST(Calls, a_lock_has_so_many_resources_and_bytes_of_names_and_no_more) {
    World world{3};
    auto locks = connected_to(world);
    const auto refusal_of = [&](const std::vector<std::string>& names) {
        const auto lock = locks.try_lock(names, 10s);
        if (lock) return std::string{};
        EXPECT_EQ(lock.error(), errc::invalid_argument);
        EXPECT_TRUE(lock.error().nodes().empty());
        return lock.error().message();
    };
    EXPECT_EQ(refusal_of(many_names(1024)), "");
    const std::string count = refusal_of(many_names(1025));
    EXPECT_NE(count.find("1025 names, but may have 1024"), std::string::npos) << count;
    EXPECT_NE(refusal_of(std::vector<std::string>(100'000)).find("100000 names"), std::string::npos)
        << "the number before the contents";
    EXPECT_EQ(refusal_of(many_names(64, 16'384)), "");
    const std::string bytes = refusal_of(many_names(65, 16'384));
    EXPECT_NE(bytes.find("1064960 bytes in all, but may have 1048576"), std::string::npos) << bytes;
    auto twice = many_names(1024);
    twice.back() = twice.front();
    EXPECT_NE(refusal_of(twice).find("'n0000000' is there twice"), std::string::npos) << refusal_of(twice);
}

TEST(Calls, a_message_names_three_resources_and_counts_the_rest) {
    World world{3};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 3; ++i) world.put(i, "n0000003", "theirs", 1h);
    const auto message_of = [&](std::size_t count) {
        return locks.try_lock(many_names(count), 10s).error().message();
    };
    EXPECT_NE(message_of(1000).find("'n0000000', 'n0000001', 'n0000002' and 997 more"), std::string::npos)
        << message_of(1000);
    EXPECT_EQ(message_of(1000).find("n0000999"), std::string::npos);
    for (std::size_t i = 0; i < 3; ++i) world.put(i, "n0000000", "theirs", 1h);
    EXPECT_EQ(message_of(3).find("more"), std::string::npos) << message_of(3);
    EXPECT_NE(message_of(3).find("'n0000000', 'n0000001', 'n0000002'"), std::string::npos) << message_of(3);
}

TEST(Calls, what_can_never_work_is_an_error_that_names_it_and_sends_nothing) {
    World world{3};
    auto locks = connected_to(world);
    const auto expect = [&](const Result<ScriptedRedlock::lock_type>& result, const std::string& part) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code(), errc::invalid_argument);
        EXPECT_NE(result.error().message().find(part), std::string::npos) << result.error().message();
    };
    expect(locks.try_lock("", 10s), "empty");
    expect(locks.try_lock({"a", ""}, 10s), "empty");
    expect(locks.try_lock(Names{}, 10s), "empty");
    expect(locks.try_lock({"a", "b", "a"}, 10s), "'a' is there twice");
    expect(locks.try_lock(std::string((64U << 10U) + 1, 'x'), 10s), "65537 bytes");
    expect(locks.try_lock({"line\r\nbreak", "line\r\nbreak"}, 10s), "'line\\x0d\\x0abreak' is there twice");
    expect(locks.lock("a", {.renew_limit = -5s}), "renew_limit is -5000 ms");
    expect(locks.lock("a", {.wait_unreachable = -1ms}), "wait_unreachable is -1 ms");
    expect(locks.try_lock("a", 0ms), "0 ms");
    expect(locks.try_lock("a", -1ms), "-1 ms");
    expect(locks.try_lock("a", 2ms), "drift");
    expect(locks.try_lock("a", std::chrono::milliseconds::max()), "one year");
    expect(locks.try_lock("a", std::chrono::milliseconds::min()), "the ttl is");
    expect(locks.lock("a", {.ttl = 10s, .wait = -1ms}), "wait is -1 ms");
    expect(locks.lock("a", {.ttl = 10s, .renew = true, .renew_limit = 9s}), "renew_limit is 9000 ms");
    EXPECT_TRUE(world.handed().empty());
    EXPECT_TRUE(locks.try_lock("a", 3ms)) << "the shortest that leaves some validity";
}

// Two values that a caller could swap are of different types, and do not turn into each other.
using Lock = redlock::Lock;
static_assert(!std::is_convertible_v<std::string, Token>);
static_assert(!std::is_convertible_v<const char*, Token>);
static_assert(!std::is_convertible_v<Token, std::string>);
static_assert(!std::is_convertible_v<Token, std::string_view>);
static_assert(!std::is_convertible_v<Token, Resources>);
static_assert(!std::is_constructible_v<Resources, Token>);
static_assert(!std::is_constructible_v<Token, std::string>);

template <class... Arguments>
constexpr bool can_adopt = requires(Redlock& locks, const Arguments&... arguments) {
    locks.adopt(arguments...);
};
static_assert(can_adopt<const char*, Token, std::chrono::milliseconds>);
static_assert(!can_adopt<Token, const char*, std::chrono::milliseconds>);
static_assert(!can_adopt<const char*, const char*, std::chrono::milliseconds>);

template <class... Arguments>
constexpr bool can_try_lock = requires(Redlock& locks, const Arguments&... arguments) {
    locks.try_lock(arguments...);
};
static_assert(can_try_lock<const char*, std::chrono::seconds>);
static_assert(!can_try_lock<std::chrono::seconds, const char*>);
static_assert(!can_try_lock<const char*, int>, "a number without a unit");

static_assert(!std::is_copy_constructible_v<Lock> && !std::is_copy_assignable_v<Lock>);
static_assert(std::is_nothrow_move_constructible_v<Lock> && std::is_nothrow_move_assignable_v<Lock>);
static_assert(std::is_nothrow_destructible_v<Lock> && std::is_nothrow_destructible_v<Redlock>);
static_assert(!std::is_convertible_v<Lock, bool>);
static_assert(noexcept(std::declval<Lock&>().unlock()));

TEST(Lock, what_was_read_from_it_lives_as_long_as_the_lock_though_it_was_handed_on) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    const Token& token = lock->token();
    const std::string_view resource = lock->resource();
    const Handoff handoff = lock->detach();
    EXPECT_TRUE(handoff);
    EXPECT_EQ(handoff.token, token);
    EXPECT_EQ(resource, "name");
    EXPECT_FALSE(lock->owns_lock());
    EXPECT_FALSE(lock->detach()) << "nothing is left";
    EXPECT_EQ(lock->unlock().error(), errc::lost);
}

TEST(Lock, moved_to_itself_stays_held) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s).value();
    auto& same = lock;
    lock = std::move(same);
    EXPECT_TRUE(lock.owns_lock());
    auto other = locks.try_lock("other", 10s).value();
    lock = std::move(other);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
    EXPECT_EQ(lock.resource(), "other");
}

TEST(Calls, on_a_redlock_that_was_moved_from_are_an_error) {
    World world{3};
    auto locks = connected_to(world);
    const auto there = std::move(locks);
    const auto lock = locks.try_lock("name", 10s);  // NOLINT(bugprone-use-after-move)
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error(), errc::invalid_argument);
    EXPECT_EQ(locks.inspect("name").error(), errc::invalid_argument);
}

}  // namespace
}  // namespace redlock::test
