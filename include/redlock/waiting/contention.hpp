// SPDX-License-Identifier: Apache-2.0
// Waiting for resources: behind other calls of this process, and then contending with other clients.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/algorithm/failures.hpp"
#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/retry.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/text/printable.hpp"
#include "redlock/waiting/local_queue.hpp"
#include "redlock/waiting/node_queue.hpp"

namespace redlock::inline v0_1::detail {

template <class Transport, class Clock>
class Contention {
   public:
    using EngineType = Engine<Transport, Clock>;
    using ProtocolType = Protocol<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using LeasePtr = typename ProtocolType::LeasePtr;
    using ClaimPtr = typename ProtocolType::ClaimPtr;
    using Timing = typename ProtocolType::Timing;

    Contention(EngineType& engine, ProtocolType& protocol)
        : engine_{engine}, protocol_{protocol}, node_queue_{engine, local_queues_} {}
    Contention(const Contention&) = delete;
    Contention& operator=(const Contention&) = delete;
    ~Contention() = default;

    /// Attempts until one succeeds, the wait is over or a stop is requested.
    Task<Result<LeasePtr>> acquire(ClaimPtr claim, LockOptions how, Call* call) {
        if (how.wait.count() == 0) co_return co_await protocol_.try_acquire(claim, how.ttl, call);
        const TimeBudget<TimePoint> budget{engine_.now(), std::min(how.wait, ages),
                                           engine_.options().node_timeout, engine_.options().connect_timeout};
        if (co_await engine_.next_turn(call) == Verdict::cancelled) co_return cancelled(*claim, 0);
        WaiterType waiter{claim, how, budget, call, engine_.size()};
        waiter.since_us = engine_.wall_us();
        const Membership membership{*this, waiter};
        local_queues_.take_yield(waiter, engine_.now());
        co_await contend(waiter);
        if (waiter.lease) co_return std::move(waiter.lease);
        waiter.failure->add_details(waiter.refusals);
        co_return *std::move(waiter.failure);
    }

    /// As the protocol does; and the first waiter of this process may make its attempt right behind it.
    Task<Result<void>> release(LeasePtr lease, Unconnected unconnected) {
        if (local_queues_.has_waiters()) {
            co_await engine_.next_turn(nullptr);
            hand_over(*lease);
        }
        bool has_notified = false;
        const TimePoint started = engine_.now();
        Result<void> result = co_await protocol_.release(lease, &has_notified, unconnected);
        if (has_notified) {  // which replies have told, so that this is a driver's turn
            const TimePoint now = engine_.now();
            local_queues_.note_yield(*lease->claim, now - started, now);
        }
        co_return result;
    }

    /// The lease is held elsewhere from now on: waiters of this process have to ask the nodes. False: it must
    /// not be handed on, or it was not held; keys that may be left of it are released then.
    Task<bool> detach(LeasePtr lease) {
        const std::optional<Hold> before = lease->begin_hand_over(engine_.now());
        if (!before || before == Hold::released) co_return false;
        co_await engine_.next_turn(nullptr);
        hand_over(*lease);
        if (before == Hold::lost) {
            protocol_.clean_up(*lease);
            co_return false;
        }
        lease->keys->is_unwanted = true;  // what is not sent yet must not be sent any more
        co_return true;
    }

    void on_notice(std::size_t node, std::string_view payload) { node_queue_.on_notice(node, payload); }

    void on_turn() {
        if (local_queues_.remembers()) local_queues_.forget_expired(engine_.now());
        if (!local_queues_.has_waiters()) node_queue_.close_idle();
    }

   private:
    using WaiterType = Waiter<TimePoint>;

    /// Of a waiter in the local queue, from its first attempt to its last.
    class Membership {
       public:
        Membership(Contention& owner, WaiterType& waiter) : owner_{owner}, waiter_{waiter} {
            owner.local_queues_.join(waiter);
        }
        Membership(const Membership&) = delete;
        Membership& operator=(const Membership&) = delete;
        ~Membership() {
            owner_.node_queue_.delist(waiter_);
            WaiterType* const next = owner_.local_queues_.leave(waiter_);
            if (!owner_.local_queues_.has_waiters()) owner_.node_queue_.on_idle();
            owner_.resume(next);
        }

       private:
        Contention& owner_;
        WaiterType& waiter_;
    };

    /// A waiter that lets others of this process go first while its user decides whether it goes on.
    class Aside {
       public:
        Aside(Contention& owner, WaiterType& waiter) : owner_{owner}, waiter_{waiter} {
            owner.resume(owner.local_queues_.step_aside(waiter));
        }
        Aside(const Aside&) = delete;
        Aside& operator=(const Aside&) = delete;
        ~Aside() { owner_.local_queues_.step_back(waiter_); }

       private:
        Contention& owner_;
        WaiterType& waiter_;
    };

