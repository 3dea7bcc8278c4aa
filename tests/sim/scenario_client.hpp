// SPDX-License-Identifier: Apache-2.0
// A client in a scenario: the library's engine, protocol, waiting and renewal over the simulated network.
// Its calls and their results are written into the timeline.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "redlock/algorithm/lease_events.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/round_factory.hpp"
#include "redlock/engine/upcalls.hpp"
#include "redlock/renewal/renewer.hpp"
#include "redlock/waiting/contention.hpp"
#include "sim/history.hpp"
#include "sim/network.hpp"
#include "sim/timeline_writer.hpp"
#include "sim/transport.hpp"

namespace redlock::sim {

class ScenarioClient final : private detail::Upcalls<SimClock::time_point>,
                             private detail::LeaseEvents<SimClock::time_point> {
   public:
    /// All that a client does: a coroutine.
    using Steps = detail::Task<bool>;

    ScenarioClient(Network& network, TimelineWriter& timeline, std::uint32_t index, Instant zero)
        : timeline_{timeline},
          index_{index},
          zero_{zero},
          time_{&network.now(), {}, {}, {}, 0},
          engine_{std::make_unique<SimTransport>(network, index, time_), SimClock{time_},
                  network.plan().options},
          rounds_{engine_},
          protocol_{engine_, rounds_, *this},
          contention_{engine_, protocol_},
          renewer_{engine_, protocol_, *this} {
        engine_.set_upcalls(this);
    }
    ScenarioClient(const ScenarioClient&) = delete;
    ScenarioClient& operator=(const ScenarioClient&) = delete;

    // ---- for its steps; without a lease nothing happens ----------------------------------------------

    detail::Task<SimLeasePtr> lock(LockOptions how) {
        const bool is_one_attempt = how.wait.count() == 0;
        std::string asked = is_one_attempt ? "try_lock, ttl " : "lock, ttl ";
        asked += std::to_string(how.ttl.count()) + " ms";
        if (!is_one_attempt) asked += ", waits up to " + std::to_string(how.wait.count()) + " ms";
        timeline_.note(index_, asked + (how.renew ? ", renewed" : ""));
        auto result = co_await contention_.acquire(claim(), how, nullptr);
        if (!result) {
            timeline_.note(index_, "FAILS: " + votes_of(result.error()));
            co_return nullptr;
        }
        SimLeasePtr lease = *result;
        timeline_.note(index_, "HOLDS: " + timeline_.names().token(lease->token.str()) + ", fencing token " +
                                   timeline_.names().fence(lease->fences.front()) + ", valid for " +
                                   TimelineWriter::in_ms(lease->remaining(engine_.now())) + " ms, until " +
                                   end_of(*lease));
        if (how.renew) lease->renewal = {how.ttl, lease->acquired_at + how.renew_limit};
        watch(lease);
        co_return lease;
    }

    detail::Task<bool> extend(SimLeasePtr lease, milliseconds ttl) {
        if (!lease) co_return false;
        timeline_.note(index_, "extend to " + std::to_string(ttl.count()) + " ms");
        const auto result = co_await protocol_.extend(lease, ttl);
        for (Watched& watched : watched_) {
            if (watched.lease == lease) watched.known_until = lease->valid_until();
        }
        timeline_.note(index_, "extend: " + ending_of(result, "done") + ", valid until " + end_of(*lease));
        co_return result.has_value();
    }

    detail::Task<bool> unlock(SimLeasePtr lease) {
        if (!lease) co_return false;
        timeline_.note(index_, "unlock");
        renewer_.forget(*lease);
        const auto result = co_await contention_.release(lease, detail::Unconnected::takes_longer);
        timeline_.note(index_, "unlock: " + ending_of(result, "released"));
        co_return result.has_value();
    }

    /// Resumes that long after the timeline began.
    [[nodiscard]] auto until(milliseconds when) {
        return engine_.sleep_until(time_.at(zero_ + when), nullptr);
    }

    // ---- for the scenario --------------------------------------------------------------------------

    void connect() {
        for (std::size_t node = 0; node < engine_.size(); ++node) {
            static_cast<void>(engine_.transport().connect(node));
        }
    }

    void start(Steps steps) {
        Worker& worker = workers_.emplace_back(std::move(steps));
        worker.steps.start(worker);
    }

    void step() {
        if (is_crashed_) return;
        do {
            static_cast<void>(renewer_.run_due());
            engine_.take_turn();
            renewer_due_ = renewer_.run_due();
        } while (engine_.transport().take_wants_turn());
        for (Watched& watched : watched_) look_at(watched);
    }

    [[nodiscard]] Instant next_wake() {
        if (is_crashed_) return never;
        Instant next = engine_.transport().next_timer();
        if (const auto timer = engine_.next_timer()) next = std::min(next, time_.when(*timer));
        if (renewer_due_) next = std::min(next, time_.when(*renewer_due_));
        return next;
    }
    Instant wake_at = never;  ///< for which there is an event

    /// The process is gone.
    void crash() {
        is_crashed_ = true;
        engine_.transport().hang_up_all(Farewell::spoken);
    }

    /// Brings every coroutine to its end.
    void end() {
        is_crashed_ = false;
        engine_.transport().shut();
        constexpr int enough = 64;
        for (int i = 0; i < enough; ++i) {
            time_.skipped += std::chrono::hours{1};
            engine_.take_turn();
        }
    }

   private:
    struct Worker final : detail::TaskDone {
        Steps steps;
        explicit Worker(Steps what) : steps{std::move(what)} {}
        void on_task_done() noexcept override {}
    };
    struct Watched {
        SimLeasePtr lease;
        SimClock::time_point known_until;
        std::stop_callback<std::function<void()>> on_lost;

        Watched(const SimLeasePtr& what, std::function<void()> on_loss)
            : lease{what},
              known_until{what->valid_until()},
              on_lost{what->lost_token(), std::move(on_loss)} {}
    };

    void watch(const SimLeasePtr& lease) {
        watched_.emplace_back(lease, [this] { timeline_.note(index_, "LOST: lost() is triggered"); });
        renewer_.watch(lease);
    }

    void look_at(Watched& watched) {
        const auto until = watched.lease->valid_until();
        if (watched.lease->hold() != detail::Hold::held || until == watched.known_until) return;
        watched.known_until = until;
        timeline_.note(index_, "valid until " + end_of(*watched.lease));
    }

    [[nodiscard]] static std::string ending_of(const Result<void>& result, const char* success) {
        return result ? std::string{success} : std::string{to_string(result.error().code())};
    }

    [[nodiscard]] static std::string votes_of(const Failure& failure) {
        std::string text{to_string(failure.code())};
        for (std::size_t i = 0; i < failure.nodes().size(); ++i) {
            text.append(i == 0 ? " (n" : ", n").append(std::to_string(i + 1)).append(" ");
            text.append(to_string(failure.nodes()[i].vote));
        }
        return text + ")";
    }

    [[nodiscard]] std::string end_of(const SimLease& lease) const {
        return timeline_.time_of(time_.when(lease.valid_until()));
    }

    [[nodiscard]] detail::Ref<const detail::Claim> claim() const {
        const std::string resource = "orders/42";
        auto claim = detail::make_ref<detail::Claim>();
        claim->resources = {resource};
        claim->counters = {detail::fence_key(resource)};
        if (engine_.options().notify) claim->queues.push_back(detail::queue_key(resource));
        return claim;
    }

    // ---- upcalls -----------------------------------------------------------------------------------

    void on_notice(std::size_t node, std::string_view payload) override {
        contention_.on_notice(node, payload);
    }
    void on_turn() override { contention_.on_turn(); }
    void on_unfinished() noexcept override {}
    void on_reminder(SimClock::time_point /*when*/) noexcept override {}
    void on_lease_shortened(SimLease& lease) override { renewer_.on_lease_shortened(lease); }
    void on_due_changed() override {}
    void on_callback(bool /*is_running*/) override {}

    TimelineWriter& timeline_;
    std::uint32_t index_;
    Instant zero_;
    ClientTime time_;

    detail::Engine<SimTransport, SimClock> engine_;
    detail::RoundFactory<SimTransport, SimClock> rounds_;
    detail::Protocol<SimTransport, SimClock> protocol_;
    detail::Contention<SimTransport, SimClock> contention_;
    detail::Renewer<SimTransport, SimClock> renewer_;

    std::deque<Worker> workers_;
    std::deque<Watched> watched_;
    std::optional<SimClock::time_point> renewer_due_;
    bool is_crashed_ = false;
};

}  // namespace redlock::sim
