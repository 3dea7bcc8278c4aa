// SPDX-License-Identifier: Apache-2.0
// Host names that are slow to look up, and such as lead to several addresses. The resolver is the system's,
// but for one name that answers when the test says so, and "2-1.redlock.test": 127.0.0.2, then 127.0.0.1.
#include <dlfcn.h>
#include <netdb.h>

#include <condition_variable>
#include <mutex>
#include <string>

#include "integration/connection_parts.hpp"
#include "integration/fixture.hpp"

namespace redlock::test {
namespace {

constexpr const char* slow_name = "slow.redlock.test";

// What stands between the library and the system's resolver.
struct SlowResolver {
    std::mutex mutex;
    std::condition_variable changed;
    int lookups = 0;
    bool may_answer = false;

    void ask() {
        std::unique_lock lock{mutex};
        ++lookups;
        changed.wait(lock, [this] { return may_answer; });
    }
    void answer() {
        const std::lock_guard lock{mutex};
        may_answer = true;
        changed.notify_all();
    }
    [[nodiscard]] int count() {
        const std::lock_guard lock{mutex};
        return lookups;
    }
};

SlowResolver& slow_resolver() {
    static auto* resolver = new SlowResolver;  // threads that look up may outlive all else
    return *resolver;
}

}  // namespace
}  // namespace redlock::test

extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** list) {
    static const auto real = reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    const std::string name = host == nullptr ? "" : host;
    if (name == redlock::test::slow_name) {
        redlock::test::slow_resolver().ask();
        return real("127.0.0.1", service, hints, list);
    }
    if (!name.ends_with(".redlock.test")) return real(host, service, hints, list);
    // freeaddrinfo() frees one entry after the other.
    for (std::size_t at = 0; at < name.find('.'); at += 2) {
        const int error = real(("127.0.0." + name.substr(at, 1)).c_str(), service, hints, list);
        if (error != 0) return error;
        list = &(*list)->ai_next;
    }
    return 0;
}

