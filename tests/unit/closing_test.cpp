// SPDX-License-Identifier: Apache-2.0
// How long destructors take, rules R17 and R18, and what they wait for; over nodes in memory.
#include <gtest/gtest.h>

#include <latch>
#include <memory>
#include <optional>
#include <stop_token>

#include "redlock/engine/engine.hpp"
#include "support/eventually.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

constexpr auto one_timeout = 100ms;

// A client whose nodes stop answering.
struct Closing {
    Closing() {
        Options options = plain_options();
        options.node_timeout = one_timeout;
        locks.emplace(connected_to(world, options));
    }
    void hang() {
        for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    }
    template <class Work>
    Nanoseconds time_of(Work work) {
        const auto before = world.clock.now();
        work();
        return world.clock.now() - before;
    }

    World world{3};
    std::optional<ScriptedRedlock> locks;
};

// It once took twice that: the release, and then the draining.
TEST(Closing, R18_the_last_owner_takes_one_node_timeout_for_all_that_is_to_be_done) {
    Closing it;
    auto held = std::make_optional(it.locks->try_lock("name", 10s));
    ASSERT_TRUE(*held);
    it.hang();
    EXPECT_EQ(it.time_of([&] { it.locks.reset(); }), 0ms);
    EXPECT_LE(it.time_of([&] { held.reset(); }), one_timeout + 1ms);
}

TEST(Closing, R18_of_several_owners_each_takes_one) {
    Closing it;
    auto first = std::make_optional(it.locks->try_lock("first", 10s));
    auto second = std::make_optional(it.locks->try_lock("second", 10s));
    it.hang();
    EXPECT_LE(it.time_of([&] { first.reset(); }), one_timeout + 1ms);
    EXPECT_LE(it.time_of([&] { second.reset(); }), one_timeout + 1ms);
    EXPECT_LE(it.time_of([&] { it.locks.reset(); }), one_timeout + 1ms);
}

TEST(Closing, R18_a_renewal_that_is_under_way_takes_no_time_of_its_own) {
    Closing it;
    it.world.all_move_time = true;  // the thread that renews too
    auto held = std::make_optional(it.locks->lock("name", {.ttl = 1h, .renew = true, .renew_limit = 24h}));
    ASSERT_TRUE(*held);
    it.hang();
    it.world.forget_handed();
    it.world.clock.advance(40min);
    EXPECT_TRUE(eventually(30s, [&] { return !it.world.handed("extend").empty(); }));
    EXPECT_LE(it.time_of([&] { held.reset(); }), one_timeout + 10ms);
    EXPECT_LE(it.time_of([&] { it.locks.reset(); }), one_timeout + 10ms);
}

// One that waits for connections could take ten times as long.
TEST(Closing, R18_a_renewal_is_not_waited_for_beyond_that) {
    Closing it;
    auto held = it.locks->lock("name", {.ttl = 1h, .renew = true, .renew_limit = 24h});
    ASSERT_TRUE(held);
    it.hang();
    for (std::size_t i = 0; i < 3; ++i) it.world.cut(i);
    EXPECT_EQ(held->nodes().size(), 3U);  // by then it is known that they are cut
    it.world.clock.advance(40min);
    ASSERT_TRUE(eventually(30s, [&] { return it.world.is_connecting(); }));
    held->detach();
    held = Failure{errc::lost};
    it.world.all_move_time = true;  // the thread that renews too
    EXPECT_LE(it.time_of([&] { it.locks.reset(); }), one_timeout + 10ms);
}

// A callback of lost() may wait for the thread that destroys the Redlock.
TEST(Closing, R32_a_callback_may_wait_for_who_destroys_its_redlock) {
    Closing it;
    std::latch is_called{1};
    std::latch is_destroyed{1};
    std::latch is_over{1};
    auto held = it.locks->try_lock("name", 200ms);
    ASSERT_TRUE(held);
    const std::stop_token lost = held->lost();
    const std::stop_callback callback{lost, [&] {
                                          is_called.count_down();
                                          is_destroyed.wait();
                                          is_over.count_down();
                                      }};
    it.world.clock.advance(1s);
    is_called.wait();
    it.world.all_move_time = true;  // the thread that ends it too
    held->detach();
    held = Failure{errc::lost};
    it.locks.reset();
    EXPECT_EQ(it.world.transports, 1) << "another thread ends it, after the callback";
    is_destroyed.count_down();
    is_over.wait();
    EXPECT_TRUE(eventually(30s, [&] { return it.world.transports == 0; }));
}

using PlainEngine = detail::Engine<ScriptedTransport, ManualClock>;

detail::Task<detail::Verdict> long_nap(PlainEngine& engine, detail::Call* call) {
    co_return co_await engine.sleep_until(engine.now() + 1h, call);
}

// Another thread may have taken over driving from its thread, which then sees at once that it is finished.
TEST(Closing, a_call_that_is_cancelled_from_two_sides_is_not_touched_after_its_end) {
    struct Caller final : detail::Call, detail::TaskDone {
        explicit Caller(PlainEngine& owner) : engine{owner} {}
        void on_task_done() noexcept override {
            engine.finish(*this);
            cancelled = false;
        }
        PlainEngine& engine;
    };
    World world{3};
    PlainEngine engine{std::make_unique<ScriptedTransport>(world), world.clock, plain_options()};
    Caller caller{engine};
    auto task = long_nap(engine, &caller);
    task.start(caller);
    engine.take_turn();
    engine.cancel(caller);
    engine.cancel(caller);
    engine.take_turn();
    ASSERT_TRUE(caller.is_finished);
    EXPECT_EQ(task.take(), detail::Verdict::cancelled);
    EXPECT_FALSE(caller.cancelled);
}

}  // namespace
}  // namespace redlock::test
