// SPDX-License-Identifier: Apache-2.0
// One client's engine, protocol, contention and renewer, without a thread: the test lets time pass.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/round_factory.hpp"
#include "redlock/renewal/renewer.hpp"
#include "redlock/waiting/contention.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {

class HandDriven final : private detail::Upcalls<ManualClock::time_point>,
                         private detail::LeaseEvents<ManualClock::time_point> {
   public:
    using Engine = detail::Engine<ScriptedTransport, ManualClock>;
    using Protocol = detail::Protocol<ScriptedTransport, ManualClock>;
    using LeasePtr = Protocol::LeasePtr;
    using TimePoint = ManualClock::time_point;

    // A call under way; must not outlive the client.
    template <class T>
    struct Started final : detail::TaskDone {
        explicit Started(detail::Task<T> what) : task{std::move(what)} {}
        void on_task_done() noexcept override { is_done = true; }
        detail::Task<T> task;
        bool is_done = false;
    };
    template <class T>
    using StartedPtr = std::unique_ptr<Started<T>>;

    explicit HandDriven(World& world, const Options& options = plain_options())
        : world_{world},
          engine_{std::make_unique<ScriptedTransport>(world), world.clock, options},
          rounds_{engine_},
          protocol_{engine_, rounds_, *this},
          contention_{engine_, protocol_},
          renewer_{engine_, protocol_, *this} {
        engine_.set_upcalls(this);
        warm_up();
    }

    // To the millisecond: what is due in between happens at the end of it.
    void pass(Nanoseconds time) {
        const auto end = world_.clock.now() + time;
        do {
            static_cast<void>(renewer_.run_due());
            engine_.take_turn();
            world_.clock.advance(1ms);
        } while (world_.clock.now() < end);
        static_cast<void>(renewer_.run_due());
        engine_.take_turn();
    }

    [[nodiscard]] StartedPtr<Result<LeasePtr>> start_lock(const std::string& name, LockOptions how) {
        return start_lock_all({name}, std::move(how));
    }
    [[nodiscard]] StartedPtr<Result<LeasePtr>> start_lock_all(const std::vector<std::string>& names,
                                                              LockOptions how) {
        auto claim = std::make_shared<detail::Claim>();
        claim->resources = names;
        for (const std::string& name : names) {
            if (engine_.options().fencing) claim->counters.push_back(detail::fence_key(name));
            if (engine_.options().notify) claim->queues.push_back(detail::queue_key(name));
        }
        return start(contention_.acquire(std::move(claim), std::move(how), nullptr));
    }
    [[nodiscard]] LeasePtr lock(const std::string& name, LockOptions how) {
        const auto started = start_lock(name, std::move(how));
        pass(10ms);
        return started->is_done ? started->task.take().value() : nullptr;
    }
    [[nodiscard]] auto start_extend(const LeasePtr& lease, std::chrono::milliseconds ttl) {
        return start(protocol_.extend(lease, ttl));
    }
    [[nodiscard]] auto start_unlock(const LeasePtr& lease) {
        return start(contention_.release(lease, detail::Unconnected::takes_longer));
    }
    [[nodiscard]] auto start_detach(const LeasePtr& lease) { return start(contention_.detach(lease)); }
    void keep(const LeasePtr& lease) { renewer_.watch(lease); }
    void notify(std::size_t node, std::string_view payload) { on_notice(node, payload); }
    // Nothing is left to be done for a node.
    [[nodiscard]] bool is_settled() const { return engine_.is_settled(); }

   private:
    // Connects, and makes the nodes know the release.
    void warm_up() {
        if (const LeasePtr lease = lock("warm-up", {})) {
            const auto unlock = start_unlock(lease);
            pass(10ms);
        }
        world_.forget_handed();
    }

    template <class T>
    [[nodiscard]] StartedPtr<T> start(detail::Task<T> task) {
        auto started = std::make_unique<Started<T>>(std::move(task));
        started->task.start(*started);
        return started;
    }

    void on_notice(std::size_t node, std::string_view payload) override {
        contention_.on_notice(node, payload);
    }
    void on_turn() override { contention_.on_turn(); }
    void on_unfinished() noexcept override {}
    void on_reminder(TimePoint /*when*/) noexcept override {}
    void on_lease_shortened(detail::Lease<TimePoint>& lease) override { renewer_.on_lease_shortened(lease); }
    void on_due_changed() override {}
    void on_callback(bool /*is_running*/) override {}

    World& world_;
    Engine engine_;
    detail::RoundFactory<ScriptedTransport, ManualClock> rounds_;
    Protocol protocol_;
    detail::Contention<ScriptedTransport, ManualClock> contention_;
    detail::Renewer<ScriptedTransport, ManualClock> renewer_;
};

}  // namespace redlock::test
