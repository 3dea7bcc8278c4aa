// SPDX-License-Identifier: Apache-2.0
// The queues of this process: of all its calls that wait for the same resources, only the first contends on
// the network. Nothing here sends anything or resumes anybody: functions return the waiter to resume.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/retry.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/voting/claim.hpp"
#include "redlock/waiting/queue_report.hpp"

namespace redlock::inline v0_1::detail {

/// How long a waiter that nobody notifies waits before it first looks again.
inline constexpr std::chrono::nanoseconds first_interval = std::chrono::milliseconds{250};

template <class TimePoint>
struct LocalQueue;

/// A call that waits, from its first attempt to its last. Only the driver uses it.
template <class TimePoint>
struct Waiter {
    Waiter(Ref<const Claim> what, const LockOptions& options, const TimeBudget<TimePoint>& time, Call* caller,
           std::size_t node_count)
        : claim{std::move(what)},
          how{options},
          budget{time},
          call{caller},
          silent_leads(node_count),
          notified_by(node_count) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() = default;

    const Ref<const Claim> claim;
    const LockOptions& how;
    const TimeBudget<TimePoint> budget;
    Call* const call;
    LocalQueue<TimePoint>* queue = nullptr;
    Waiter* previous = nullptr;  ///< in the queue
    Waiter* next = nullptr;
    Ref<Suspended<TimePoint>> suspended{};  ///< what it was last suspended on

    // Its attempts.
    std::uint32_t attempts = 0;         ///< that failed
    std::optional<Failure> failure{};   ///< why it does not have the lock yet
    Ref<Lease<TimePoint>> lease{};      ///< when it has the lock
    std::chrono::nanoseconds round{0};  ///< how long the last attempt took that a quorum answered
    TimePoint next_attempt{};           ///< when it begins at the latest
    std::optional<std::size_t> lead{};  ///< the node that the next attempt asks first
    std::vector<bool> silent_leads;     ///< the nodes that did not answer when they were asked first
    bool must_yield = false;            ///< before the next attempt, to waiters of other processes

    // In the queues of the nodes.
    std::int64_t since_us = 0;            ///< its place is by this time
    std::uint64_t number = 0;             ///< its name is by this number; 0: it is not in the queues
    std::vector<bool> notified_by;        ///< the nodes whose notices have come
    std::size_t notices = 0;              ///< how many nodes that are
    std::optional<QueueReport> report{};  ///< when it entered last
    bool was_notified = false;            ///< since then
    std::vector<std::string> refusals{};  ///< why it could not enter, by node
    unsigned attempts_at_once = 0;        ///< since it last entered
    std::chrono::nanoseconds interval = first_interval;  ///< to the next look without a notice

    [[nodiscard]] bool is_first() const noexcept { return queue->first == this; }

    /// When its last attempt begins.
    [[nodiscard]] TimePoint last_start() const { return budget.last_start(round); }

    [[nodiscard]] Ref<Suspended<TimePoint>> suspend_until(TimePoint when) {
        suspended = make_ref<Suspended<TimePoint>>(when);
        return suspended;
    }
};

/// The waiters of this process for the same resources, and what is remembered about these resources.
template <class TimePoint>
struct LocalQueue {
    const std::string* name = nullptr;
    Waiter<TimePoint>* first = nullptr;  ///< it contends
    Waiter<TimePoint>* last = nullptr;
    std::size_t aside = 0;         ///< more waiters, whose users decide whether they go on
    Ref<Lease<TimePoint>> held{};  ///< what one of them got, while the others wait for its end
    /// When the first of their latest attempts began that no quorum answered; none: one answered the last.
    std::optional<TimePoint> silent_since{};
    unsigned handovers = 0;  ///< from one of them to the next

    // What outlives the waiters; see LocalQueues::remember.
    bool is_remembered = false;
    LocalQueue* next_remembered = nullptr;
    std::optional<TimePoint> yield_until{};   ///< a waiter elsewhere was notified: it comes first until then
    std::chrono::nanoseconds yield_round{0};  ///< how long the release took that notified it
    std::optional<TimePoint> polled_until{};  ///< some holder notified nobody: looking is by the retry policy

    [[nodiscard]] bool is_empty() const noexcept { return first == nullptr && aside == 0; }

    void insert_behind(Waiter<TimePoint>* previous, Waiter<TimePoint>& waiter) noexcept {
        waiter.previous = previous;
        waiter.next = previous != nullptr ? previous->next : first;
        (waiter.previous != nullptr ? waiter.previous->next : first) = &waiter;
        (waiter.next != nullptr ? waiter.next->previous : last) = &waiter;
    }