    /// Attempts, whenever the waiter is the first of this process. False: its failure says why it did not
    /// get the lock.
    Task<bool> contend(WaiterType& waiter) {
        const TimeBudget<TimePoint>& budget = waiter.budget;
        for (;;) {
            if (!co_await come_first(waiter)) co_return false;
            if (std::exchange(waiter.must_yield, false)) co_await yield_to_remote(waiter);
            if (co_await engine_.next_turn(waiter.call) == Verdict::cancelled) {
                waiter.failure = cancelled(*waiter.claim, waiter.attempts);
                co_return false;
            }
            const TimePoint started = engine_.now();
            if (waiter.failure && budget.is_over(started)) co_return false;
            Timing timing{budget.end(), budget.connect_by()};
            Result<LeasePtr> result =
                co_await protocol_.acquire(waiter.claim, waiter.how.ttl, timing, waiter.lead, waiter.call);
            node_queue_.delist(waiter);
            if (result) {
                waiter.queue->held = waiter.lease = *result;
                co_return true;
            }
            if (!note_failure(waiter, std::move(result).error(), started, timing.took)) co_return false;
            if (!co_await next_attempt(waiter)) co_return false;
            if (waiter.notices >= quorum_of(engine_.size())) continue;
            // [15] a random delay desynchronises clients that try at the same time
            const auto suspended = waiter.suspend_until(waiter.next_attempt);
            const Verdict verdict = co_await engine_.suspend(suspended, waiter.call);
            waiter.suspended.reset();
            if (verdict == Verdict::cancelled) {
                waiter.failure = cancelled(*waiter.claim, waiter.attempts, waiter.failure->nodes());
                co_return false;
            }
        }
    }

    /// Until the waiter is the first of this process, and no lease of this process has the resources: then no
    /// node need be asked. False: its wait is over, and its failure says why.
    Task<bool> come_first(WaiterType& waiter) {
        while (!waiter.is_first()) {
            const TimePoint until =
                first_of(waiter.last_start(), patience_end(waiter).value_or(waiter.last_start()));
            const Verdict verdict = co_await engine_.suspend(waiter.suspend_until(until), waiter.call);
            if (verdict == Verdict::cancelled) {
                waiter.failure = cancelled(*waiter.claim, 0);
                co_return false;
            }
            if (waiter.is_first()) break;
            if (auto failure = end_of_wait(waiter)) {
                if (!waiter.failure) waiter.failure = std::move(failure);
                co_return false;
            }
        }
        while (const LeasePtr held = waiter.queue->held) {
            const TimePoint now = engine_.now();
            const std::chrono::nanoseconds left = held->remaining(now);
            if (left.count() <= 0 || (now - waiter.last_start()).count() >= 0) {
                waiter.queue->held.reset();
                break;
            }
            note_own_lease(waiter);
            // No longer than that, since its end may come nearer meanwhile.
            const auto pause = std::min<std::chrono::nanoseconds>(left, engine_.options().retry.cap);
            const TimePoint until = first_of(now + pause, waiter.last_start());
            const Verdict verdict = co_await engine_.suspend(waiter.suspend_until(until), waiter.call);
            if (verdict == Verdict::cancelled) break;
        }
        co_return true;
    }

    /// Lets waiters of other processes try first, and enters the queues behind them. False: it was notified.
    Task<bool> yield_to_remote(WaiterType& waiter) {
        constexpr std::chrono::nanoseconds grace = std::chrono::microseconds{100};
        const TimePoint yielded = engine_.now() + waiter.round + grace;
        const TimePoint until = first_of(yielded, waiter.last_start());
        co_await engine_.suspend(waiter.suspend_until(until), waiter.call);
        waiter.next_attempt = engine_.now();
        co_await node_queue_.enlist(waiter);
        if (waiter.notices > 0) co_return false;
        co_await engine_.suspend(waiter.suspend_until(waiter.next_attempt), waiter.call);
        co_return true;
    }

    /// Sets when the next attempt begins: by the retry policy, later where a release will notify. False:
    /// there is none.
    Task<bool> next_attempt(WaiterType& waiter) {
        const RetryPolicy& retry = engine_.options().retry;
        const Failure& failure = *waiter.failure;
        if (!may_retry(retry, failure, waiter.attempts)) co_return false;
        std::optional<std::chrono::nanoseconds> delay;
        if (retry.decide) {
            const Aside aside{*this, waiter};
            co_await engine_.on_caller(waiter.call,
                                       [&] { delay = decided_delay(retry, failure, waiter.attempts); });
        } else {
            delay = delay_after(waiter.attempts, retry, waiter.round, draw_fraction());
        }
        if (!delay) co_return false;
        const auto by_policy = waiter.budget.next_attempt(*delay, waiter.round, engine_.now());
        if (!by_policy) co_return false;
        TimePoint& next = waiter.next_attempt;
        next = *by_policy;
        if (failure == errc::contended && waiter.is_first()) co_await node_queue_.enlist(waiter);
        if (waiter.notices > 0) next = first_of(next, engine_.now() + waiter.round);
        next = first_of(next, patience_end(waiter).value_or(next));
        co_return true;
    }