namespace redlock::test {
namespace {

// A first nameserver that is dead costs five seconds, and a connection may take one by default.
TEST(Resolver, R22_an_answer_that_takes_longer_than_a_connection_may_is_used_all_the_same) {
    RedisServer server{{.tcp = true}};
    Options options = brisk();
    options.connect_timeout = 20ms;
    options.reconnect_max = options.reconnect_min = 5ms;
    Redlock<> locks{std::string{"redis://"} + slow_name + ":" + std::to_string(server.port()), options};
    const auto says_that_it_took_too_long = [&] {
        const auto lock = locks.try_lock("name", 60s);
        EXPECT_FALSE(lock);
        return !lock && lock.error().nodes().at(0).detail.find("20 ms") != std::string::npos;
    };
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(eventually(patience, says_that_it_took_too_long));
    EXPECT_EQ(slow_resolver().count(), 1) << "one question at a time";
    slow_resolver().answer();
    EXPECT_TRUE(eventually(patience, [&] { return got(locks.try_lock("name", 60s)); }));
    EXPECT_EQ(slow_resolver().count(), 1);
}

// ---- several addresses -------------------------------------------------------------------------------

// A host name that leads to 127.0.0.2 and then to 127.0.0.1, where `second` is, both with its port.
std::string uri_of_two(const FakeNode& second) {
    return "redis://2-1.redlock.test:" + std::to_string(second.port());
}
FakeNode first_beside(const FakeNode& second, FakeNode::Behaviour behaviour) {
    return FakeNode{std::move(behaviour), Address::loopback(second.port(), 2)};
}
FakeNode::Behaviour refusing(const std::string& words) {
    FakeNode::Behaviour behaviour;
    behaviour.on_request = [words](const Request&) { return Answer{"-" + words + "\r\n"}; };
    return behaviour;
}
FakeNode::Behaviour closing() {
    FakeNode::Behaviour behaviour;
    behaviour.close_at_once = true;
    return behaviour;
}
FakeNode::Behaviour agreeable() {
    FakeNode::Behaviour behaviour;
    behaviour.on_request = agreeable_answer;
    return behaviour;
}

FakeNode::Behaviour replica() {
    FakeNode::Behaviour behaviour;
    behaviour.on_request = [](const Request& request) -> Answer {
        return request[0] == "INFO" ? Answer{bulk("run_id:1\r\nrole:slave\r\n")} : agreeable_answer(request);
    };
    return behaviour;
}

TEST(Addresses, R22_the_next_is_tried_within_one_connect) {
    FakeNode second = agreeable_node({}, Family::tcp);
    {
        DrivenTransport wire{{uri_of_two(second)}, waits_long()};
        EXPECT_TRUE(wire.comes_up()) << "connecting to the first is refused";
        EXPECT_TRUE(wire.downs.empty());
    }
    for (const auto& behaviour :
         {closing(), refusing("DENIED protected"), refusing("LOADING yet"), replica()}) {
        const FakeNode first = first_beside(second, behaviour);
        DrivenTransport wire{{uri_of_two(second)}, waits_long()};
        EXPECT_TRUE(wire.comes_up());
        EXPECT_TRUE(wire.downs.empty());
        EXPECT_EQ(first.accepted(), 1U);
    }
}

TEST(Addresses, R22_one_that_is_silent_has_no_more_than_its_share_of_the_time) {
    FakeNode second = agreeable_node({}, Family::tcp);
    const FakeNode first = first_beside(second, {});
    Options options = waits_long();
    options.connect_timeout = 1s;
    DrivenTransport wire{{uri_of_two(second)}, options};
    const auto before = std::chrono::steady_clock::now();
    EXPECT_TRUE(wire.comes_up());
    EXPECT_GE(std::chrono::steady_clock::now() - before, 400ms) << "half of it, less the look-up";
    EXPECT_TRUE(wire.downs.empty());
}

TEST(Addresses, R22_the_one_that_worked_is_the_first_next_time) {
    FakeNode second = agreeable_node({}, Family::tcp);
    const FakeNode first = first_beside(second, closing());
    DrivenTransport wire{{uri_of_two(second)}, waits_long()};
    ASSERT_TRUE(wire.comes_up());
    ASSERT_EQ(first.accepted(), 1U);
    for (std::size_t i = 1; i <= 3; ++i) {
        ASSERT_TRUE(wire.is_answered({"SET", "name", "token"}));
        second.close_connections();
        ASSERT_TRUE(wire.poll_until([&] { return wire.downs.size() == i; }));
        ASSERT_TRUE(wire.comes_up());
    }
    EXPECT_EQ(first.accepted(), 1U);
}

// A replica, or a primary that is none any more: the name may lead to the right one too.
TEST(Addresses, R29_the_one_that_was_of_no_use_is_the_last_next_time) {
    FakeNode second = agreeable_node({}, Family::tcp);
    const FakeNode first = first_beside(second, agreeable());
    DrivenTransport wire{{uri_of_two(second)}, tries_often()};
    ASSERT_TRUE(wire.comes_up());
    ASSERT_EQ(second.accepted(), 0U);
    wire.transport().drop(0, {Vote::refused, "it is a replica, not a master"});
    ASSERT_TRUE(wire.poll_until([&] { return wire.connect() == redlock::detail::Sent::accepted; }));
    EXPECT_EQ(second.accepted(), 1U);
    wire.transport().drop(0, {Vote::refused, "it is a replica, not a master"});
    ASSERT_TRUE(wire.poll_until([&] { return wire.connect() == redlock::detail::Sent::accepted; }));
    EXPECT_EQ(first.accepted(), 2U);
}

TEST(Addresses, R29_the_most_telling_of_all_reasons_is_given) {
    Options options = waits_long();
    options.connect_timeout = 200ms;
    const auto reason_with = [&](FakeNode::Behaviour one, FakeNode::Behaviour other) {
        FakeNode second{std::move(one), Address::loopback(0)};
        const FakeNode first = first_beside(second, std::move(other));
        DrivenTransport wire{{uri_of_two(second)}, options};
        EXPECT_FALSE(wire.comes_up());
        EXPECT_EQ(wire.downs.size(), 1U);
        return wire.downs.empty() ? DrivenTransport::Down{} : wire.downs[0];
    };
    const FakeNode::Behaviour silent;
    for (const auto& reason :
         {reason_with(refusing("NOAUTH x"), silent), reason_with(silent, refusing("NOAUTH x")),
          reason_with(closing(), refusing("NOAUTH x")), reason_with(refusing("NOAUTH x"), closing())}) {
        EXPECT_EQ(reason.vote, Vote::refused);
        EXPECT_EQ(reason.words, "NOAUTH x");
    }
    EXPECT_EQ(reason_with(silent, closing()).vote, Vote::timeout);
    EXPECT_EQ(reason_with(closing(), silent).vote, Vote::timeout);
    EXPECT_EQ(reason_with(closing(), closing()).vote, Vote::unreachable);
}

}  // namespace
}  // namespace redlock::test
