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

    // A call that is running; must not outlive the client.
    template <class T>
    struct Started final : detail::TaskDone {
        explicit Started(detail::Task<T> what) : task{std::move(what)} {}
        void on_task_done() noexcept override { is_done = true; }
        detail::Task<T> task;
        bool is_done = false;
    };
    template <class T>
    using StartedPtr = std::unique_ptr<Started<T>>;

    explicit HandDriven(World& world, const Options& options = plain_options());
    HandDriven(const HandDriven&) = delete;
    HandDriven& operator=(const HandDriven&) = delete;
    ~HandDriven();

    // In steps of a millisecond: an event that is due within a step happens at its end.
    void pass(Nanoseconds time);

    [[nodiscard]] StartedPtr<Result<LeasePtr>> start_lock(const std::string& name, LockOptions how);
    [[nodiscard]] StartedPtr<Result<LeasePtr>> start_lock_all(const std::vector<std::string>& names,
                                                              LockOptions how);
    [[nodiscard]] LeasePtr lock(const std::string& name, LockOptions how);
    [[nodiscard]] StartedPtr<Result<void>> start_extend(const LeasePtr& lease, std::chrono::milliseconds ttl);
    [[nodiscard]] StartedPtr<Result<void>> start_unlock(const LeasePtr& lease);
    [[nodiscard]] StartedPtr<bool> start_detach(const LeasePtr& lease);
    void keep(const LeasePtr& lease);
    void notify(std::size_t node, std::string_view payload);
    // Whether nothing is pending for any node.
    [[nodiscard]] bool is_settled() const;

   private:
    // Connects, and loads the release script into the nodes.
    void warm_up();

    template <class T>
    [[nodiscard]] static StartedPtr<T> start(detail::Task<T> task);

    void on_notice(std::size_t node, std::string_view payload) override;
    void on_turn() override;
    void on_unfinished() noexcept override {}
    void on_reminder(TimePoint /*when*/) noexcept override {}
    void on_lease_shortened(detail::Lease<TimePoint>& lease) override;
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
