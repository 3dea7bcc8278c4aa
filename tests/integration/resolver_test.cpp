// SPDX-License-Identifier: Apache-2.0
// Host names that are slow to look up, and names with several addresses. The system resolves all names except
// "slow.redlock.test" and those below it, which are answered when the test says so, "2-1.redlock.test", which
// is 127.0.0.2 and then 127.0.0.1, and "unsure.redlock.test", which cannot be resolved all the time.
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "integration/connection_parts.hpp"
#include "integration/fixture.hpp"
#include "support/sanitizers.hpp"

namespace redlock::test {
namespace {

constexpr std::string_view slow_names = "slow.redlock.test";
constexpr const char* unsure_name = "unsure.redlock.test";  // 127.0.0.1, while it can be resolved

// Intercepts the lookups between the library and the system's resolver.
struct SlowResolver {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, int> lookups;
    std::map<std::string, bool> may_answer;
    bool is_sure = true;

    void ask(const std::string& name) {
        std::unique_lock lock{mutex};
        ++lookups[name];
        changed.wait(lock, [&] { return may_answer[name]; });
    }
    void answer(const std::string& name) {
        const std::lock_guard lock{mutex};
        may_answer[name] = true;
        changed.notify_all();
    }
    [[nodiscard]] int count(const std::string& name) {
        const std::lock_guard lock{mutex};
        return lookups[name];
    }
    void be_sure(bool is_it) {
        const std::lock_guard lock{mutex};
        is_sure = is_it;
    }
    [[nodiscard]] bool knows() {
        const std::lock_guard lock{mutex};
        return is_sure;
    }
};

SlowResolver& slow_resolver() {
    static auto* resolver = new SlowResolver;  // lookup threads may outlive all other objects
    return *resolver;
}

}  // namespace
}  // namespace redlock::test

extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** list) {
    static const auto real = reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    const std::string name = host == nullptr ? "" : host;
    if (name.ends_with(redlock::test::slow_names)) {
        redlock::test::slow_resolver().ask(name);
        return real("127.0.0.1", service, hints, list);
    }
    if (name == redlock::test::unsure_name) {
        if (!redlock::test::slow_resolver().knows()) return EAI_AGAIN;
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

// A dead first nameserver costs five seconds; a connection may take one second by default.
TEST(Resolver, R22_an_answer_that_takes_longer_than_a_connection_may_is_used_all_the_same) {
    RedisServer server{{.tcp = true}};
    Options options = brisk();
    options.connect_timeout = 20ms;
    options.reconnect_max = options.reconnect_min = 5ms;
    const std::string name{slow_names};
    Redlock locks{"redis://" + name + ":" + std::to_string(server.port()), options};
    const auto says_that_it_took_too_long = [&] {
        const auto lock = locks.try_lock("name", 60s);
        EXPECT_FALSE(lock);
        return !lock && lock.error().nodes().at(0).detail.find("20 ms") != std::string::npos;
    };
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(eventually(patience, says_that_it_took_too_long));
    EXPECT_TRUE(eventually(patience, [&] { return slow_resolver().count(name) == 1; })) << "one at a time";
    slow_resolver().answer(name);
    EXPECT_TRUE(eventually(patience, [&] { return got(locks.try_lock("name", 60s)); }));
    EXPECT_EQ(slow_resolver().count(name), 1);
}

TEST(Resolver, A_name_is_asked_for_once_at_a_time_by_all_of_a_process) {
    RedisServer server{{.tcp = true}};
    Options options = brisk();
    options.connect_timeout = 20ms;
    const std::string name = "shared.slow.redlock.test";
    const std::string uri = "redis://" + name + ":" + std::to_string(server.port());
    for (int i = 0; i < 20; ++i) EXPECT_FALSE(got(Redlock{uri, options}.try_lock("name", 60s)));
    EXPECT_TRUE(eventually(patience, [&] { return slow_resolver().count(name) > 0; }));
    Redlock one{uri, options};
    Redlock other{uri, options};
    for (Redlock* locks : {&one, &other}) EXPECT_FALSE(got(locks->try_lock("name", 60s)));
    EXPECT_EQ(slow_resolver().count(name), 1) << "a thread for each would be as many as there are calls";
    slow_resolver().answer(name);
    for (Redlock* locks : {&one, &other}) {
        EXPECT_TRUE(eventually(patience, [&] { return got(locks->try_lock("name", 60s)); }));
    }
}

TEST(Resolver, A_name_that_hangs_keeps_no_other_from_being_looked_up) {
    std::deque<RedisServer> servers;
    std::vector<std::string> uris;
    for (const std::string name : {"hung.slow.redlock.test", "1.redlock.test", "1-1.redlock.test"}) {
        servers.emplace_back(ServerOptions{.tcp = true});
        uris.push_back("redis://" + name + ":" + std::to_string(servers.back().port()));
    }
    Redlock locks{uris, brisk()};
    EXPECT_TRUE(eventually(patience, [&] { return got(locks.try_lock("name", 60s)); }));
    slow_resolver().answer("hung.slow.redlock.test");
}

// The parent's lookup thread does not exist in the child.
TEST(Resolver, A_forked_child_does_not_wait_for_what_its_parent_looks_up) {
#if REDLOCK_TEST_IS_SANITIZED
    GTEST_SKIP() << "sanitizers do not know the threads of a forked child";
#endif
    RedisServer server{{.tcp = true}};
    const std::string name = "forked.slow.redlock.test";
    const std::string uri = "redis://" + name + ":" + std::to_string(server.port());
    EXPECT_FALSE(got(Redlock{uri, brisk()}.try_lock("name", 60s)));
    ASSERT_TRUE(eventually(patience, [&] { return slow_resolver().count(name) == 1; }));
    const pid_t child = ::fork();
    if (child == 0) {
        slow_resolver().answer(name);
        Redlock locks{uri, brisk()};
        ::_exit(eventually(patience / 2, [&] { return got(locks.try_lock("name", 60s)); }) ? 0 : 1);
    }
    int status = 0;
    const bool has_ended = eventually(patience, [&] { return ::waitpid(child, &status, WNOHANG) == child; });
    if (!has_ended) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
    }
    EXPECT_TRUE(has_ended && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    slow_resolver().answer(name);
}

// During its lifetime no thread can be started, since the default stack is larger than the address space.
class [[maybe_unused]] NoThreads {
   public:
    NoThreads() {
        ::pthread_getattr_default_np(&usual_);
        pthread_attr_t huge = usual_;
        constexpr std::size_t all = std::size_t{1} << 47U;
        if (::pthread_attr_setstacksize(&huge, all) != 0 || ::pthread_setattr_default_np(&huge) != 0) {
            throw std::runtime_error{"the size of stacks cannot be set"};
        }
    }
    NoThreads(const NoThreads&) = delete;
    NoThreads& operator=(const NoThreads&) = delete;
    ~NoThreads() { ::pthread_setattr_default_np(&usual_); }

   private:
    pthread_attr_t usual_{};
};

NodeReport report_of_last(Redlock& locks) { return locks.inspect("name").value().nodes.back().report; }

TEST(Resolver, Where_no_thread_can_be_had_the_other_nodes_go_on_and_the_report_says_so) {
#if REDLOCK_TEST_IS_SANITIZED
    GTEST_SKIP() << "sanitizers give threads stacks of their own";
#endif
    std::deque<RedisServer> servers;
    std::vector<std::string> uris;
    for (const std::string host : {"127.0.0.1", "127.0.0.1", "1.redlock.test"}) {
        servers.emplace_back(ServerOptions{.tcp = true});
        uris.push_back("redis://" + host + ":" + std::to_string(servers.back().port()));
    }
    Options options = brisk();
    options.reconnect_max = options.reconnect_min = 5ms;
    Redlock locks{uris, options};
    {
        const NoThreads none;
        EXPECT_TRUE(eventually(patience, [&] { return got(locks.try_lock("name", 60s)); }));
        const NodeReport report = report_of_last(locks);
        EXPECT_EQ(report.vote, Vote::unreachable);
        EXPECT_NE(report.detail.find("no thread to look it up"), std::string::npos) << report.detail;
    }
    EXPECT_TRUE(eventually(patience, [&] { return report_of_last(locks).vote == Vote::granted; }));
}

// A name that cannot be resolved at the moment says nothing about the node.
TEST(Resolver, A_node_whose_name_is_not_known_for_a_while_is_looked_for_where_it_was) {
    RedisServer server{{.tcp = true}};
    Options options = brisk();
    options.reconnect_max = options.reconnect_min = 5ms;
    Redlock locks{std::string{"redis://"} + unsure_name + ":" + std::to_string(server.port()), options};
    EXPECT_TRUE(eventually(patience, [&] { return got(locks.try_lock("name", 60s)); }));
    const auto is_reconnected = [&] {
        server.query({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
        return eventually(patience, [&] { return got(locks.try_lock("name", 60s)); });
    };
#if !REDLOCK_TEST_IS_SANITIZED  // sanitizers give threads stacks of their own
    {
        const NoThreads none;
        EXPECT_TRUE(is_reconnected());
    }
#endif
    slow_resolver().be_sure(false);
    EXPECT_TRUE(is_reconnected());
    Redlock newcomer{std::string{"redis://"} + unsure_name + ":" + std::to_string(server.port()), options};
    EXPECT_EQ(newcomer.try_lock("other", 60s).error(), errc::unreachable) << "it was nowhere yet";
    slow_resolver().be_sure(true);
}

// ---- several addresses -------------------------------------------------------------------------------

// A host name with the addresses 127.0.0.2 and 127.0.0.1, in this order; `second` listens on the latter. Both
// have its port.
std::string uri_of_two(const FakeNode& second) {
    return "redis://2-1.redlock.test:" + std::to_string(second.port());
}
FakeNode first_beside(const FakeNode& second, FakeNode::Behaviour behaviour) {
    return FakeNode{std::move(behaviour), Address::loopback(second.port(), 2)};
}
FakeNode::Behaviour refusing(const std::string& error) {
    FakeNode::Behaviour behaviour;
    behaviour.on_request = [error](const Request&) { return Answer{"-" + error + "\r\n"}; };
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
        DrivenTransport driven{{uri_of_two(second)}, waits_long()};
        EXPECT_TRUE(driven.comes_up()) << "connecting to the first is refused";
        EXPECT_TRUE(driven.downs.empty());
    }
    for (const auto& behaviour :
         {closing(), refusing("DENIED protected"), refusing("LOADING yet"), replica()}) {
        const FakeNode first = first_beside(second, behaviour);
        DrivenTransport driven{{uri_of_two(second)}, waits_long()};
        EXPECT_TRUE(driven.comes_up());
        EXPECT_TRUE(driven.downs.empty());
        EXPECT_EQ(first.accepted(), 1U);
    }
}

TEST(Addresses, R22_one_that_is_silent_has_no_more_than_its_share_of_the_time) {
    FakeNode second = agreeable_node({}, Family::tcp);
    const FakeNode first = first_beside(second, {});
    Options options = waits_long();
    options.connect_timeout = 1s;
    DrivenTransport driven{{uri_of_two(second)}, options};
    const auto before = std::chrono::steady_clock::now();
    EXPECT_TRUE(driven.comes_up());
    EXPECT_GE(std::chrono::steady_clock::now() - before, 400ms) << "half of it, less the look-up";
    EXPECT_TRUE(driven.downs.empty());
}

TEST(Addresses, R22_the_one_that_worked_is_the_first_next_time) {
    FakeNode second = agreeable_node({}, Family::tcp);
    const FakeNode first = first_beside(second, closing());
    DrivenTransport driven{{uri_of_two(second)}, waits_long()};
    ASSERT_TRUE(driven.comes_up());
    ASSERT_EQ(first.accepted(), 1U);
    for (std::size_t i = 1; i <= 3; ++i) {
        ASSERT_TRUE(driven.is_answered({"SET", "name", "token"}));
        second.close_connections();
        ASSERT_TRUE(driven.poll_until([&] { return driven.downs.size() == i; }));
        ASSERT_TRUE(driven.comes_up());
    }
    EXPECT_EQ(first.accepted(), 1U);
}

// The node is a replica, or is no longer the primary; the name may also have the primary's address.
TEST(Addresses, R29_the_one_that_was_of_no_use_is_the_last_next_time) {
    FakeNode second = agreeable_node({}, Family::tcp);
    const FakeNode first = first_beside(second, agreeable());
    DrivenTransport driven{{uri_of_two(second)}, tries_often()};
    ASSERT_TRUE(driven.comes_up());
    ASSERT_EQ(second.accepted(), 0U);
    driven.transport().drop(0, {Vote::refused, "it is a replica, not a master"});
    ASSERT_TRUE(driven.poll_until([&] { return driven.connect() == redlock::detail::Sent::accepted; }));
    EXPECT_EQ(second.accepted(), 1U);
    driven.transport().drop(0, {Vote::refused, "it is a replica, not a master"});
    ASSERT_TRUE(driven.poll_until([&] { return driven.connect() == redlock::detail::Sent::accepted; }));
    EXPECT_EQ(first.accepted(), 2U);
}

TEST(Addresses, R29_the_most_telling_of_all_reasons_is_given) {
    Options options = waits_long();
    options.connect_timeout = 200ms;
    const auto reason_with = [&](FakeNode::Behaviour one, FakeNode::Behaviour other) {
        FakeNode second{std::move(one), Address::loopback(0)};
        const FakeNode first = first_beside(second, std::move(other));
        DrivenTransport driven{{uri_of_two(second)}, options};
        EXPECT_FALSE(driven.comes_up());
        EXPECT_EQ(driven.downs.size(), 1U);
        return driven.downs.empty() ? DrivenTransport::Down{} : driven.downs[0];
    };
    const FakeNode::Behaviour silent;
    for (const auto& reason :
         {reason_with(refusing("NOAUTH x"), silent), reason_with(silent, refusing("NOAUTH x")),
          reason_with(closing(), refusing("NOAUTH x")), reason_with(refusing("NOAUTH x"), closing())}) {
        EXPECT_EQ(reason.vote, Vote::refused);
        EXPECT_EQ(reason.text, "NOAUTH x");
    }
    EXPECT_EQ(reason_with(silent, closing()).vote, Vote::timeout);
    EXPECT_EQ(reason_with(closing(), silent).vote, Vote::timeout);
    EXPECT_EQ(reason_with(closing(), closing()).vote, Vote::unreachable);
}

}  // namespace
}  // namespace redlock::test
