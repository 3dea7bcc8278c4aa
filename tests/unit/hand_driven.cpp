// SPDX-License-Identifier: Apache-2.0
#include "unit/hand_driven.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/voting/claim.hpp"

namespace redlock::test {

template <class T>
HandDriven::StartedPtr<T> HandDriven::start(detail::Task<T> task) {
    auto started = std::make_unique<Started<T>>(std::move(task));
    started->task.start(*started);
    return started;
}

HandDriven::HandDriven(World& world, const Options& options)
    : world_{world},
      engine_{std::make_unique<ScriptedTransport>(world), world.clock, options},
      rounds_{engine_},
      protocol_{engine_, rounds_, *this},
      contention_{engine_, protocol_},
      renewer_{engine_, protocol_, *this} {
    engine_.set_upcalls(this);
    warm_up();
}

HandDriven::~HandDriven() = default;

void HandDriven::pass(Nanoseconds time) {
    const auto end = world_.clock.now() + time;
    do {
        static_cast<void>(renewer_.run_due());
        engine_.take_turn();
        world_.clock.advance(1ms);
    } while (world_.clock.now() < end);
    static_cast<void>(renewer_.run_due());
    engine_.take_turn();
}

HandDriven::StartedPtr<Result<HandDriven::LeasePtr>> HandDriven::start_lock(const std::string& name,
                                                                            LockOptions how) {
    return start_lock_all({name}, std::move(how));
}

HandDriven::StartedPtr<Result<HandDriven::LeasePtr>> HandDriven::start_lock_all(
    const std::vector<std::string>& names, LockOptions how) {
    auto claim = detail::make_ref<detail::Claim>();
    claim->resources = names;
    for (const std::string& name : names) {
        if (engine_.options().fencing) claim->counters.push_back(detail::fence_key(name));
        if (engine_.options().notify) claim->queues.push_back(detail::queue_key(name));
    }
    return start(contention_.acquire(std::move(claim), std::move(how), nullptr));
}

HandDriven::LeasePtr HandDriven::lock(const std::string& name, LockOptions how) {
    const auto started = start_lock(name, std::move(how));
    pass(10ms);
    return started->is_done ? started->task.take().value() : nullptr;
}

HandDriven::StartedPtr<Result<void>> HandDriven::start_extend(const LeasePtr& lease,
                                                              std::chrono::milliseconds ttl) {
    return start(protocol_.extend(lease, ttl));
}

HandDriven::StartedPtr<Result<void>> HandDriven::start_unlock(const LeasePtr& lease) {
    return start(contention_.release(lease, detail::Unconnected::takes_longer));
}

HandDriven::StartedPtr<bool> HandDriven::start_detach(const LeasePtr& lease) {
    return start(contention_.detach(lease));
}

void HandDriven::keep(const LeasePtr& lease) { renewer_.watch(lease); }

void HandDriven::notify(std::size_t node, std::string_view payload) { on_notice(node, payload); }

bool HandDriven::is_settled() const { return engine_.is_settled(); }

void HandDriven::warm_up() {
    if (const LeasePtr lease = lock("warm-up", {})) {
        const auto unlock = start_unlock(lease);
        pass(10ms);
    }
    world_.forget_handed();
}

void HandDriven::on_notice(std::size_t node, std::string_view payload) {
    contention_.on_notice(node, payload);
}

void HandDriven::on_turn() { contention_.on_turn(); }

void HandDriven::on_lease_shortened(detail::Lease<TimePoint>& lease) { renewer_.on_lease_shortened(lease); }

}  // namespace redlock::test
