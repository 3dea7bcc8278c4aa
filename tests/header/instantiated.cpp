// SPDX-License-Identifier: Apache-2.0
// All that the templates of the face define, compiled: a warning in what nobody calls here is seen too.
#include <chrono>

#include "redlock/fencing.hpp"
#include "redlock/handoff.hpp"
#include "redlock/hiredis/fenced.hpp"
#include "redlock/inspect.hpp"
#include "redlock/mutex.hpp"
#include "redlock/redlock.hpp"

template class redlock::BasicRedlock<redlock::hiredis::Transport, redlock::LeaseClock>;
template class redlock::BasicLock<redlock::hiredis::Transport, redlock::LeaseClock>;
template class redlock::BasicMutex<redlock::hiredis::Transport, redlock::LeaseClock>;
template class redlock::Result<redlock::Inspection>;

// A brace list of options, which ends in its user's code.
int make_with_options();

int make_with_options() {
    using namespace std::chrono_literals;
    redlock::Redlock locks{{"redis://a", "redis://b", "redis://c"}, {.node_timeout = 20ms}};
    auto lock = locks.try_lock("a", 5s);
    return lock ? 0 : 1;
}

// And what is a template of its own, and what is inlined into a caller.
int use_all(redlock::Redlock& locks);

int use_all(redlock::Redlock& locks) {
    using namespace std::chrono_literals;
    redlock::Mutex mutex{locks, "mutex", {.wait = 1s}};
    if (mutex.try_lock_for(1s)) mutex.unlock();
    if (mutex.try_lock_until(std::chrono::system_clock::now() + 1s)) mutex.unlock();
    auto lock = locks.try_lock({"a", "b"}, 10s);
    if (!lock) return lock.error().holder_remaining().has_value() ? 1 : 2;
    const auto handoff = redlock::Handoff::parse(lock->detach().str());
    auto adopted = locks.adopt(handoff, 10s);
    if (!adopted || !adopted->extend(10s)) return 3;
    const auto seen = locks.inspect("a");
    return seen && seen->state == redlock::Inspection::State::held ? 0 : 4;
}
