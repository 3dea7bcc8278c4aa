// SPDX-License-Identifier: Apache-2.0
// The scenarios whose timelines are in timelines/.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>

#include "sim/scenario.hpp"

namespace redlock::sim::scenarios {

using namespace std::chrono_literals;
using Steps = ScenarioClient::Steps;

inline constexpr std::uint32_t a = 0;
inline constexpr std::uint32_t b = 1;
inline constexpr std::uint32_t n1 = 0;
inline constexpr std::uint32_t n2 = 1;
inline constexpr std::uint32_t n3 = 2;
inline constexpr std::uint32_t n4 = 3;

// ---- steps of clients in several scenarios ----------------------------------------------------------------

inline Steps hold_until_100(ScenarioClient& self) {
    const LockOptions how{.ttl = 1000ms};
    const SimLeasePtr lease = co_await self.lock(how);
    co_await self.until(100ms);
    co_return co_await self.unlock(lease);
}

inline Steps try_once(ScenarioClient& self) {
    const LockOptions how{.ttl = 1000ms};
    const SimLeasePtr lease = co_await self.lock(how);
    co_return lease != nullptr;
}

inline Steps wait_for_it(ScenarioClient& self) {
    const LockOptions how{.ttl = 1000ms, .wait = 5000ms};
    const SimLeasePtr lease = co_await self.lock(how);
    co_return lease != nullptr;
}

/// Sets delays so that n1 answers first, then n2, then n3.
inline void spread_out(Scenario& scenario, std::uint32_t client) {
    scenario.timeline().set_delay({client, n2}, 2ms);
    scenario.timeline().set_delay({client, n3}, 3ms);
}

// ---- one attempt ------------------------------------------------------------------------------------------

inline std::string clean_acquire() {
    Scenario scenario{
        R"(
A clean acquire and release. A asks all three nodes at once and has the lock when two have granted it,
one round trip later; the third is not waited for. A message takes 1 ms to n1, 2 ms to n2 and 3 ms to n3.
)",
        {.clients = 1}};
    spread_out(scenario, a);
    scenario.start(0ms, a, hold_until_100);
    scenario.comment(0ms, "The clock is read before the first byte is sent: the validity counts from here.");
    scenario.comment(0ms,
                     "The proposal is A's wall clock in microseconds, shown as if it had begun at 1000.");
    scenario.comment(4ms, "Two of three nodes are a quorum: decided, without waiting for n3.");
    scenario.comment(4ms,
                     "Validity: the ttl of 1000, less 4 that have passed, less 12 for drift (1 % and 2 ms).");
    scenario.comment(6ms, "The late vote is noted too. All three nodes have the key.");
    scenario.comment(104ms,
                     "A quorum has confirmed it. The counters stay: the next fencing token is larger.");
    return scenario.run_until(200ms);
}

inline std::string split_vote() {
    Scenario scenario{
        R"(
A split vote. A is nearer to n1 and n2, B to n3 and n4: each gets two of four nodes, and a quorum is three.
Both release what they got and wait for a random time, which by chance is the same. After a split vote a
contender asks one node first, chosen by a hash of the resource, and the others when that has granted:
both ask the same one, so one of them gets all. (Notices are off here: fewer lines.)
)",
        {.clients = 2, .nodes = 4, .notify = false}};
    for (const std::uint32_t node : {n3, n4}) scenario.timeline().set_delay({a, node}, 2ms);
    for (const std::uint32_t node : {n1, n2}) scenario.timeline().set_delay({b, node}, 2ms);
    scenario.start(0ms, a, wait_for_it);
    scenario.start(0ms, b, wait_for_it);
    scenario.comment(4ms,
                     "Two grants and two denials: three grants are impossible. Both release on all nodes.");
    scenario.comment(17ms, "Both draw 12.5 ms, a half of 25. The lead is n1 for both.");
    scenario.comment(21ms,
                     "The lead has denied B, which asks no other node. A has the lead and asks the rest.");
    return scenario.run_until(30ms);
}

inline std::string late_set() {
    Scenario scenario{
        R"(
A late SET is undone. The requests to n2 and n3 are late, the attempt fails, and the SETs run long after
A has given up. The release went to all nodes, those that had not answered too, on the same connections: it
runs after the SET on each node. No key is left that nobody holds, and B need not wait for a ttl to end.
)",
        {.clients = 2}};
    const auto set_delay = [&](milliseconds delay) {
        scenario.timeline().set_delay({a, n2}, delay);
        scenario.timeline().set_delay({a, n3}, delay);
    };
    scenario.at(0ms, "what A sends to n2 and n3 takes 150 ms", [&] { set_delay(150ms); });
    scenario.start(0ms, a, try_once);
    scenario.at(100ms, "it takes 1 ms again", [&] { set_delay(1ms); });
    scenario.start(250ms, b, try_once);
    scenario.comment(50ms, "The deadline of an attempt, node_timeout. The release goes to n2 and n3 too.");
    scenario.comment(151ms, "Too late: nobody holds token-1.");
    scenario.comment(201ms, "What ran late has been undone.");
    return scenario.run_until(300ms);
}

