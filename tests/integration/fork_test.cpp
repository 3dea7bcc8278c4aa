// SPDX-License-Identifier: Apache-2.0
// A child process that inherits a Redlock gets a clear error, and the parent is unharmed.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "integration/fixture.hpp"
#include "redlock/mutex.hpp"
#include "support/sanitizers.hpp"

namespace redlock::test {
namespace {

[[maybe_unused]] constexpr auto unlike_a_child =
    "ThreadSanitizer does not know the threads of a forked child, and AddressSanitizer's heap may be locked "
    "there by a thread that is not";

// Runs `body` in a forked child. Returns its exit status, or nothing if it hangs; it is killed then.
std::optional<int> in_child(const std::function<int()>& body) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(body());
    int status = 0;
    const bool ended = eventually(patience, [&] { return ::waitpid(pid, &status, WNOHANG) == pid; });
    if (ended) return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    return std::nullopt;
}

// A thread of this process, by the kernel's word for its state.
bool is_asleep(pid_t thread) {
    std::ifstream file{"/proc/self/task/" + std::to_string(thread) + "/stat"};
    std::string id, name, state;
    return file >> id >> name >> state && state == "S";
}

// Returns 0 if a call in the child fails as documented.
int check_refused(const std::optional<Failure>& failure) {
    if (!failure) return 1;
    if (failure->code() != errc::invalid_argument) return 2;
    return failure->message().find("fork") == std::string::npos ? 3 : 0;
}

TEST(Fork, the_child_gets_a_clear_error_and_the_parents_lock_and_connections_are_unharmed) {
    Cluster cluster{3};
    auto locks = std::make_unique<Redlock>(connect_to(cluster));
    std::optional<Lock> lock = locks->try_lock("name", 60s).value();
    ASSERT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 3; }));
    const auto connections = cluster[0].info("stats", "total_connections_received");

    const auto tries = in_child([&] {
        auto attempt = locks->try_lock("other", 60s);
        return attempt ? 1 : check_refused(attempt.error());
    });
    EXPECT_EQ(tries, 0);
    const auto extends = in_child([&] {
        const auto extended = lock->extend(120s);
        return extended ? 1 : check_refused(extended.error());
    });
    EXPECT_EQ(extends, 0);
    const auto unlocks = in_child([&] {
        const auto unlocked = lock->unlock();
        return unlocked ? 1 : check_refused(unlocked.error());
    });
    EXPECT_EQ(unlocks, 0);
    const auto destroys = in_child([&] {
        lock.reset();
        locks.reset();
        return 0;
    });
    EXPECT_EQ(destroys, 0) << "no value: it hung";

    EXPECT_EQ(cluster.count_holding("name"), 3U);
    EXPECT_EQ(cluster[0].info("stats", "total_connections_received"), connections);
    EXPECT_TRUE(lock->owns_lock());
    EXPECT_TRUE(lock->extend(60s));
    EXPECT_TRUE(locks->try_lock("other", 60s));
    EXPECT_TRUE(lock->unlock());
    EXPECT_TRUE(is_clean(cluster));
}

// If a thread of the parent holds the mutex, the child would wait for ever.
TEST(Fork, a_mutex_throws_in_the_child) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    Mutex mutex{locks, "name", {.ttl = 60s}};
    const std::lock_guard guard{mutex};
    const auto is_refused = [](const auto& call) {
        try {
            call();
        } catch (const Error& error) {
            return error.failure() == errc::invalid_argument;
        }
        return false;
    };
    const auto status = in_child([&] {
        if (!is_refused([&] { static_cast<void>(mutex.try_lock()); })) return 1;
        if (!is_refused([&] { mutex.lock(); })) return 2;
        try {
            const Mutex another{locks, "other"};
        } catch (const std::invalid_argument&) {
            return 0;
        }
        return 3;
    });
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(mutex.held().owns_lock());
}

// A guard unlocks at the end of its scope, in the child too.
TEST(Fork, a_mutex_can_be_unlocked_in_the_child_though_a_thread_of_the_parent_was_inside_it) {
#if REDLOCK_TEST_IS_SANITIZED
    GTEST_SKIP() << unlike_a_child;
#endif
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    Mutex mutex{locks, "name", {.ttl = 60s}};
    const std::lock_guard guard{mutex};
    std::atomic<bool> is_over{false};
    std::thread busy{[&] {
        while (!is_over) static_cast<void>(mutex.last_failure());
    }};
    for (int i = 0; i < 40; ++i) {
        const auto status = in_child([&] {
            static_cast<void>(mutex.last_failure());
            mutex.unlock();
            return 0;
        });
        EXPECT_EQ(status, 0) << "no value: it hung";
        if (status != 0) break;
    }
    is_over = true;
    busy.join();
    EXPECT_TRUE(mutex.held().owns_lock());
}

