// SPDX-License-Identifier: Apache-2.0
// Of the waiters for one resource in one Redlock one contends; the others wait in the local queue, first
// come first served.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "integration/waiting_parts.hpp"
#include "redlock/custom.hpp"
#include "redlock/handoff.hpp"
#include "redlock/hiredis/transport.hpp"

namespace redlock::test {
namespace {

// The wall clock gives each waiter its place, and is read once more for each attempt. So this counts the
// calls that have begun to wait, and the attempts.
class CountingClock : public LeaseClock {
   public:
    [[nodiscard]] std::int64_t wall_us() const {
        ++*asked_;
        return LeaseClock::wall_us();
    }
    [[nodiscard]] std::size_t asked() const { return *asked_; }

   private:
    std::shared_ptr<std::atomic<std::size_t>> asked_ = std::make_shared<std::atomic<std::size_t>>(0);
};

// Another Redlock holds the resource, and one call waits for it already, in the nodes' queues. From then on
// only new waiters read the clock.
class WaitingLocalQueue : public testing::Test {
   protected:
    using Locks = BasicRedlock<hiredis::Transport, CountingClock>;

    void SetUp() override {
        held = holding.try_lock("name", 1h).value();
        first = wait_in_thread(locks, "name");
        ASSERT_TRUE(are_queued(cluster, "name", 1));
    }

    // Starts a waiter. Returns when it is in the local queue.
    [[nodiscard]] auto enter(LockOptions how = for_long) {
        const auto before = clock.asked();
        auto waiting = wait_in_thread(locks, "name", std::move(how));
        EXPECT_TRUE(eventually(patience, [&] { return clock.asked() > before; }));
        return waiting;
    }

    static Options plain() {
        Options options = notified_only();
        options.fencing = false;  // so that an attempt is a SET
        options.node_timeout = 2s;
        return options;
    }

    Cluster cluster{3};
    CountingClock clock;
    Redlock holding = connect_to(cluster, plain());
    Locks locks{std::make_unique<hiredis::Transport>(Endpoints{cluster.uris()}.list(), plain()), plain(),
                clock};
    std::optional<Lock> held;
    std::future<Result<Locks::lock_type>> first;
};

TEST_F(WaitingLocalQueue, of_64_threads_one_contends) {
    const auto sets = cluster.command_stat("set");
    std::vector<std::thread> crowd;
    std::atomic<std::size_t> failures{0};
    std::atomic<std::size_t> granted{0};
    const auto before = clock.asked();
    for (int i = 0; i < 63; ++i) {
        crowd.emplace_back([&] {
            auto lock = locks.lock("name", for_long);
            if (lock) ++granted;
            if (!lock || !lock->unlock()) ++failures;
        });
    }
    EXPECT_TRUE(eventually(patience, [&] { return clock.asked() >= before + 63; }));
    EXPECT_EQ(cluster.command_stat("set"), sets) << "nobody tried who came after the first";
    EXPECT_TRUE(are_queued(cluster, "name", 1));
    EXPECT_TRUE(held->unlock());
    EXPECT_TRUE(first.get().value().unlock());
    for (auto& thread : crowd) thread.join();
    EXPECT_EQ(failures, 0U);
    EXPECT_EQ(granted, 63U);
    const auto sent = cluster.command_stat("set") - sets;
    EXPECT_LE(sent, 3U * 64U * 3U / 2U)
        << "64 of them got the lock, one by one: one attempt each, or little more";
    EXPECT_TRUE(is_clean(cluster));
}

TEST_F(WaitingLocalQueue, serves_in_the_order_of_arrival) {
    std::vector<std::size_t> order;  // guarded by the lock itself
    std::vector<std::future<bool>> waiting;
    for (std::size_t i = 0; i < 8; ++i) {
        const auto before = clock.asked();
        waiting.push_back(std::async(std::launch::async, [&, i] {
            auto lock = locks.lock("name", for_long);
            if (lock) order.push_back(i);
            return lock && lock->unlock();
        }));
        ASSERT_TRUE(eventually(patience, [&] { return clock.asked() > before; }));
    }
    ASSERT_TRUE(held->unlock());
    ASSERT_TRUE(first.get().value().unlock());
    for (auto& one : waiting) EXPECT_TRUE(one.get());
    EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_F(WaitingLocalQueue, is_left_at_once_by_who_is_stopped_or_has_waited_long_enough) {
    std::stop_source source;
    auto stopped = enter({.ttl = 1h, .wait = forever, .stop = source.get_token()});
    auto brief = enter({.ttl = 1h, .wait = 20ms});
    auto last = enter();
    const auto in_time = brief.get();
    ASSERT_FALSE(in_time);
    EXPECT_EQ(in_time.error().code(), errc::contended);
    source.request_stop();
    const auto at_once = stopped.get();
    ASSERT_FALSE(at_once);
    EXPECT_EQ(at_once.error().code(), errc::cancelled);
    ASSERT_TRUE(held->unlock());
    ASSERT_TRUE(first.get().value().unlock());
    EXPECT_TRUE(is_soon_over(last));
    EXPECT_TRUE(last.get());
    EXPECT_TRUE(is_clean(cluster));
}

TEST_F(WaitingLocalQueue, lets_the_next_one_contend_when_the_first_gives_up) {
    std::stop_source source;
    ASSERT_TRUE(held->unlock());
    auto lock = first.get().value();
    held = std::nullopt;
    auto giving_up = enter({.ttl = 1h, .wait = forever, .stop = source.get_token()});
    auto next = enter();
    source.request_stop();
    EXPECT_FALSE(got(giving_up.get()));
    ASSERT_TRUE(lock.unlock());
    EXPECT_TRUE(is_soon_over(next));
    EXPECT_TRUE(next.get());
    EXPECT_TRUE(is_clean(cluster));
}

// The waiter of the Redlock that hands the lock over is in the local queue, and not in the nodes' queues.
TEST_F(WaitingLocalQueue, hears_of_the_release_of_a_lock_that_was_handed_to_another_process) {
    auto second = enter();
    ASSERT_TRUE(held->unlock());
    auto adopted = holding.adopt(first.get().value().detach(), 1h).value();
    ASSERT_TRUE(adopted.unlock());
    EXPECT_TRUE(is_soon_over(second));
    EXPECT_TRUE(second.get());
}

// A release of another resource does not resume a waiter.
TEST_F(WaitingLocalQueue, is_not_resumed_by_the_release_of_something_else) {
    auto other = locks.try_lock("other", 1h).value();
    ASSERT_TRUE(eventually(patience, [&] { return cluster.count_holding("other") == 3; }));
    const auto sets = cluster.command_stat("set");
    ASSERT_TRUE(other.unlock());
    EXPECT_TRUE(are_queued(cluster, "name", 1));
    EXPECT_EQ(cluster.command_stat("set"), sets);
    ASSERT_TRUE(held->unlock());
    EXPECT_TRUE(first.get());
}

}  // namespace
}  // namespace redlock::test