    void remove(Waiter<TimePoint>& waiter) noexcept {
        (waiter.previous != nullptr ? waiter.previous->next : first) = waiter.next;
        (waiter.next != nullptr ? waiter.next->previous : last) = waiter.previous;
    }
};

/// One string per list of resources. A name may have any byte.
[[nodiscard]] inline std::string queue_name(const Claim& claim) {
    std::string name;
    for (const std::string& resource : claim.resources) {
        name.append(std::to_string(resource.size())).append(":").append(resource);
    }
    return name;
}

/// Only the driver uses it, unless a function says otherwise.
template <class TimePoint>
class LocalQueues {
   public:
    using QueueType = LocalQueue<TimePoint>;
    using WaiterType = Waiter<TimePoint>;

    /// Whether any call waits. Thread-safe.
    [[nodiscard]] bool has_waiters() const noexcept {
        return waiter_count_.load(std::memory_order_relaxed) > 0;
    }

    void join(WaiterType& waiter) {
        QueueType& queue = queue_of(*waiter.claim);
        queue.insert_behind(queue.last, waiter);
        waiter.queue = &queue;
        waiter_count_.fetch_add(1, std::memory_order_relaxed);
    }

    /// Returns the waiter that is first now; null: there is none, or it was first before.
    WaiterType* leave(WaiterType& waiter) {
        waiter_count_.fetch_sub(1, std::memory_order_relaxed);
        QueueType& queue = *waiter.queue;
        const bool was_first = waiter.is_first();
        queue.remove(waiter);
        if (queue.is_empty()) {
            queue.held.reset();
            queue.silent_since.reset();
            queue.handovers = 0;
            erase_unused(queue);
            return nullptr;
        }
        return was_first ? queue.first : nullptr;
    }

    /// While its user decides whether it goes on, which may take long and may want the same resources, other
    /// waiters come before it. Returns the one that is first now; null: there is none.
    WaiterType* step_aside(WaiterType& waiter) {
        QueueType& queue = *waiter.queue;
        queue.remove(waiter);
        ++queue.aside;
        return queue.first;
    }

    /// The waiter goes on: it queues behind the one that is first by then.
    void step_back(WaiterType& waiter) {
        QueueType& queue = *waiter.queue;
        --queue.aside;
        queue.insert_behind(queue.first, waiter);
    }

    /// Before a release is sent. Returns the waiter whose attempt may follow it; null: there is none.
    WaiterType* hand_over(const Claim& claim) {
        const auto entry = queues_.find(queue_name(claim));
        if (entry == queues_.end()) return nullptr;
        QueueType& queue = entry->second;
        queue.held.reset();
        if (queue.first == nullptr) return nullptr;
        queue.first->must_yield = ++queue.handovers % handovers_max == 0;
        return queue.first;
    }

    /// After a release that notified a waiter of another process: a waiter of this process that comes right
    /// behind it lets that one try first. `round`: how long the release took.
    void note_yield(const Claim& claim, std::chrono::nanoseconds round, TimePoint now) {
        QueueType& queue = queue_of(claim);
        remember(queue);
        queue.yield_round = round;
        queue.yield_until = now + (4 * round + yield_min);
    }

    void take_yield(WaiterType& waiter, TimePoint now) {
        QueueType& queue = *waiter.queue;
        if (!queue.yield_until) return;
        waiter.must_yield = (now - *queue.yield_until).count() < 0;
        waiter.round = queue.yield_round;
        queue.yield_until.reset();
    }

    /// Waiters do not rely on notices for a while.
    void note_polled(QueueType& queue, TimePoint until) {
        remember(queue);
        queue.polled_until = until;
    }

    [[nodiscard]] bool remembers() const noexcept { return remembered_ != nullptr; }

    void forget_expired(TimePoint now) {
        QueueType** link = &remembered_;
        while (*link != nullptr) {
            QueueType& queue = **link;
            if (queue.yield_until && (now - *queue.yield_until).count() >= 0) queue.yield_until.reset();
            if (queue.polled_until && (now - *queue.polled_until).count() >= 0) queue.polled_until.reset();
            if (queue.yield_until || queue.polled_until) {
                link = &queue.next_remembered;
                continue;
            }
            *link = queue.next_remembered;
            queue.is_remembered = false;
            if (queue.is_empty()) erase_unused(queue);
        }
    }

   private:
    static constexpr unsigned handovers_max = 16;  // in a row; then waiters of other processes come first
    static constexpr std::chrono::nanoseconds yield_min = std::chrono::milliseconds{1};

    [[nodiscard]] QueueType& queue_of(const Claim& claim) {
        const auto entry = queues_.try_emplace(queue_name(claim)).first;
        entry->second.name = &entry->first;
        return entry->second;
    }

    void remember(QueueType& queue) {
        if (std::exchange(queue.is_remembered, true)) return;
        queue.next_remembered = std::exchange(remembered_, &queue);
    }

    void erase_unused(QueueType& queue) {
        if (!queue.is_remembered) queues_.erase(queues_.find(*queue.name));
    }

    std::map<std::string, QueueType> queues_;
    QueueType* remembered_ = nullptr;
    std::atomic<std::size_t> waiter_count_{0};
};

}  // namespace redlock::inline v0_1::detail
