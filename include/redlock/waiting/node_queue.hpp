// SPDX-License-Identifier: Apache-2.0
// The queues on the nodes: entering and leaving them, the notices that a release sends to their first, and
// when to look again without a notice.
//
// A notice may be lost, the holder may crash, or be a client that notifies nobody. So every waiter has a time
// at which it looks again.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/engine/engine.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/command.hpp"
#include "redlock/voting/quorum.hpp"
#include "redlock/waiting/local_queue.hpp"
#include "redlock/waiting/queue_report.hpp"

namespace redlock::inline v0_1::detail {

/// Only the driver uses it.
template <class Transport, class Clock>
class NodeQueue {
   public:
    using EngineType = Engine<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using WaiterType = Waiter<TimePoint>;

    NodeQueue(EngineType& engine, LocalQueues<TimePoint>& local_queues)
        : engine_{engine}, local_queues_{local_queues} {}

    /// Has a waiter enter the queues on all nodes, unless the resources turn out to be free. Its next
    /// attempt, which is to be set before, becomes later when it entered, and earlier when they are free.
    /// Returns whether it entered.
    Task<bool> enlist(WaiterType& waiter) {
        if (waiter.claim->queues.empty()) co_return false;
        // Until a quorum of the nodes can notify; if that takes too long, it enters before its next attempt.
        listen();
        const TimePoint limit = first_of(waiter.next_attempt, engine_.now() + engine_.options().node_timeout);
        std::chrono::nanoseconds pause = timer_lateness;
        while (engine_.transport().listening() < quorum_of(engine_.size())) {
            const TimePoint now = engine_.now();
            if ((now - limit).count() >= 0) co_return false;
            const TimePoint until = first_of(limit, now + std::exchange(pause, 2 * pause));
            const Verdict verdict = co_await engine_.suspend(waiter.suspend_until(until), waiter.call);
            if (verdict == Verdict::timed_out) continue;
            waiter.next_attempt = engine_.now();
            co_return false;
        }
        const auto round = enter(waiter);
        const Verdict verdict = co_await engine_.verdict_of(round, waiter.call);
        waiter.refusals.clear();
        for (const Ballot& ballot : round->ballots) {
            waiter.refusals.push_back(ballot.vote == Vote::refused ? ballot.text : std::string{});
        }
        if (verdict == Verdict::carried) {
            waiter.attempts_at_once = 0;
            note_report(waiter, queue_report_of(round->ballots, round->tally.quorum(), longest_interval()));
            const TimePoint look = next_look(waiter, round->started);
            waiter.next_attempt = first_of(look, waiter.last_start());
            co_return true;
        }
        // So many nodes are free that nobody can hold it: the next attempt begins at once. It may fail all
        // the same, since a node that answers this may still refuse to vote. So not again and again.
        const bool is_free = round->tally.denied() > engine_.size() - round->tally.quorum();
        if (is_free && ++waiter.attempts_at_once <= attempts_at_once_max) waiter.next_attempt = engine_.now();
        co_return false;
    }

    /// Has a waiter leave the queues, after each attempt and at the end. A notice that it got and did not use
    /// goes to the next in the queue.
    void delist(WaiterType& waiter) {
        if (waiter.number == 0) return;
        waiter.was_notified = waiter.was_notified || waiter.notices > 0;
        waiter.notices = 0;
        const std::uint64_t number = strike(waiter);
        const TimePoint now = engine_.now();
        engine_.post(engine_.make_round(delist_command(*waiter.claim, name_of(number)), now, now));
    }

    void on_notice(std::size_t node, std::string_view payload) {
        const std::size_t i = position_of(number_in_notice(payload));
        if (i == enlisted_.size()) return;  // it has left the queue
        WaiterType& waiter = *enlisted_[i].waiter;
        if (waiter.notified_by[node]) return;
        waiter.notified_by[node] = true;
        ++waiter.notices;
        const auto suspended = waiter.suspended;
        if (!suspended || suspended->decided) return;
        if (waiter.notices >= quorum_of(engine_.size())) return engine_.resume(*suspended);
        // The notices of the other nodes follow, unless their queues are in another order.
        engine_.resume_by(*suspended, engine_.now() + waiter.round);
    }

    /// The last waiter has left.
    void on_idle() {
        idle_since_ = engine_.now();
        if (is_listening_) engine_.remind(idle_since_ + idle_max);
    }

    /// Closes subscriptions that nobody has needed for a while. Not while anybody waits.
    void close_idle() {
        if (!is_listening_ || engine_.now() - idle_since_ < idle_max) return;
        is_listening_ = false;
        engine_.transport().listen({});
    }