inline std::string commit_round() {
    Scenario scenario{
        R"(
A commit: the second round trip of fencing tokens. The counters of the nodes are apart (earlier acquisitions
reached some of them only), so that no quorum gives the same number. A takes the largest number granted
and writes it back: it holds when a quorum of counters has that number. A message takes 1, 2 and 3 ms.
)",
        {.clients = 1}};
    spread_out(scenario, a);
    scenario.set_counter(n1, 9000);
    scenario.set_counter(n2, 5000);
    scenario.start(0ms, a, hold_until_100);
    scenario.comment(0ms, "The counters are 9000 on n1 and 5000 on n2; n3 has none.");
    scenario.comment(4ms,
                     "A quorum has granted, with two numbers. 9001 is the largest, and n1 has it already.");
    scenario.comment(
        8ms,
        "n1 and n2 have 9001: whoever gets the lock next has one of them in its quorum, and a larger token.");
    return scenario.run_until(50ms);
}

inline Steps hold_until_400(ScenarioClient& self) {
    const LockOptions how{.ttl = 1000ms};
    const SimLeasePtr lease = co_await self.lock(how);
    co_await self.until(400ms);
    co_return co_await self.unlock(lease);
}

inline Steps try_at_100_and_at_1200(ScenarioClient& self) {
    const LockOptions how{.ttl = 1000ms};
    const SimLeasePtr first = co_await self.lock(how);
    co_await self.until(1200ms);
    const SimLeasePtr second = co_await self.lock(how);
    co_return !first && second;
}

inline std::string restart_in_quarantine() {
    Scenario scenario{
        R"(
A restart in quarantine. A holds by n1 and n2. Then n1 restarts and has forgotten it: n1 and n3 would make
B a second holder. With restart_quarantine = 1000 ms a node that has restarted does not vote in acquires
for as long as a lock that it may have forgotten can last. It still takes releases.
)",
        {.clients = 2, .quarantine = 1000ms}};
    scenario.timeline().set_delay({b, n2}, 2ms);
    scenario.at(0ms, "nothing gets through from A to n3", [&] {
        scenario.network().links().block(std::uint64_t{1} << n3, Scenario::instant_of(250ms));
    });
    scenario.start(0ms, a, hold_until_400);
    scenario.at(50ms, "n1 crashes, and forgets all", [&] {
        scenario.network().crash(n1);
        scenario.node(n1).redis().store().forget_all();
    });
    scenario.at(60ms, "n1 is back, empty", [&] { scenario.node(n1).come_back(); });
    scenario.start(100ms, b, try_at_100_and_at_1200);
    scenario.at(250ms, "A gets through to n3 again", {});
    scenario.comment(
        104ms, "n1 is not asked, though it is up: B counts the quarantine from 102 on, by its own clock.");
    scenario.comment(251ms, "The SET of A had been on its way to n3 since 0.");
    scenario.comment(1204ms, "The quarantine is over since 1102: n1 votes again.");
    return scenario.run_until(1250ms);
}

// ---- waiting ----------------------------------------------------------------------------------------------

inline std::string waiter_notified() {
    Scenario scenario{
        R"(
A waiter is notified by the release. B finds the lock held, subscribes to a channel of its own on each node
and enters a queue there. The release deletes the key and sends a notice to the first in the queue: B has
the lock two round trips after A began to unlock, without polling.
)",
        {.clients = 2}};
    scenario.start(0ms, a, hold_until_100);
    scenario.start(20ms, b, wait_for_it);
    scenario.comment(22ms, "B releases at once what a late grant may leave, and subscribes.");
    scenario.comment(
        27ms, "B waits. It would look again after 250 ms, and at the end of the ttl: a notice may be lost.");
    scenario.comment(102ms, "Notified by a quorum of the nodes, B tries at once.");
    return scenario.run_until(150ms);
}

inline Steps hold_for_good(ScenarioClient& self) {
    const LockOptions how{.ttl = 300ms};
    const SimLeasePtr lease = co_await self.lock(how);
    co_return lease != nullptr;
}

inline std::string holder_dies() {
    Scenario scenario{
        R"(
A holder dies. Nobody unlocks and nobody notifies: the key ends by its ttl on each node. B, which waits,
knows from the nodes how long the key has, and tries again right after that.
)",
        {.clients = 2}};
    scenario.start(0ms, a, hold_for_good);
    scenario.start(100ms, b, wait_for_it);
    scenario.at(150ms, "A's process is killed", [&] { scenario.client(a).crash(); });
    scenario.comment(107ms,
                     "The nodes say 195 ms. B counts them from 105 on, adds 2 ms, and waits until 302.");
    scenario.comment(304ms, "The ttl of A ended at 301, and its validity, less the drift, at 295.");
    return scenario.run_until(350ms);
}

