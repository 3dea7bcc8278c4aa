// SPDX-License-Identifier: Apache-2.0
// Many rounds in flight at once from one thread, as an asynchronous caller would have them.
#include <malloc.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "integration/fixture.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/round_factory.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/hiredis/transport.hpp"

namespace redlock::test {
namespace {

namespace core = redlock::detail;

using Engine = core::Engine<hiredis::Transport, LeaseClock>;
using Protocol = core::Protocol<hiredis::Transport, LeaseClock>;
using LeasePtr = Protocol::LeasePtr;

struct NoLeaseEvents final : core::LeaseEvents<LeaseClock::time_point> {
    void on_lease_shortened(core::Lease<LeaseClock::time_point>& /*lease*/) override {}
    void on_due_changed() override {}
    void on_callback(bool /*is_running*/) override {}
};

// Starts any number of tasks, and drives until all have ended.
template <class T>
class Flock final : private core::TaskDone {
   public:
    explicit Flock(Engine& engine) : engine_{engine} {}

    void add(core::Task<T> task) { tasks_.push_back(std::move(task)); }

    // `in_the_air` is called when all tasks have started and none has been answered.
    template <class Look>
    std::vector<T> run(Look in_the_air) {
        left_ = tasks_.size();
        for (auto& task : tasks_) task.start(*this);
        engine_.take_turn();
        in_the_air();
        engine_.drive_or_park(call_);
        std::vector<T> results;
        for (auto& task : tasks_) results.push_back(task.take());
        return results;
    }

   private:
    void on_task_done() noexcept override {
        if (--left_ == 0) engine_.finish(call_);
    }

    Engine& engine_;
    core::Call call_;
    std::vector<core::Task<T>> tasks_;
    std::size_t left_ = 0;
};

std::size_t heap_in_use() { return ::mallinfo2().uordblks; }

class Flight : public testing::Test {
   protected:
    static Options generous() {
        Options options;
        options.node_timeout = 30s;
        options.backlog = 20'000;
        return options;
    }

    // Acquires `count` resources at once. Sets `bytes_each` to the heap memory that each used meanwhile.
    std::vector<LeasePtr> acquire(std::size_t count, std::size_t& bytes_each) {
        Flock<Result<LeasePtr>> flock{engine};
        Protocol::Timing timing{engine.now() + 60s, engine.now()};
        const auto before = heap_in_use();
        for (std::size_t i = 0; i < count; ++i) {
            auto claim = core::make_ref<core::Claim>();
            claim->resources.push_back("flight/" + std::to_string(i));
            claim->counters.push_back(core::fence_key(claim->resources.front()));
            flock.add(protocol.acquire(std::move(claim), 60s, timing, std::nullopt, nullptr));
        }
        auto results = flock.run([&] {
            const auto now = heap_in_use();
            bytes_each = now > before ? (now - before) / count : 0;
        });
        std::vector<LeasePtr> leases;
        for (auto& result : results) {
            if (result) leases.push_back(*std::move(result));
        }
        return leases;
    }

    std::size_t release(const std::vector<LeasePtr>& leases) {
        Flock<Result<void>> flock{engine};
        bool has_called = false;
        for (const auto& lease : leases)
            flock.add(protocol.release(lease, &has_called, core::Unconnected::goes_out));
        const auto results = flock.run([] {});
        return static_cast<std::size_t>(
            std::count_if(results.begin(), results.end(), [](const auto& result) { return bool{result}; }));
    }

    Cluster cluster{5};
    Engine engine{
        std::make_unique<hiredis::Transport>(Endpoints{cluster.uris()}.list(), generous()), {}, generous()};
    NoLeaseEvents events;
    core::RoundFactory<hiredis::Transport, LeaseClock> rounds{engine};
    Protocol protocol{engine, rounds, events};
};

TEST_F(Flight, ten_thousand_rounds_at_once_are_all_granted_and_all_released) {
    constexpr std::size_t many = 10'000;
    std::size_t bytes_each = 0;
    const auto leases = acquire(many, bytes_each);
    ASSERT_EQ(leases.size(), many);
    EXPECT_EQ(release(leases), many);
    engine.drain(engine.now() + patience);
    EXPECT_TRUE(is_clean(cluster));
}

// A request is in memory once for all nodes, and once more for each node until it is written.
TEST_F(Flight, a_round_in_flight_takes_as_much_memory_among_ten_thousand_as_among_a_thousand) {
    std::size_t warm_up = 0;
    std::size_t few = 0;
    std::size_t many = 0;
    release(acquire(10, warm_up));
    release(acquire(1'000, few));
    release(acquire(10'000, many));
    RecordProperty("bytes_each", std::to_string(many));
    EXPECT_LE(many, few + few / 2 + 256);
    EXPECT_LT(many, 8'192U);
}

// A hung node does not answer its requests; the rounds end without it.
TEST_F(Flight, rounds_that_a_hung_node_still_owes_an_answer_do_not_keep_the_others_waiting) {
    std::size_t bytes_each = 0;
    ASSERT_EQ(release(acquire(10, bytes_each)), 10U) << "connected";
    cluster[0].pause();
    const auto leases = acquire(2'000, bytes_each);
    EXPECT_EQ(leases.size(), 2'000U);
    EXPECT_EQ(release(leases), 2'000U);
    cluster[0].resume();
    engine.drain(engine.now() + patience);
    EXPECT_TRUE(is_clean(cluster));
}

// An attempt, and then what a waiter does after a split vote: it chooses the lead, and connects.
core::Task<Result<LeasePtr>> attempt_and_look(Engine& engine, Protocol& protocol,
                                              core::Ref<const core::Claim> claim) {
    Protocol::Timing timing{engine.now() + 60s, engine.now()};
    auto result = co_await protocol.acquire(claim, 60s, timing, std::nullopt, nullptr);
    static_cast<void>(engine.lead_for(claim->resources.front(), std::vector<bool>(engine.size())));
    co_return result;
}

// Fails under AddressSanitizer when the text about a lost connection is read after the next one has begun.
TEST_F(Flight, who_hears_that_a_node_went_down_may_connect_at_once) {
    constexpr std::size_t many = 50;
    std::size_t bytes_each = 0;
    ASSERT_EQ(release(acquire(10, bytes_each)), 10U) << "connected";
    for (std::size_t i = 0; i < 3; ++i) cluster[i].pause();
    Flock<Result<LeasePtr>> flock{engine};
    for (std::size_t i = 0; i < many; ++i) {
        auto claim = core::make_ref<core::Claim>();
        claim->resources.push_back("flight/" + std::to_string(i));
        flock.add(attempt_and_look(engine, protocol, std::move(claim)));
    }
    const auto results = flock.run([&] {
        for (std::size_t i = 0; i < 3; ++i) cluster[i].kill();
    });
    for (const auto& result : results) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code(), errc::unreachable);
        for (std::size_t i = 0; i < 2; ++i) {
            EXPECT_EQ(result.error().nodes()[i].vote, Vote::unreachable);
            EXPECT_EQ(result.error().nodes()[i].detail, results.front().error().nodes()[i].detail);
        }
    }
}

}  // namespace
}  // namespace redlock::test
