// SPDX-License-Identifier: Apache-2.0
// What becomes of a call on real servers when memory runs out in it, in the library or in hiredis, wherever
// that is: from the first connect on. Each attempt is a process of its own, since memory that runs out while
// a thread does the I/O ends the process, as redlock.hpp says.
#include <gtest/gtest.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <latch>
#include <map>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "integration/fixture.hpp"
#include "memory/child.hpp"
#include "memory/failing_memory.hpp"
#include "redlock/hiredis/api.hpp"

namespace redlock::test {
namespace {

using memory::Source;
using memory::Threads;

// What a call is tried on: `locks` runs short; `other` does not, and may hold what is wanted.
struct Attempt {
    Redlock& locks;
    Redlock& other;
    std::string name;
    std::optional<Lock> lock{};
};

// What is tried. The number of its call: 0 where it succeeded, else its errc.
struct Trial {
    std::function<void(Attempt&)> prepare;
    std::function<int(Attempt&)> call;
    Threads threads = Threads::this_one;
};

// How the process of one attempt ends, apart from std::terminate.
enum Ended { enough = 1, succeeded, failed, threw, unusable, leaking, holding_descriptors, not_prepared };

template <class T>
[[nodiscard]] int number_of(const Result<T>& result) {
    return result ? 0 : static_cast<int>(result.error().code());
}

// The call, with that much memory.
[[nodiscard]] Ended try_once(const Trial& trial, Attempt& attempt, long count, Source source) {
    Ended ended = failed;
    memory::fail_after(count, source, trial.threads);
    try {
        if (trial.call(attempt) == 0) ended = succeeded;
    } catch (const std::bad_alloc&) {
        ended = threw;
    } catch (const std::system_error&) {
        ended = threw;
    }
    const bool was_short = memory::has_failed();
    memory::fail_never();
    return was_short || ended != succeeded ? ended : enough;
}

[[nodiscard]] Ended run(const Trial& trial, const std::vector<std::string>& uris, long count, Source source) {
    Redlock other{uris, patient()};
    Redlock locks{uris, patient()};
    const std::string suffix = std::to_string(count) + "-" + std::to_string(::getpid());
    Attempt attempt{locks, other, "name-" + suffix};
    try {
        trial.prepare(attempt);
    } catch (const std::exception&) {
        return not_prepared;
    }
    const Ended ended = try_once(trial, attempt, count, source);
    attempt.lock.reset();
    const bool is_usable = eventually(patience, [&] {
        auto next = locks.try_lock("next-" + suffix, 10s);
        return next && next->unlock();
    });
    return is_usable ? ended : unusable;
}

// The C library keeps what it has allocated for a thread, for the next: these are as many as there may be at
// once.
void have_had_threads() {
    std::array<std::jthread, 4> threads;
    std::latch all{static_cast<std::ptrdiff_t>(threads.size())};
    for (std::jthread& thread : threads) thread = std::jthread{[&all] { all.arrive_and_wait(); }};
}

[[nodiscard]] int in_child(const Trial& trial, const std::vector<std::string>& uris, long count,
                           Source source) {
    have_had_threads();
    const long blocks = memory::blocks_in_use();
    const long descriptors = open_descriptors();
    const Ended ended = run(trial, uris, count, source);
    if (open_descriptors() != descriptors) return holding_descriptors;
    return memory::blocks_in_use() == blocks ? ended : leaking;
}

// How often each end came, from no memory to enough.
using Ends = std::map<int, int>;
constexpr int process_ended = 0;
constexpr long more_than_enough = 10'000;  // allocations

// Version 0.14 itself ends the process where it has no memory for a copy of an address.
[[nodiscard]] bool is_end_by_hiredis(const ChildEnd& end, Source source) {
    return HIREDIS_MAJOR == 0 && source == Source::malloc && end.how == ChildEnd::How::signalled &&
           end.number == SIGABRT;
}

[[nodiscard]] Ends with_ever_more_memory(const Trial& trial, const std::vector<std::string>& uris,
                                         Source source) {
    // What a process makes once and keeps is there then, and is no leak.
    EXPECT_EQ(run(trial, uris, more_than_enough, source), enough);
    Ends ends;
    for (long count = 0; count < more_than_enough; ++count) {
        const ChildEnd end = run_in_child([&] { return in_child(trial, uris, count, source); });
        if (end.how == ChildEnd::How::terminated || is_end_by_hiredis(end, source)) {
            ++ends[process_ended];
            continue;
        }
        const bool is_as_documented =
            end.returned(enough) || end.returned(succeeded) || end.returned(failed) || end.returned(threw);
        EXPECT_TRUE(is_as_documented) << "allocation " << count << ": " << end.text();
        ++ends[end.number];
        if (end.returned(enough)) return ends;
    }
    ADD_FAILURE() << "there is no end of it";
    return ends;
}

class Short : public testing::Test {
   protected:
    static void SetUpTestSuite() { cluster = new Cluster{3}; }
    static void TearDownTestSuite() {
        delete cluster;
        cluster = nullptr;
    }