// ---- a lease and its end ----------------------------------------------------------------------------------

inline Steps renew_until_400(ScenarioClient& self) {
    const LockOptions how{.ttl = 300ms, .renew = true};
    const SimLeasePtr lease = co_await self.lock(how);
    co_await self.until(400ms);
    co_return co_await self.unlock(lease);
}

inline std::string renewal_over_hung_node() {
    Scenario scenario{
        R"(
Renewal while a node hangs. A renews whenever a third of the validity is used up. A quorum of yes is enough,
so n2, which hangs for a while, neither delays a renewal nor ends the lease. When it goes on it finds all
that it was sent, in order.
)",
        {.clients = 1}};
    scenario.start(0ms, a, renew_until_400);
    scenario.at(60ms, "n2 hangs", [&] { scenario.node(n2).hang(Scenario::instant_of(250ms)); });
    scenario.at(250ms, "n2 goes on", {});
    scenario.comment(
        102ms,
        "n1 and n3 are a quorum. The validity is counted from before the send: 99.7 + 300 - 5 of drift.");
    scenario.comment(251ms, "Late answers are noted, and change nothing.");
    scenario.comment(
        402ms, "The renewal under way at 400 gives nothing any more; each node ran it before the release.");
    return scenario.run_until(450ms);
}

inline Steps extend_twice(ScenarioClient& self) {
    const LockOptions how{.ttl = 1000ms};
    const SimLeasePtr lease = co_await self.lock(how);
    co_await self.until(200ms);
    co_await self.extend(lease, 1000ms);
    co_await self.until(400ms);
    co_return co_await self.extend(lease, 1000ms);
}

inline std::string key_put_back() {
    Scenario scenario{
        R"(
A key that got lost on a minority is put back. The extension finds it absent on n2, succeeds by n1 and n3,
and then stores it on n2 again. Only a lease that a quorum holds without a gap may do so: where a quorum has
lost the key the lease is lost, and is never taken anew in silence.
)",
        {.clients = 1}};
    scenario.start(0ms, a, extend_twice);
    scenario.at(100ms, "the key on n2 is deleted", [&] { scenario.run_at(n2, {"DEL", "orders/42"}); });
    scenario.comment(202ms, "Absent is no yes: n2 did not count in this extension.");
    scenario.comment(402ms, "n2 counts again.");
    return scenario.run_until(450ms);
}

inline Steps renew_until_300(ScenarioClient& self) {
    const LockOptions how{.ttl = 600ms, .renew = true};
    const SimLeasePtr lease = co_await self.lock(how);
    co_await self.until(300ms);
    co_return co_await self.unlock(lease);
}

inline std::string lease_lost() {
    Scenario scenario{
        R"(
A lease is lost. An operator deletes the key on two of three nodes, and B gets the lock while A works on.
A learns of it by its next renewal, since a quorum says no, long before its validity would end. In between
only the fencing tokens help: the protected resource refuses 1000 once it has seen 61000.
)",
        {.clients = 2}};
    scenario.start(0ms, a, renew_until_300);
    scenario.at(50ms, "an operator deletes the key on n1 and n2", [&] {
        scenario.run_at(n1, {"DEL", "orders/42"});
        scenario.run_at(n2, {"DEL", "orders/42"});
    });
    scenario.start(60ms, b, try_once);
    scenario.comment(62ms, "Both believe that they hold it. B has the larger token.");
    scenario.comment(
        201ms, "Two denials of three. Without them lost() would be triggered at 592, by A's own clock.");
    scenario.comment(302ms, "The release deletes only what is A's: token-2 stays.");
    return scenario.run_until(350ms);
}

// ---- all scenarios, in the order in which to read them ----------------------------------------------------

struct NamedScenario {
    const char* name;
    std::string (*timeline)();

    friend std::ostream& operator<<(std::ostream& out, const NamedScenario& scenario) {
        return out << scenario.name;
    }
};

inline constexpr std::array all{
    NamedScenario{"clean_acquire", clean_acquire},
    NamedScenario{"commit_round", commit_round},
    NamedScenario{"late_set", late_set},
    NamedScenario{"split_vote", split_vote},
    NamedScenario{"waiter_notified", waiter_notified},
    NamedScenario{"holder_dies", holder_dies},
    NamedScenario{"renewal_over_hung_node", renewal_over_hung_node},
    NamedScenario{"key_put_back", key_put_back},
    NamedScenario{"lease_lost", lease_lost},
    NamedScenario{"restart_in_quarantine", restart_in_quarantine},
};

}  // namespace redlock::sim::scenarios