   private:
    static constexpr unsigned attempts_at_once_max = 8;  // in a row; then by the retry policy
    static constexpr int intervals_polled = 10;          // of the longest
    static constexpr std::chrono::nanoseconds idle_max = std::chrono::seconds{10};

    struct Enlisted {
        std::uint64_t number;
        WaiterType* waiter;
    };

    /// The longest time in which a waiter that may be notified does not look.
    [[nodiscard]] std::chrono::milliseconds longest_interval() const {
        return std::max<std::chrono::milliseconds>(std::chrono::seconds{1}, 4 * engine_.options().retry.cap);
    }

    /// The round that enters it, by a number that it has not had before: when a request to leave comes late,
    /// it must not take out a waiter that has entered again.
    [[nodiscard]] typename EngineType::RoundPtr enter(WaiterType& waiter) {
        const TimePoint started = engine_.now();
        const TimePoint deadline = first_of(started + engine_.options().node_timeout, waiter.last_start());
        const std::string name = name_of(++last_number_);
        auto round = engine_.make_round(
            enlist_command(*waiter.claim, name, waiter.since_us, 2 * longest_interval()), started, deadline);
        if (waiter.number != 0) strike(waiter);  // it yields, and entered before
        enlisted_.push_back({last_number_, &waiter});
        waiter.number = last_number_;
        waiter.notices = 0;
        waiter.notified_by.assign(waiter.notified_by.size(), false);
        return round;
    }

    /// Looks at whether holders notify the waiter.
    void note_report(WaiterType& waiter, QueueReport report) {
        const bool was_notified = std::exchange(waiter.was_notified, false);
        if (waiter.report && !was_notified &&
            holder_has_changed(*waiter.report, report, quorum_of(engine_.size()))) {
            local_queues_.note_polled(*waiter.queue, engine_.now() + intervals_polled * longest_interval());
        }
        waiter.report = std::move(report);
    }

    /// When the first of the waits in this process ends.
    [[nodiscard]] static TimePoint first_end(const WaiterType& waiter) {
        TimePoint end = waiter.last_start();
        for (const WaiterType* other = waiter.queue->first; other != nullptr; other = other->next) {
            end = first_of(end, other->last_start());
        }
        return end;
    }

    /// At the end of the holder's lease. Before that too, since a holder may release it and notify nobody:
    /// soon and then less and less often, but again while there is time left for all that wait behind it. By
    /// the retry policy where that is the user's own, or where such holders were seen.
    [[nodiscard]] TimePoint next_look(WaiterType& waiter, TimePoint started) const {
        const TimePoint at_end = started + delay_to_end_of_lease(*waiter.report, waiter.round);
        TimePoint before = waiter.next_attempt;  // by the retry policy
        if (!engine_.options().retry.decide && !waiter.queue->polled_until) {
            const std::chrono::nanoseconds half = -(started - first_end(waiter)) / 2;
            before = started + std::min(waiter.interval, std::max(half, first_interval));
            waiter.interval = std::min<std::chrono::nanoseconds>(2 * waiter.interval, longest_interval());
        }
        return first_of(at_end, before);
    }

    void listen() {
        if (channel_.empty()) {
            std::array<unsigned char, Token::byte_count> bytes{};
            engine_.transport().random(bytes);
            channel_ = "redlock:" + Token{bytes}.str();
        }
        is_listening_ = true;
        engine_.transport().listen(channel_);
    }

    [[nodiscard]] std::string name_of(std::uint64_t number) const {
        return channel_ + " " + std::to_string(number);
    }

    /// Out of `enlisted_`, where it is. Returns the number that it had.
    std::uint64_t strike(WaiterType& waiter) noexcept {
        const std::uint64_t number = std::exchange(waiter.number, 0);
        enlisted_[position_of(number)] = enlisted_.back();
        enlisted_.pop_back();
        return number;
    }

    /// In `enlisted_`; its size if none has this number.
    [[nodiscard]] std::size_t position_of(std::uint64_t number) const noexcept {
        std::size_t i = 0;
        while (i < enlisted_.size() && enlisted_[i].number != number) ++i;
        return i;
    }

    EngineType& engine_;
    LocalQueues<TimePoint>& local_queues_;
    std::vector<Enlisted> enlisted_;
    std::uint64_t last_number_ = 0;
    std::string channel_;
    bool is_listening_ = false;
    TimePoint idle_since_{};
};

}  // namespace redlock::inline v0_1::detail