    static void try_all(const Trial& trial) {
        const Ends library = with_ever_more_memory(trial, cluster->uris(), Source::operator_new);
        EXPECT_GT(library.size(), 1U) << "or nothing was tried";
        // One node's connection suffers, and a quorum is left.
        const Ends hiredis = with_ever_more_memory(trial, cluster->uris(), Source::malloc);
        EXPECT_TRUE(HIREDIS_MAJOR == 0 || hiredis.count(process_ended) == 0);
        // A short lease may end before a busy machine has renewed it.
        EXPECT_TRUE(trial.threads == Threads::all || hiredis.count(failed) == 0);
    }

    static inline Cluster* cluster = nullptr;
};

// On all nodes: one of them is to be dispensable.
void take(Attempt& attempt) {
    const bool is_taken = eventually(patience, [&] {
        attempt.lock.reset();
        auto lock = attempt.locks.try_lock(attempt.name, 10s);
        if (!lock) return false;
        attempt.lock.emplace(*std::move(lock));
        const std::vector<Vote> votes = votes_of(attempt.lock->nodes());
        return std::count(votes.begin(), votes.end(), Vote::granted) == 3;
    });
    if (!is_taken) throw std::runtime_error{"it cannot be taken"};
}

[[nodiscard]] int keep(Attempt& attempt, Result<Lock> result) {
    const int number = number_of(result);
    if (result) attempt.lock.emplace(*std::move(result));
    return number;
}

TEST_F(Short, A_first_attempt_that_has_to_connect) {
    try_all({[](Attempt&) {}, [](Attempt& at) { return keep(at, at.locks.try_lock(at.name, 10s)); }});
}

TEST_F(Short, An_attempt_on_several_resources) {
    try_all({[](Attempt& at) { static_cast<void>(at.locks.try_lock("warm-up-" + at.name, 10s).value()); },
             [](Attempt& at) {
                 return keep(at, at.locks.try_lock({at.name, at.name + "-b", at.name + "-c"}, 10s));
             }});
}

// The holder's keys end by their ttl.
void be_held(Attempt& attempt) {
    const bool is_held = eventually(patience, [&] {
        auto lock = attempt.other.try_lock(attempt.name, 15ms);
        return lock && lock->detach();
    });
    if (!is_held) throw std::runtime_error{"it cannot be held"};
}

TEST_F(Short, A_wait_behind_a_holder) {
    try_all(
        {be_held, [](Attempt& at) { return keep(at, at.locks.lock(at.name, {.ttl = 10s, .wait = 10s})); }});
}

TEST_F(Short, An_extension) {
    try_all({take, [](Attempt& at) { return number_of(at.lock->extend(20s)); }});
}

TEST_F(Short, A_release) {
    try_all({take, [](Attempt& at) { return number_of(at.lock->unlock()); }});
}

TEST_F(Short, A_destructor) {
    try_all({take, [](Attempt& at) { return at.lock.reset(), 0; }});
}

TEST_F(Short, A_renewal_whichever_thread_does_it) {
    try_all(
        {[](Attempt& at) { at.lock.emplace(at.locks.lock(at.name, {.ttl = 90ms, .renew = true}).value()); },
         [](Attempt& at) {
             const auto before = at.lock->expires_at();
             const bool has_ended = eventually(
                 patience, [&] { return at.lock->expires_at() > before || !at.lock->owns_lock(); });
             return has_ended && at.lock->owns_lock() ? 0 : 1;
         },
         Threads::all});
}

}  // namespace
}  // namespace redlock::test
