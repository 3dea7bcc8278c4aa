// SPDX-License-Identifier: Apache-2.0
// Nodes that refuse, send invalid bytes, do not answer or disconnect: each is a vote with a text, and ends
// nothing.
#include <algorithm>
#include <csignal>
#include <functional>
#include <thread>

#include "integration/fixture.hpp"
#include "support/fake_node.hpp"

namespace redlock::test {
namespace {

// Locks on two good nodes and the one at `uri`. Returns the report of the latter.
NodeReport report_of(Cluster& two_good, const std::string& uri, const Options& options = patient()) {
    Redlock locks{{two_good[0].uri(), two_good[1].uri(), uri}, options};
    auto lock = locks.try_lock("name", 60s);
    EXPECT_TRUE(lock) << lock.error().message();
    if (!lock) return lock.error().nodes().at(2);
    static_cast<void>(eventually(patience, [&] { return lock->nodes()[2].vote != Vote::pending; }));
    const NodeReport report = lock->nodes()[2];
    EXPECT_TRUE(lock->unlock());
    return report;
}

std::string with_login(const RedisServer& server, const std::string& login) {
    return "unix://" + login + "@" + server.socket_path();
}

TEST(Refusal, R26_a_wrong_password) {
    Cluster good{2};
    if (good[0].major_version() < 6) GTEST_SKIP() << "Redis 5 has other words for it";
    RedisServer guarded{{.password = "right"}};
    EXPECT_EQ(report_of(good, with_login(guarded, ":right")).vote, Vote::granted);
    const NodeReport wrong = report_of(good, with_login(guarded, ":hunter2"));
    EXPECT_EQ(wrong.vote, Vote::refused);
    EXPECT_NE(wrong.detail.find("WRONGPASS"), std::string::npos) << wrong.detail;
    EXPECT_EQ((wrong.detail + wrong.endpoint).find("hunter2"), std::string::npos);
    const NodeReport none = report_of(good, guarded.uri());
    EXPECT_EQ(none.vote, Vote::refused);
    EXPECT_NE(none.detail.find("NOAUTH"), std::string::npos) << none.detail;
}

TEST(Refusal, R26_users_and_what_they_may_do) {
    Cluster good{2};
    if (good[0].major_version() < 6) GTEST_SKIP() << "Redis 5 has no users";
    RedisServer guarded{{.users = {"alice on >secret ~* +@all", "bob on >secret ~other:* +@all",
                                   "carol on >secret ~* +@all -info -client"}}};
    EXPECT_EQ(report_of(good, with_login(guarded, "alice:secret")).vote, Vote::granted);
    EXPECT_EQ(report_of(good, with_login(guarded, "alice:wrong")).vote, Vote::refused);
    const NodeReport bob = report_of(good, with_login(guarded, "bob:secret"));
    EXPECT_EQ(bob.vote, Vote::refused);
    EXPECT_NE(bob.detail.find("NOPERM"), std::string::npos) << bob.detail;
    EXPECT_EQ(report_of(good, with_login(guarded, "carol:secret")).vote, Vote::granted)
        << "the log-in asks more than a user must be allowed";
}

TEST(Refusal, R26_a_replica) {
    Cluster good{2};
    RedisServer master{{.tcp = true}};
    RedisServer replica;
    Redlock locks{{good[0].uri(), good[1].uri(), replica.uri()}, patient()};
    warm_up(locks);
    replica.query({"REPLICAOF", "127.0.0.1", std::to_string(master.port())});
    ASSERT_TRUE(eventually(patience, [&] { return replica.info("replication", "role") == "slave"; }));
    {
        const auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        ASSERT_TRUE(eventually(patience, [&] { return lock->nodes()[2].vote != Vote::pending; }));
        EXPECT_EQ(lock->nodes()[2].vote, Vote::refused);
        EXPECT_NE(lock->nodes()[2].detail.find("READONLY"), std::string::npos) << lock->nodes()[2].detail;
    }
    const NodeReport report = report_of(good, replica.uri());
    EXPECT_EQ(report.vote, Vote::refused);
    EXPECT_NE(report.detail.find("replica"), std::string::npos) << report.detail;
}

TEST(Refusal, R26_no_memory_denies_new_locks_but_not_the_release_of_old_ones) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    auto held = locks.try_lock("held", 60s);
    ASSERT_TRUE(held) << held.error().message();
    for (RedisServer& node : cluster) node.query({"CONFIG", "SET", "maxmemory", "1"});
    const auto lock = locks.try_lock("name", 60s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::unreachable) << lock.error().message();
    EXPECT_NE(lock.error().message().find("OOM"), std::string::npos) << lock.error().message();
    EXPECT_TRUE(held->unlock());
    EXPECT_TRUE(is_clean(cluster));
}

TEST(Misbehaviour, of_a_minority_is_a_vote_with_a_text) {
    Cluster good{2};
    const FakeNode silent = silent_node();
    const FakeNode closing = closing_node();
    const FakeNode rubbish = rubbish_node();
    const UnansweringPort unanswering;
    Options options = brisk();
    options.connect_timeout = 500ms;
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(report_of(good, silent.uri(), options).vote, Vote::timeout);
    EXPECT_EQ(report_of(good, unanswering.uri(), options).vote, Vote::timeout);
    for (const std::string& uri : {closing.uri(), dead_tcp_uri(), dead_unix_uri()}) {
        const NodeReport report = report_of(good, uri, options);
        EXPECT_EQ(report.vote, Vote::unreachable) << uri;
        EXPECT_FALSE(report.detail.empty()) << uri;
    }
    const NodeReport talker = report_of(good, rubbish.uri(), options);
    EXPECT_EQ(talker.vote, Vote::refused);
    EXPECT_NE(talker.detail.find("not Redis"), std::string::npos) << talker.detail;
    EXPECT_LT(std::chrono::steady_clock::now() - before, patience);
}

TEST(Misbehaviour, of_every_node_fails_within_node_timeout_and_a_little) {
    for (const auto& make : {silent_node, closing_node}) {
        const FakeNode a = make(Family::unix_socket);
        const FakeNode b = make(Family::tcp);
        const FakeNode c = make(Family::unix_socket);
        Redlock locks{{a.uri(), b.uri(), c.uri()}, brisk()};
        const auto before = std::chrono::steady_clock::now();
        const auto lock = locks.try_lock("name", 60s);
        ASSERT_FALSE(lock);
        EXPECT_EQ(lock.error().code(), errc::unreachable) << lock.error().message();
        EXPECT_LT(std::chrono::steady_clock::now() - before, brisk().node_timeout + 2s);
    }
}

TEST(Misbehaviour, a_reply_without_an_end_does_not_fill_the_memory) {
    Cluster good{2};
    const FileDescriptor listener = listen_on(Address::loopback(0));
    const std::string uri = Address::loopback(local_port(listener.get())).uri();
    std::size_t taken = 0;
    std::thread babbler{[&] {
        pollfd caller{listener.get(), POLLIN, 0};
        ::poll(&caller, 1, 10'000);
        const FileDescriptor peer{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        std::string text = "$500000000\r\n";
        text.resize(std::size_t{1} << 20U, 'x');
        for (ssize_t sent = 1; sent > 0; taken += static_cast<std::size_t>(std::max<ssize_t>(sent, 0))) {
            sent = ::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL);
        }
    }};
    Options options = patient();
    options.connect_timeout = 60s;
    const NodeReport report = report_of(good, uri, options);
    babbler.join();
    EXPECT_EQ(report.vote, Vote::refused);
    EXPECT_NE(report.detail.find("without an end"), std::string::npos) << report.detail;
    EXPECT_LT(taken, std::size_t{64} << 20U);
}

// CASES 13: a surplus reply would be taken for the answer to the next request.
TEST(Misbehaviour, a_reply_that_nobody_asked_for_ends_the_connection) {
    Cluster good{2};
    FakeNode node = agreeable_node();
    Options options = patient();
    options.fencing = false;  // this node has no counter, which would cost a second round and then its vote
    Redlock locks{{good[0].uri(), good[1].uri(), node.uri()}, options};
    warm_up(locks);
    ASSERT_EQ(node.accepted(), 1U);
    node.push(":1\r\n");
    EXPECT_TRUE(eventually(patience, [&] {
        const auto lock = locks.try_lock("name", 60s);
        EXPECT_TRUE(lock) << lock.error().message();
        return node.accepted() == 2;
    }));
}

TEST(Misbehaviour, R22_a_node_that_hangs_up_is_not_called_again_before_the_backoff_is_over) {
    Cluster good{2};
    const FakeNode node = closing_node();
    Options options = patient();
    options.reconnect_min = options.reconnect_max = 1h;
    Redlock locks{{good[0].uri(), good[1].uri(), node.uri()}, options};
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(locks.try_lock("name", 60s));
    EXPECT_TRUE(eventually(patience, [&] { return node.accepted() > 0; }));
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(locks.try_lock("name", 60s));
    EXPECT_EQ(node.accepted(), 1U);
}

// DESIGN 10: "never reconnects; printf per operation".
TEST(Misbehaviour, the_library_prints_nothing) {
    Cluster good{2};
    Redlock locks{{good[0].uri(), good[1].uri(), dead_unix_uri()}, brisk()};
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const bool is_locked = got(locks.try_lock("name", 60s));
    good[0].kill();
    const bool is_locked_without = got(locks.try_lock("name", 60s));
    const std::string out = ::testing::internal::GetCapturedStdout();
    const std::string err = ::testing::internal::GetCapturedStderr();
    EXPECT_TRUE(is_locked);
    EXPECT_FALSE(is_locked_without);
    EXPECT_EQ(out + err, "");
}

std::atomic<int> pipe_signals{0};

// DESIGN 10: "process killed by SIGPIPE on the second write to a closed connection (hiredis 0.14)".
TEST(Misbehaviour, R21_a_connection_that_closes_raises_no_SIGPIPE) {
    struct sigaction count {};
    count.sa_handler = [](int) { ++pipe_signals; };
    struct sigaction old {};
    ASSERT_EQ(::sigaction(SIGPIPE, &count, &old), 0);
    for (const Family family : {Family::unix_socket, Family::tcp}) {
        const FakeNode node = scripted_node(
            [](const Request& request) {
                if (request[0] == "SET") return Answer{"+OK\r\n", true};
                return agreeable_answer(request);
            },
            family);
        Options options = brisk();
        options.fencing = false;
        Redlock locks{{node.uri()}, options};
        for (int i = 0; i < 20; ++i) {
            const auto lock = locks.lock("name", {.ttl = 60s, .wait = 5s});
            EXPECT_TRUE(lock) << lock.error().message();
        }
        EXPECT_GE(node.accepted(), 20U) << "every connection was closed under us";
    }
    EXPECT_EQ(pipe_signals, 0);
    ::sigaction(SIGPIPE, &old, nullptr);
}

}  // namespace
}  // namespace redlock::test