    /// After an attempt that failed. False: no other may follow.
    [[nodiscard]] bool note_failure(WaiterType& waiter, Failure&& failure, TimePoint started,
                                    std::chrono::nanoseconds took) {
        ++waiter.attempts;
        const bool was_cut_short = waiter.budget.end() - started < waiter.budget.node_timeout;
        if (waiter.failure && failure == errc::unreachable && was_cut_short) {
            waiter.failure->set_attempts(waiter.attempts);  // this one says nothing about the nodes
            return false;
        }
        waiter.failure = std::move(failure);
        waiter.failure->set_attempts(waiter.attempts);
        note_lead(waiter);
        note_silence(waiter, started, took);
        return !is_unreachable_too_long(waiter);
    }

    /// Notes that another call of this process holds the resources.
    static void note_own_lease(WaiterType& waiter) {
        waiter.failure =
            Failure{errc::contended, joined({"this process itself holds ", describe(*waiter.claim)})};
        waiter.failure->set_attempts(waiter.attempts);
    }

    /// Notes since when no quorum has answered the waiters for these resources.
    void note_silence(WaiterType& waiter, TimePoint started, std::chrono::nanoseconds took) {
        LocalQueue<TimePoint>& queue = *waiter.queue;
        if (*waiter.failure != errc::unreachable) {
            waiter.round = took;
            queue.silent_since.reset();
        } else if (!queue.silent_since) {
            queue.silent_since = started;
            // It counts for those behind too. One that ends its wait then leaves the queue.
            for (WaiterType* behind = queue.first; behind != nullptr;) {
                resume(std::exchange(behind, behind->next));
            }
        }
    }

    /// After a split vote all clients ask the same node first, so that one of them gets past it.
    void note_lead(WaiterType& waiter) {
        const std::vector<NodeReport>& nodes = waiter.failure->nodes();
        const std::optional<std::size_t> lead = waiter.lead;
        if (lead && nodes[*lead].vote == Vote::timeout) waiter.silent_leads[*lead] = true;
        const bool was_silent = lead && waiter.silent_leads[*lead];
        waiter.lead.reset();
        if (!is_split(nodes) && !was_silent) return;
        waiter.lead = engine_.lead_for(waiter.claim->resources.front(), waiter.silent_leads);
    }

    /// Why the wait is over of a waiter that is not first; none: it is not over.
    [[nodiscard]] std::optional<Failure> end_of_wait(const WaiterType& waiter) const {
        if (is_unreachable_too_long(waiter)) {
            return Failure{
                errc::unreachable,
                joined({"no quorum answers those of this process that wait for ", describe(*waiter.claim)})};
        }
        if ((engine_.now() - waiter.last_start()).count() < 0) return std::nullopt;
        return Failure{errc::contended,
                       joined({"others of this process wait for ", describe(*waiter.claim)})};
    }

    /// When the nodes will have been silent for too long; none: they are not silent, or it never is too long.
    [[nodiscard]] std::optional<TimePoint> patience_end(const WaiterType& waiter) const {
        const std::optional<TimePoint>& since = waiter.queue->silent_since;
        if (!since || waiter.how.wait_unreachable == forever) return std::nullopt;
        return std::max(*since, waiter.budget.began) + std::min(waiter.how.wait_unreachable, ages);
    }

    [[nodiscard]] bool is_unreachable_too_long(const WaiterType& waiter) const {
        const auto end = patience_end(waiter);
        return end && (engine_.now() - *end).count() >= 0;
    }

    /// Before a release is sent: the first waiter of this process for the same resources is resumed. Its
    /// attempt waits for the next turn, so that it follows the release on the same connections.
    void hand_over(const Lease<TimePoint>& lease) { resume(local_queues_.hand_over(*lease.claim)); }

    void resume(WaiterType* waiter) {
        if (waiter == nullptr) return;
        if (const auto suspended = waiter->suspended) engine_.resume(*suspended);
    }

    /// A random number from 0 to 1.
    [[nodiscard]] double draw_fraction() const {
        std::array<unsigned char, 4> bytes{};
        engine_.transport().random(bytes);
        double fraction = 0;
        for (const unsigned char byte : bytes) fraction = (fraction + byte) / 256;
        return fraction;
    }

    [[nodiscard]] static Failure cancelled(const Claim& claim, std::uint32_t attempts,
                                           std::vector<NodeReport> nodes = {}) {
        Failure failure{errc::cancelled, describe(claim), std::move(nodes)};
        failure.set_attempts(attempts);
        return failure;
    }

    EngineType& engine_;
    ProtocolType& protocol_;
    LocalQueues<TimePoint> local_queues_;
    NodeQueue<Transport, Clock> node_queue_;
};

}  // namespace redlock::inline v0_1::detail
