// SPDX-License-Identifier: Apache-2.0
// Other Redlock clients, names with any bytes, and two addresses of one server.
#include "integration/fixture.hpp"

namespace redlock::test {
namespace {

TEST(Foreign, R2_what_another_client_set_denies_us_and_ours_denies_it) {
    Cluster cluster{5};
    for (const bool fencing : {true, false}) {
        Options options = patient();
        options.fencing = fencing;
        auto locks = connect_to(cluster, options);
        for (std::size_t i = 0; i < 3; ++i) {
            ASSERT_EQ(cluster[i].query({"SET", "name", "theirs", "NX", "PX", "60000"}).text, "OK");
        }
        const auto denied = locks.try_lock("name", 60s);
        ASSERT_FALSE(denied);
        EXPECT_EQ(denied.error().code(), errc::contended) << denied.error().message();
        EXPECT_EQ(cluster.count_holding("name"), 3U) << "theirs was not touched";
        for (std::size_t i = 0; i < 3; ++i) cluster[i].query({"DEL", "name"});

        auto lock = locks.lock("name", {.ttl = 60s, .wait = 20s});
        ASSERT_TRUE(lock) << lock.error().message();
        ASSERT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 5; }));
        for (RedisServer& node : cluster) {
            EXPECT_TRUE(node.query({"SET", "name", "theirs", "NX", "PX", "60000"}).is_nil());
            EXPECT_EQ(node.get("name"), lock->token().str());
            EXPECT_LE(node.pttl("name").value_or(0ms), 60s);
        }
        ASSERT_TRUE(lock->unlock());
        EXPECT_TRUE(is_clean(cluster));
    }
}

TEST(Foreign, a_key_without_a_ttl_is_a_lock_for_good) {
    Cluster cluster{1};
    cluster[0].query({"SET", "name", "theirs"});
    auto locks = connect_to(cluster);
    const auto lock = locks.try_lock("name", 60s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::contended);
}

TEST(Foreign, a_name_that_is_no_string_there_is_denied_and_left_alone) {
    Cluster cluster{1};
    cluster[0].query({"RPUSH", "name", "x"});
    auto locks = connect_to(cluster);
    EXPECT_FALSE(got(locks.try_lock("name", 60s)));
    EXPECT_EQ(cluster[0].query({"LLEN", "name"}).number(), 1);
}

TEST(Names, may_hold_any_bytes_and_be_large) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    const std::string names[] = {std::string{"nul\0inside", 10},
                                 "line\r\nbreak",
                                 "\r\n$3\r\nSET\r\n",
                                 "{braces}",
                                 "{",
                                 "blank and ü",
                                 std::string{"\0", 1},
                                 "\xff\xfe",
                                 std::string(std::size_t{64} << 10U, 'x')};
    for (const std::string& name : names) {
        auto lock = locks.try_lock(name, 60s);
        ASSERT_TRUE(lock) << name.size() << ": " << lock.error().message();
        EXPECT_EQ(lock->resource(), name);
        EXPECT_TRUE(eventually(patience, [&] { return cluster.count_holding(name) == 3; }));
        EXPECT_FALSE(got(locks.try_lock(name, 60s)));
        EXPECT_TRUE(lock->extend(60s));
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(Names, R24_two_uris_of_one_server_have_one_vote) {
    RedisServer server{{.tcp = true}};
    RedisServer other;
    Redlock locks{{server.uri(), server.tcp_uri(), other.uri()}, brisk()};
    {
        auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        ASSERT_TRUE(eventually(patience, [&] {
            const auto votes = votes_of(lock->nodes());
            return votes[0] != Vote::pending && votes[1] != Vote::pending;
        }));
    }
    other.kill();
    const auto lock = locks.try_lock("name", 60s);
    ASSERT_FALSE(lock) << "one server of three is no quorum";
    const std::string message = lock.error().message();
    EXPECT_NE(message.find("same server"), std::string::npos) << message;
    EXPECT_THROW((Redlock{{server.uri(), server.uri() + "?db=1"}}), std::invalid_argument);
}

TEST(Names, a_database_is_selected) {
    RedisServer server;
    Redlock locks{{server.uri() + "?db=5"}, patient()};
    const auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_TRUE(server.keys().empty()) << "of database 0";
    EXPECT_NE(server.info("keyspace", "db5"), "");
}

}  // namespace
}  // namespace redlock::test
