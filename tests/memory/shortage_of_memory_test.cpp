// SPDX-License-Identifier: Apache-2.0
// What becomes of a call when memory runs out in it, wherever that is. A program of its own, since it
// replaces operator new; inert but on the thread, and for the time, that a test says so.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "redlock/custom.hpp"
#include "unit/scripted_world.hpp"

namespace {

thread_local long allowed = -1;  // allocations until one fails; below 0: none will
thread_local int exemptions = 0;
thread_local bool has_failed = false;
thread_local long long balance = 0;  // bytes in use

void* allocate(std::size_t size) {
    if (exemptions == 0 && allowed >= 0 && allowed-- == 0) {
        has_failed = true;
        throw std::bad_alloc{};
    }
    void* memory = std::malloc(size);
    if (memory == nullptr) throw std::bad_alloc{};
    balance += static_cast<long long>(::malloc_usable_size(memory));
    return memory;
}

void release(void* memory) noexcept {
    balance -= static_cast<long long>(::malloc_usable_size(memory));
    std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { release(memory); }

namespace redlock::test {
namespace {

// What a test does itself, and what stands for sockets and nodes.
struct Exempt {
    Exempt() { ++exemptions; }
    Exempt(const Exempt&) = delete;
    Exempt& operator=(const Exempt&) = delete;
    ~Exempt() { --exemptions; }
};

class ExemptTransport : public ScriptedTransport {
   public:
    using ScriptedTransport::ScriptedTransport;
    detail::Sent send(std::size_t node, std::string_view bytes) {
        const Exempt exempt;
        return ScriptedTransport::send(node, bytes);
    }
    detail::Sent connect(std::size_t node) {
        const Exempt exempt;
        return ScriptedTransport::connect(node);
    }
    [[nodiscard]] bool poll(detail::TransportEvents& events, std::optional<Nanoseconds> timeout) {
        const Exempt exempt;
        return ScriptedTransport::poll(events, timeout);
    }
};

using FrugalRedlock = BasicRedlock<ExemptTransport, ManualClock>;
using FrugalLock = BasicLock<ExemptTransport, ManualClock>;

// Five nodes, and a client that has done everything before.
struct Frugal {
    Frugal() {
        for (int i = 0; i < 3; ++i) {
            auto lock = locks.try_lock("warm-up", 10s);
            EXPECT_TRUE(lock && lock->extend(20s) && lock->unlock());
        }
    }

    // Runs the call with ever more memory until it has enough; says after each whether it had not.
    template <class Call, class Check>
    void with_ever_more_memory(Call call, Check check) {
        for (long count = 0; count < 1'000; ++count) {
            has_failed = false;
            allowed = count;
            call();
            allowed = -1;
            const bool was_short = has_failed;
            check(was_short);
            if (!was_short) {
                EXPECT_GT(count, 0) << "or nothing was tried";
                return;
            }
        }
        FAIL() << "there is no end of it";
    }

    World world{5};
    FrugalRedlock locks{std::make_unique<ExemptTransport>(world), plain_options(), world.clock};
};

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

}  // namespace
}  // namespace redlock::test
