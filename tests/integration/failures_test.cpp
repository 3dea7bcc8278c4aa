// SPDX-License-Identifier: Apache-2.0
// Nodes that are killed, stopped and restarted.
#include <algorithm>
#include <future>
#include <mutex>
#include <optional>

#include "integration/fixture.hpp"

namespace redlock::test {
namespace {

class Minority : public ::testing::TestWithParam<std::size_t> {
   protected:
    Cluster cluster{5};
};

// DESIGN 10: "lock() throws, or hangs for ever, when one of five nodes is down or hung"; "unlock stops at the
// first dead node and leaves keys on the rest".
TEST_P(Minority, killed_it_changes_nothing_for_the_rest) {
    auto locks = connect_to(cluster);
    warm_up(locks);
    cluster.kill_first(GetParam());
    for (int i = 0; i < 5; ++i) {
        auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_TRUE(lock->extend(60s));
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST_P(Minority, dead_from_the_beginning_it_changes_nothing_either) {
    cluster.kill_first(GetParam());
    auto locks = connect_to(cluster);
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_TRUE(lock->unlock());
    EXPECT_TRUE(is_clean(cluster));
}

TEST_P(Minority, stopped_it_costs_no_time_and_leaves_no_key_when_it_goes_on) {
    auto locks = connect_to(cluster);
    warm_up(locks);
    cluster.pause_first(GetParam());
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; i < 5; ++i) {
        auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_TRUE(lock->extend(60s));
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_LT(std::chrono::steady_clock::now() - before, patient().node_timeout) << "fifteen rounds of it";
    cluster.resume_all();
    EXPECT_TRUE(is_clean(cluster));
}

TEST_P(Minority, stopped_before_the_first_connection_it_costs_no_time_either) {
    cluster.pause_first(GetParam());
    auto locks = connect_to(cluster);
    const auto before = std::chrono::steady_clock::now();
    {
        auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_LT(std::chrono::steady_clock::now() - before, patient().node_timeout);
    cluster.resume_all();
    EXPECT_TRUE(is_clean(cluster));
}

TEST_P(Minority, stopped_between_acquire_and_release_it_keeps_no_key_when_it_goes_on) {
    auto locks = connect_to(cluster);
    warm_up(locks);
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    ASSERT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 5; }));
    cluster.pause_first(GetParam());
    ASSERT_TRUE(lock->unlock());
    cluster.resume_all();
    EXPECT_TRUE(is_clean(cluster));
}

INSTANTIATE_TEST_SUITE_P(Of5, Minority, ::testing::Values(1, 2),
                         [](const auto& count) { return std::to_string(count.param) + "_of_5"; });

TEST(Majority, killed_the_failure_is_clear_and_soon_and_nothing_is_left_on_the_live_nodes) {
    Cluster cluster{5};
    auto locks = connect_to(cluster, brisk());
    warm_up(locks);
    cluster.kill_first(3);
    const auto before = std::chrono::steady_clock::now();
    const auto lock = locks.try_lock("name", 60s);
    const auto elapsed = std::chrono::steady_clock::now() - before;
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::unreachable) << lock.error().message();
    EXPECT_LT(elapsed, brisk().node_timeout + 2s);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(lock.error().nodes()[i].vote, Vote::unreachable) << lock.error().message();
        EXPECT_FALSE(lock.error().nodes()[i].detail.empty());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(Majority, stopped_the_failure_comes_after_node_timeout_and_nothing_is_left_when_they_go_on) {
    Cluster cluster{5};
    auto locks = connect_to(cluster, brisk());
    warm_up(locks);
    cluster.pause_first(3);
    const auto before = std::chrono::steady_clock::now();
    const auto lock = locks.try_lock("name", 60s);
    const auto elapsed = std::chrono::steady_clock::now() - before;
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::unreachable) << lock.error().message();
    EXPECT_GE(elapsed, brisk().node_timeout - 1ms);
    EXPECT_LT(elapsed, 2 * brisk().node_timeout + 2s) << "one deadline, not three";
    EXPECT_TRUE(is_clean(cluster)) << "on those that answer";
    cluster.resume_all();  // CASES 7: the nodes run the SETs now, after the attempt has ended
    EXPECT_TRUE(eventually(patience, [&] {
        for (RedisServer& node : cluster) {
            if (node.command_stat("evalsha") + node.command_stat("eval") < 4) return false;
        }
        return true;
    })) << "acquire and release of the warm-up and of the attempt";
    EXPECT_TRUE(is_clean(cluster));
}

// DESIGN 10: "destructor throws → terminate".
TEST(Majority, killed_while_a_lock_is_held_its_destructor_is_quiet_and_soon_over) {
    Cluster cluster{3};
    std::optional<Redlock> locks = connect_to(cluster, brisk());
    warm_up(*locks);
    std::optional<Lock> lock = locks->try_lock("name", 60s).value();
    cluster.kill_first(3);
    const auto extended = lock->extend(60s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::unknown) << extended.error().message();
    EXPECT_TRUE(lock->owns_lock()) << "the old deadline stands";
    const auto before = std::chrono::steady_clock::now();
    lock.reset();
    locks.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - before, 2 * brisk().node_timeout + 2s);
}

