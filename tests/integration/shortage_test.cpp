// SPDX-License-Identifier: Apache-2.0
// A process that cannot start more threads. The library needs one for renewal, for lost() and for work that a
// call left unfinished; a lock without these must not need one.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <system_error>

#include "integration/fixture.hpp"
#include "support/sanitizers.hpp"

// Sanitizers replace pthread_create themselves.
#if !REDLOCK_TEST_IS_SANITIZED

namespace {
std::atomic<bool> no_more_threads{false};
}

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                              void* argument) {
    static const auto real =
        reinterpret_cast<decltype(&pthread_create)>(::dlsym(RTLD_NEXT, "pthread_create"));
    return no_more_threads ? EAGAIN : real(thread, attributes, run, argument);
}

namespace redlock::test {
namespace {

struct Shortage {
    Shortage() { no_more_threads = true; }
    Shortage(const Shortage&) = delete;
    Shortage& operator=(const Shortage&) = delete;
    ~Shortage() { no_more_threads = false; }
};

TEST(Shortage, what_a_call_leaves_over_is_left_to_the_next_call) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    {
        const Shortage shortage;
        ASSERT_TRUE(locks.lock("name", {.ttl = 60s, .wait = 30s}));
        cluster.pause_first(1);
        for (int i = 0; i < 3; ++i) EXPECT_TRUE(locks.try_lock("name", 60s));
    }
    cluster.resume_all();
    EXPECT_TRUE(locks.try_lock("name", 60s));
    EXPECT_TRUE(eventually(patience, [&] { return is_clean(cluster); }));
}

// Otherwise the lock would have no owner, and would be renewed once a thread can be started.
TEST(Shortage, R13_nothing_is_locked_that_could_not_be_renewed) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    {
        const Shortage shortage;
        EXPECT_THROW(static_cast<void>(locks.lock("name", {.ttl = 60s, .renew = true})), std::system_error);
        EXPECT_TRUE(is_clean(cluster));
        auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock);
        EXPECT_THROW(static_cast<void>(lock->lost()), std::system_error);
        EXPECT_TRUE(lock->owns_lock());
    }
    auto lock = locks.lock("name", {.ttl = 60s, .wait = 10s, .renew = true});
    ASSERT_TRUE(lock);
    EXPECT_FALSE(lock->lost().stop_requested());
}

}  // namespace
}  // namespace redlock::test

#endif