TEST(Fork, the_child_may_destroy_a_mutex_that_a_thread_of_the_parent_waits_for) {
#if REDLOCK_TEST_IS_SANITIZED
    GTEST_SKIP() << unlike_a_child;
#endif
    Cluster cluster{3};
    Redlock locks = connect_to(cluster);
    std::optional<Mutex> mutex{std::in_place, locks, "name", LockOptions{.ttl = 60s, .wait = 60s}};
    mutex->lock();
    std::atomic<pid_t> waiter_id{0};
    std::jthread waiter{[&] {
        waiter_id = ::gettid();
        mutex->lock();
        mutex->unlock();
    }};
    ASSERT_TRUE(eventually(patience, [&] { return waiter_id != 0 && is_asleep(waiter_id); }));
    EXPECT_EQ(in_child([&] {
                  mutex.reset();
                  return 0;
              }),
              0);
    mutex->unlock();
}

TEST(Fork, the_child_may_destroy_what_it_inherited_while_a_thread_of_the_library_ran_in_the_parent) {
    Cluster cluster{3};
    auto locks = std::make_unique<Redlock>(connect_to(cluster));
    std::optional<Lock> lock = locks->lock("name", {.ttl = 600ms, .renew = true}).value();
    const auto lost = lock->lost();
    for (int i = 0; i < 10; ++i) {
        const auto destroyed = in_child([&] {
            lock.reset();
            locks.reset();
            return 0;
        });
        ASSERT_EQ(destroyed, 0) << "no value: it hung";
    }
    EXPECT_TRUE(lock->owns_lock());
    EXPECT_FALSE(lost.stop_requested());
    EXPECT_TRUE(lock->unlock());
}

// Once 5 of 200 children hung in detach(), since a thread of the parent held a mutex at the fork.
TEST(Fork, nothing_in_the_child_waits_for_a_thread_that_was_inside_a_call) {
#if REDLOCK_TEST_IS_SANITIZED
    GTEST_SKIP() << unlike_a_child;
#endif
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    auto lock = locks.try_lock("name", 60s).value();
    std::atomic<bool> is_over{false};
    std::vector<std::thread> busy;
    for (int i = 0; i < 2; ++i) {
        busy.emplace_back([&] {
            while (!is_over) static_cast<void>(lock.remaining());
        });
    }
    busy.emplace_back([&] {
        while (!is_over) static_cast<void>(lock.nodes());
    });
    for (int i = 0; i < 40; ++i) {
        const auto status = in_child([&] {
            if (!lock.detach().token.str().empty() || lock.owns_lock() || !lock.nodes().empty()) return 1;
            if (lock.lost().stop_possible() || lock.extend(60s) || lock.unlock()) return 2;
            return got(locks.try_lock("name", 60s)) ? 3 : 0;
        });
        EXPECT_EQ(status, 0) << "no value: it hung";
        if (status != 0) break;
    }
    is_over = true;
    for (std::thread& thread : busy) thread.join();
    EXPECT_TRUE(lock.unlock());
}

// The sockets and eventfds of this process, beyond the standard descriptors, that exec would pass on.
std::vector<std::string> inheritable_sockets() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
        const int fd = std::stoi(entry.path().filename());
        const int flags = ::fcntl(fd, F_GETFD);
        std::error_code gone;
        const std::string target = std::filesystem::read_symlink(entry.path(), gone);
        const bool is_ours = target.starts_with("socket:") || target.find("eventfd") != std::string::npos;
        if (fd > 2 && is_ours && flags >= 0 && (flags & FD_CLOEXEC) == 0) found.push_back(target);
    }
    return found;
}

// Otherwise a program that the application starts would keep our connections and their requests alive.
TEST(Fork, a_program_that_is_executed_inherits_no_connection) {
    Cluster cluster{3};
    const auto before = inheritable_sockets();
    auto locks = connect_to(cluster);
    auto others = connect_to(cluster);
    const auto held = others.try_lock("name", 60s);
    ASSERT_TRUE(held);
    EXPECT_FALSE(got(locks.lock("name", {.ttl = 60s, .wait = 300ms}))) << "and a subscriber while it waits";
    EXPECT_EQ(inheritable_sockets(), before);
}

TEST(Fork, the_child_makes_a_redlock_of_its_own) {
#if REDLOCK_TEST_IS_SANITIZED
    GTEST_SKIP() << unlike_a_child;
#endif
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    const auto held = locks.try_lock("name", 60s);
    ASSERT_TRUE(held);
    const auto status = in_child([&] {
        Redlock own = connect_to(cluster);
        if (got(own.try_lock("name", 60s))) return 1;
        return got(own.try_lock("other", 60s)) ? 0 : 2;
    });
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(held->owns_lock());
}

}  // namespace
}  // namespace redlock::test
