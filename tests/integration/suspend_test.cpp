// SPDX-License-Identifier: Apache-2.0
// After a suspension of the machine, the clock of leases has advanced, and the kernel's timers have not.
#include <atomic>
#include <memory>

#include "integration/fixture.hpp"
#include "redlock/custom.hpp"
#include "redlock/hiredis/transport.hpp"

namespace redlock::test {
namespace {

// All copies are suspended together.
class SuspendedClock {
   public:
    using time_point = LeaseClock::time_point;

    [[nodiscard]] time_point now() const {
        return LeaseClock::now() + std::chrono::nanoseconds{shared_->load()};
    }
    [[nodiscard]] static std::int64_t wall_us() { return LeaseClock::wall_us(); }
    void suspend_for(std::chrono::nanoseconds time) const { *shared_ += time.count(); }

   private:
    std::shared_ptr<std::atomic<std::int64_t>> shared_ = std::make_shared<std::atomic<std::int64_t>>(0);
};

static_assert(Clock<SuspendedClock>);

class Suspend : public testing::TestWithParam<std::size_t> {};

// CASES 16. By its timer the kernel would wake the thread only a minute later. With a hung node the thread
// waits for replies as well.
TEST_P(Suspend, R15_lost_is_told_soon_after_the_resume) {
    Cluster cluster{3};
    const SuspendedClock clock;
    const Options options = patient();
    BasicRedlock<hiredis::Transport, SuspendedClock> locks{
        std::make_unique<hiredis::Transport>(Endpoints{cluster.uris()}.list(), options), options, clock};
    ASSERT_TRUE(locks.lock("warm-up", {.ttl = 60s, .wait = 30s}));
    cluster.pause_first(GetParam());
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    const std::stop_token lost = lock->lost();
    ASSERT_FALSE(eventually(100ms, [&] { return lost.stop_requested(); }));
    clock.suspend_for(1h);
    EXPECT_FALSE(lock->owns_lock()) << "that is known at once";
    EXPECT_TRUE(eventually(patience, [&] { return lost.stop_requested(); }));
    cluster.resume_all();
}

INSTANTIATE_TEST_SUITE_P(Hung, Suspend, testing::Values(0U, 1U));

}  // namespace
}  // namespace redlock::test
