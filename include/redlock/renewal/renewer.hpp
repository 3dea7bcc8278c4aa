// SPDX-License-Identifier: Apache-2.0
// The leases that are due for renewal, or lost. The thread is in background_thread.hpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>

#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/lease_events.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

/// Thread-safe. The mutex is not held during I/O, callbacks or events.
template <class Transport, class Clock>
class Renewer {
   public:
    using EngineType = Engine<Transport, Clock>;
    using ProtocolType = Protocol<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using LeaseType = Lease<TimePoint>;
    using LeasePtr = Ref<LeaseType>;

    Renewer(EngineType& engine, ProtocolType& protocol, LeaseEvents<TimePoint>& events)
        : engine_{engine}, protocol_{protocol}, events_{events} {}
    Renewer(const Renewer&) = delete;
    Renewer& operator=(const Renewer&) = delete;
    ~Renewer() = default;

    /// Until the lease is forgotten or lost: triggers lost() at the end of its validity, and renews it before
    /// that where it has a Renewal.
    void watch(const LeasePtr& lease) {
        {
            const std::lock_guard lock{mutex_};
            if (leases_.has(*lease)) return;
            lease->deadline = due_time(*lease);
            leases_.add(lease);
        }
        events_.on_due_changed();
    }

    void on_lease_shortened(LeaseType& lease) {
        {
            const std::lock_guard lock{mutex_};
            if (!leases_.has(lease)) return;
            reschedule(lease);
        }
        events_.on_due_changed();
    }

    void forget(LeaseType& lease) {
        const std::lock_guard lock{mutex_};
        leases_.remove(lease);
    }

    /// Renews all leases that are due, or triggers their lost(). Returns when the next one is due.
    std::optional<TimePoint> run_due() {
        std::unique_lock lock{mutex_};
        while (!leases_.empty()) {
            const TimePoint now = engine_.now();
            const LeasePtr lease = leases_.due(now);
            if (!lease) return leases_.next_due();
            if (lease->remaining(now).count() <= 0) {
                leases_.remove(*lease);
                if (lease->hold() == Hold::released) continue;
                lock.unlock();
                lease->lose();
                events_.on_callback(true);
                lease->tell_lost();
                events_.on_callback(false);
                lock.lock();
                continue;
            }
            const bool is_to_begin = !lease->is_renewing && lease->renewal_ttl(now, engine_.options());
            if (is_to_begin) lease->is_renewing = true;
            reschedule(*lease);
            if (!is_to_begin) continue;
            ++renewals_;
            lock.unlock();
            auto* renewal = new RenewalTask{*this, lease};  // deletes itself
            renewal->task.start(*renewal);
            lock.lock();
        }
        return std::nullopt;
    }

    /// How many are under way.
    [[nodiscard]] std::size_t renewals() const {
        const std::lock_guard lock{mutex_};
        return renewals_;
    }

   private:
    /// An extension that no caller waits for. Its ttl is decided when its turn comes: the holder may have
    /// extended the lease meanwhile.
    struct RenewalTask final : TaskDone {
        Renewer& renewer;
        LeasePtr lease;
        Task<Result<void>> task;
        RenewalTask(Renewer& owner, LeasePtr what)
            : renewer{owner}, lease{std::move(what)}, task{owner.protocol_.extend(lease, std::nullopt)} {}
        void on_task_done() noexcept override {
            renewer.on_renewed(*lease);
            delete this;
        }
    };

    /// When a third of what a renewal gives is used up. Where less than that is left, after a third of the
    /// rest, again and again. At the end of the validity where a renewal gains nothing.
    [[nodiscard]] TimePoint due_time(const LeaseType& lease) const {
        constexpr std::chrono::nanoseconds soonest = std::chrono::milliseconds{1};
        const TimePoint now = engine_.now();
        if (lease.hold() != Hold::held) return now;
        const std::chrono::nanoseconds left = lease.remaining(now);
        if (!lease.renewal) return lease.valid_until();
        const std::chrono::nanoseconds full = validity_of(lease.renewal->ttl, {}, engine_.options());
        const TimePoint next = now + std::max(soonest, left - 2 * (std::min(left, full) / 3));
        const bool can_gain =
            !lease.is_renewing && left > soonest && lease.renewal_ttl(next, engine_.options());
        return can_gain ? next : lease.valid_until();
    }

    void on_renewed(LeaseType& lease) noexcept {
        {
            const std::lock_guard lock{mutex_};
            --renewals_;
            lease.is_renewing = false;
            reschedule(lease);
        }
        events_.on_due_changed();
    }

    void reschedule(LeaseType& lease) {
        lease.deadline = due_time(lease);
        leases_.update(lease);
    }

    EngineType& engine_;
    ProtocolType& protocol_;
    LeaseEvents<TimePoint>& events_;

    mutable std::mutex mutex_;
    Timers<LeaseType> leases_;
    std::size_t renewals_ = 0;  ///< that are under way
};

}  // namespace redlock::inline v0_1::detail
