// SPDX-License-Identifier: Apache-2.0
// Nodes that do not permit the commands for notices: locking works as before, and waiters poll.
#include <gtest/gtest.h>

#include <thread>

#include "integration/waiting_parts.hpp"

namespace redlock::test {
namespace {

struct User {
    std::string name;
    std::string may;  // its keys and channels, and exceptions from "+@all"
};

const std::vector<User>& users() {
    static const std::vector<User> list{{"no_channels", "~* resetchannels"},
                                        {"no_subscribe", "~* &* -subscribe"},
                                        {"no_publish", "~* &* -publish"},
                                        {"no_zadd", "~* &* -zadd"},
                                        {"no_zrange", "~* &* -zrange"},
                                        {"no_zrem", "~* &* -zrem"},
                                        {"no_sorted_sets", "~* &* -@sortedset"},
                                        {"no_pub_sub", "~* &* -@pubsub"},
                                        {"no_queues", "~name ~{name}:redlock-fence &*"}};
    return list;
}

Cluster with_users() {
    ServerOptions options;
    options.tcp = true;
    for (const User& user : users()) {
        const auto [before, after] = std::pair{user.may.find(" -"), user.may.size()};
        const auto less = before == std::string::npos ? "" : user.may.substr(before, after);
        options.users.push_back(user.name + " on >secret " + user.may.substr(0, before) + " +@all" + less);
    }
    return Cluster{3, options};
}

// With fencing and without, the rights for locking alone are enough.
TEST(WaitingPermissions, try_lock_extend_and_unlock_need_none_that_waiting_needs) {
    if (!knows_channel_rights()) GTEST_SKIP() << "this server has no rights for channels";
    Cluster cluster = with_users();
    for (const User& user : users()) {
        for (const bool fencing : {true, false}) {
            Options options = patient();
            options.fencing = fencing;
            Redlock locks{cluster.tcp_uris(user.name + ":secret"), options};
            auto lock = locks.try_lock("name", 60s);
            ASSERT_TRUE(lock) << user.name << ": " << lock.error().message();
            EXPECT_TRUE(lock->extend(60s)) << user.name;
            const auto unlocked = lock->unlock();
            EXPECT_TRUE(unlocked) << user.name << ": " << unlocked.error().message();
            const bool is_free = eventually(5s, [&] { return cluster.count_holding("name") == 0; });
            EXPECT_TRUE(is_free) << user.name;
            for (RedisServer& node : cluster) node.query({"DEL", "name"});
        }
    }
}

TEST(WaitingPermissions, who_lacks_them_waits_a_little_longer) {
    if (!knows_channel_rights()) GTEST_SKIP() << "this server has no rights for channels";
    Cluster cluster = with_users();
    for (const User& user : users()) {
        const auto uris = cluster.tcp_uris(user.name + ":secret");
        Redlock holding{uris, soon_again()};
        Redlock locks{uris, soon_again()};
        occupy(cluster, "name", 1h);
        const auto before = cluster.command_stat("evalsha");
        auto waiting = wait_in_thread(locks, "name");
        const auto has_tried = [&] { return cluster.command_stat("evalsha") > before + 12; };
        ASSERT_TRUE(eventually(patience, has_tried)) << user.name;
        vacate(cluster, "name");
        EXPECT_TRUE(is_soon_over(waiting));
        auto lock = waiting.get();
        ASSERT_TRUE(lock) << user.name << ": " << lock.error().message();
        auto next = wait_in_thread(holding, "name");
        static_cast<void>(lock->unlock());
        EXPECT_TRUE(is_soon_over(next)) << user.name;
        EXPECT_TRUE(next.get()) << user.name;
        for (RedisServer& node : cluster) node.query({"DEL", "name"});
    }
}

}  // namespace
}  // namespace redlock::test