// A vote that ends one attempt lets its caller connect anew, and that connection is refused with another
// text. The votes after it must still report why the connection that they were waiting on ended.
TEST(Killed, with_several_requests_unanswered_a_node_has_the_same_error_for_all) {
    Cluster cluster{3};
    constexpr std::size_t callers = 4;
    std::mutex mutex;
    std::vector<std::string> details;
    Options options = patient();
    options.retry.decide = [&](std::uint32_t,
                               const Failure& failure) -> std::optional<std::chrono::milliseconds> {
        const std::lock_guard lock{mutex};
        details.push_back(failure.nodes()[2].detail);
        return 1h;
    };
    options.notify = false;
    auto locks = connect_to(cluster, options);
    warm_up(locks);
    cluster[2].pause();
    const auto sent = cluster.command_stat("evalsha");
    std::stop_source source;
    std::vector<std::future<Result<Lock>>> waiting;
    for (std::size_t i = 0; i < callers; ++i) {
        const std::string name = "name " + std::to_string(i);
        ASSERT_EQ(cluster[0].query({"SET", name, "theirs", "PX", "60000"}).text, "OK");
        waiting.push_back(std::async(std::launch::async, [&locks, name, stop = source.get_token()] {
            return locks.lock(name, {.ttl = 60s, .wait = forever, .stop = stop});
        }));
    }
    // Each attempt has one grant, one denial and one open vote: it is undecided.
    ASSERT_TRUE(eventually(patience, [&] { return cluster.command_stat("evalsha") >= sent + 2 * callers; }));
    cluster[2].kill();
    EXPECT_TRUE(eventually(patience, [&] {
        const std::lock_guard lock{mutex};
        return details.size() == callers;
    }));
    source.request_stop();
    for (auto& one : waiting) EXPECT_FALSE(got(one.get()));
    EXPECT_FALSE(details[0].empty());
    EXPECT_EQ(details, std::vector<std::string>(callers, details[0]));
}

TEST(Restart, of_all_nodes_between_calls_costs_no_attempt) {
    Cluster cluster{5};
    auto locks = connect_to(cluster);
    warm_up(locks);
    for (int i = 0; i < 2; ++i) {
        cluster.restart_all();
        const auto lock = locks.try_lock("name", 60s);
        EXPECT_TRUE(lock) << lock.error().message();
    }
}

TEST(Restart, R12_of_a_minority_that_comes_back_empty_is_made_good_by_the_next_extensions) {
    Cluster cluster{5};
    auto locks = connect_to(cluster);
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    ASSERT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 5; }));
    cluster[0].restart(Data::discard);
    cluster[1].restart(Data::discard);
    ASSERT_EQ(cluster.count_holding("name"), 3U);
    EXPECT_TRUE(eventually(patience, [&] {
        EXPECT_TRUE(lock->extend(60s));
        return cluster.count_holding("name") == 5;
    }));
    for (const auto& value : cluster.values("name")) EXPECT_EQ(value, lock->token().str());
    const auto fence = std::to_string(lock->fencing_token());
    for (const auto& value : cluster.values("{name}:redlock-fence")) EXPECT_EQ(value, fence);
    ASSERT_TRUE(lock->unlock());
    EXPECT_TRUE(is_clean(cluster));
}

// DESIGN 10: "refresh silently re-acquires after expiry".
TEST(Restart, R12_of_a_majority_that_comes_back_empty_is_a_loss) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    ASSERT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 3; }));
    cluster[0].restart(Data::discard);
    cluster[1].restart(Data::discard);
    std::optional<errc> outcome;
    EXPECT_TRUE(eventually(patience, [&] {
        const auto extended = lock->extend(60s);
        EXPECT_FALSE(extended);
        outcome = extended.error().code();
        return outcome == errc::lost;
    }));
    EXPECT_FALSE(lock->owns_lock());
    EXPECT_EQ(cluster.count_holding("name"), 1U) << "nothing was taken anew";
}

TEST(Restart, R25_a_node_that_restarted_sits_out_its_quarantine) {
    Cluster cluster{3};
    Options options = patient();
    options.restart_quarantine = 1h;
    auto locks = connect_to(cluster, options);
    const auto lock = locks.try_lock("name", 60s);
    ASSERT_FALSE(lock) << "all of them have just started";
    EXPECT_EQ(lock.error().code(), errc::unreachable);
    const auto votes = votes_of(lock.error().nodes());
    EXPECT_GE(std::count(votes.begin(), votes.end(), Vote::quarantined), 2) << "the third was not waited for";
}

}  // namespace
}  // namespace redlock::test
