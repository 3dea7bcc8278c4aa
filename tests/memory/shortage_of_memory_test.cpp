// SPDX-License-Identifier: Apache-2.0
// What becomes of a call when memory runs out in it, wherever that is. The nodes and the transport have
// enough.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "memory/frugal_client.hpp"

namespace redlock::test {
namespace {

TEST(ShortageOfMemory, An_unlock_says_that_it_is_unknown_and_the_key_ends_by_its_ttl) {
    Frugal client;
    std::optional<FrugalLock> lock;
    std::optional<Result<void>> result;
    lock = client.locks.try_lock("name", 10s).value();
    client.with_ever_more_memory([&] { result.emplace(lock->unlock()); },
                                 [&](bool was_short) {
                                     if (was_short) {
                                         ASSERT_FALSE(*result);
                                         EXPECT_EQ(result->error(), errc::unknown);
                                     } else {
                                         EXPECT_TRUE(*result);
                                     }
                                     EXPECT_FALSE(was_short && result->error().message().empty());
                                     client.world.clock.advance(11s);
                                     auto next = client.locks.try_lock("name", 10s);
                                     ASSERT_TRUE(next);
                                     lock = *std::move(next);
                                 });
}

TEST(ShortageOfMemory, The_end_of_a_lock_is_the_end_of_its_right_and_no_more) {
    Frugal client;
    std::optional<FrugalLock> lock{client.locks.try_lock("name", 10s).value()};
    client.with_ever_more_memory([&] { lock.reset(); },
                                 [&](bool was_short) {
                                     if (was_short) client.world.clock.advance(11s);
                                     lock = client.locks.try_lock("name", 10s).value();
                                 });
}

TEST(ShortageOfMemory, Unlocking_what_is_not_held_needs_none) {
    Frugal client;
    FrugalLock none;
    client.with_ever_more_memory([&] { EXPECT_FALSE(none.unlock()); }, [](bool) {});
}

TEST(ShortageOfMemory, R33_after_an_extension_that_failed_for_it_the_next_can_be_had) {
    Frugal client;
    auto lock = client.locks.try_lock("name", 10s).value();
    bool has_thrown = false;
    client.with_ever_more_memory(
        [&] {
            try {
                has_thrown = false;
                static_cast<void>(lock.extend(10s));
            } catch (const std::bad_alloc&) {
                has_thrown = true;
            }
        },
        [&](bool was_short) {
            EXPECT_EQ(has_thrown, was_short);
            EXPECT_TRUE(lock.extend(10s));
        });
}

TEST(ShortageOfMemory, After_an_attempt_that_failed_for_it_the_next_can_be_had) {
    Frugal client;
    client.with_ever_more_memory(
        [&] {
            try {
                static_cast<void>(got(client.locks.try_lock("name", 10s)));
            } catch (const std::bad_alloc&) {
            }
        },
        [&](bool) {
            client.world.clock.advance(11s);  // a grant that nobody got
            EXPECT_TRUE(got(client.locks.try_lock("name", 10s)));
        });
}

// Whether the call has thrown std::bad_alloc.
template <class Call>
[[nodiscard]] bool runs_short(Call call) {
    try {
        call();
        return false;
    } catch (const std::bad_alloc&) {
        return true;
    }
}

[[nodiscard]] Options fenced_options() {
    Options options = plain_options();
    options.fencing = true;
    return options;
}

TEST(ShortageOfMemory,
     A_call_throws_exactly_where_memory_ran_out_in_it_also_with_fencing_and_several_resources) {
    Frugal client{fenced_options()};
    const Resources resources{"first", "second", "third"};
    std::optional<Result<FrugalLock>> got;
    bool has_thrown = false;
    std::uint64_t last = 0;
    client.with_ever_more_memory(
        [&] { has_thrown = runs_short([&] { got.emplace(client.locks.try_lock(resources, 10s)); }); },
        [&](bool was_short) {
            EXPECT_EQ(has_thrown, was_short);
            got.reset();                      // not in the call: a destructor does not throw
            client.world.clock.advance(11s);  // a grant that nobody got
            auto lock = client.locks.try_lock(resources, 10s);
            ASSERT_TRUE(lock) << lock.error().message();
            EXPECT_GT(lock->fencing_token("third"), last);
            last = lock->fencing_token("third");
        });
}

TEST(ShortageOfMemory, A_hand_over_that_failed_for_it_is_no_lock_for_ever) {
    Frugal client{fenced_options()};
    std::optional<FrugalLock> lock{client.locks.try_lock("name", 10s).value()};
    client.with_ever_more_memory(
        [&] {
            static_cast<void>(runs_short([&] {
                if (const Handoff handoff = lock->detach()) {
                    static_cast<void>(client.locks.adopt(handoff, 10s));
                }
            }));
        },
        [&](bool) {
            lock.reset();
            client.world.clock.advance(11s);
            auto next = client.locks.try_lock("name", 10s);
            ASSERT_TRUE(next) << next.error().message();
            lock = *std::move(next);
        });
}

TEST(ShortageOfMemory, An_inspection_that_failed_for_it_can_be_had_again) {
    Frugal client{fenced_options()};
    const auto lock = client.locks.try_lock("name", 10s).value();
    bool has_thrown = false;
    client.with_ever_more_memory(
        [&] { has_thrown = runs_short([&] { static_cast<void>(client.locks.inspect("name")); }); },
        [&](bool was_short) {
            EXPECT_EQ(has_thrown, was_short);
            EXPECT_TRUE(client.locks.inspect("name"));
            EXPECT_EQ(lock.nodes().size(), client.world.size());
        });
}

TEST(ShortageOfMemory, A_client_that_could_not_be_made_leaves_nothing_behind) {
    World world{5};
    bool has_thrown = true;
    for (long count = 0; has_thrown; ++count) {
        ASSERT_LT(count, 1'000) << "there is no end of it";
        auto transport = std::make_unique<ExemptTransport>(world);
        const long before = memory::blocks_in_use();
        memory::fail_after(count);
        has_thrown = runs_short([&] {
            const FrugalRedlock locks{std::move(transport), plain_options(), world.clock};
        });
        EXPECT_EQ(memory::has_failed(), has_thrown);
        memory::fail_never();
        transport.reset();
        EXPECT_LT(memory::blocks_in_use(), before) << "the transport is gone, and all that was made with it";
        EXPECT_EQ(world.transports, 0);
    }
}

}  // namespace
}  // namespace redlock::test
