// SPDX-License-Identifier: Apache-2.0
// The definitions of BasicLock. Included by lock.hpp, behind the declarations.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/algorithm/lease.hpp"
#include "redlock/hiredis/transport.hpp"
#include "redlock/impl/client.hpp"

namespace redlock::inline v0_1 {

template <class Transport, class Clock>
BasicLock<Transport, Clock>::BasicLock() noexcept = default;

template <class Transport, class Clock>
BasicLock<Transport, Clock>::BasicLock(BasicLock&&) noexcept = default;

template <class Transport, class Clock>
BasicLock<Transport, Clock>::BasicLock(ClientPtr client, LeasePtr lease) noexcept
    : client_{std::move(client)}, lease_{std::move(lease)} {}

template <class Transport, class Clock>
BasicLock<Transport, Clock>& BasicLock<Transport, Clock>::operator=(BasicLock&& other) noexcept {
    BasicLock taken{std::move(other)};  // first, so that nothing is unlocked when it is this one
    client_.swap(taken.client_);
    lease_.swap(taken.lease_);
    return *this;
}

template <class Transport, class Clock>
BasicLock<Transport, Clock>::~BasicLock() {
    if (lease_) detail::Client<Transport, Clock>::drop(std::move(client_), lease_);
}

template <class Transport, class Clock>
std::string_view BasicLock<Transport, Clock>::resource() const noexcept {
    return lease_ ? std::string_view{lease_->claim->resources.front()} : std::string_view{};
}

template <class Transport, class Clock>
std::span<const std::string> BasicLock<Transport, Clock>::resources() const noexcept {
    return lease_ ? std::span<const std::string>{lease_->claim->resources} : std::span<const std::string>{};
}

template <class Transport, class Clock>
const Token& BasicLock<Transport, Clock>::token() const noexcept {
    static const Token none;
    return lease_ ? lease_->token : none;
}

template <class Transport, class Clock>
std::uint64_t BasicLock<Transport, Clock>::fencing_token() const noexcept {
    return lease_ && !lease_->fences.empty() ? static_cast<std::uint64_t>(lease_->fences.front()) : 0;
}

template <class Transport, class Clock>
std::uint64_t BasicLock<Transport, Clock>::fencing_token(std::string_view resource) const noexcept {
    const auto names = resources();
    for (std::size_t i = 0; lease_ && i < lease_->fences.size(); ++i) {
        if (names[i] == resource) return static_cast<std::uint64_t>(lease_->fences[i]);
    }
    return 0;
}

template <class Transport, class Clock>
std::chrono::nanoseconds BasicLock<Transport, Clock>::remaining() const noexcept {
    if (!lease_ || client_->is_forked()) return std::chrono::nanoseconds{0};
    return std::max(std::chrono::nanoseconds{0}, lease_->remaining(client_->now()));
}

template <class Transport, class Clock>
typename Clock::time_point BasicLock<Transport, Clock>::expires_at() const noexcept {
    return lease_ && !client_->is_forked() ? lease_->valid_until() : time_point{};
}

template <class Transport, class Clock>
std::stop_token BasicLock<Transport, Clock>::lost() const {
    if (!lease_ || client_->is_forked()) return {};
    std::stop_token token = lease_->lost_token();
    // Also where it was lost between the two: then the renewer triggers lost().
    if (!token.stop_requested() && lease_->hold() != detail::Hold::released) client_->keep(lease_);
    return token;
}

template <class Transport, class Clock>
Result<void> BasicLock<Transport, Clock>::extend(std::chrono::milliseconds ttl) {
    if (!lease_) return Failure{errc::lost, "this Lock owns nothing"};
    return client_->extend(lease_, ttl);
}

template <class Transport, class Clock>
Result<void> BasicLock<Transport, Clock>::unlock() noexcept try {
    if (!lease_) return Failure{errc::lost, "this Lock owns nothing"};
    return client_->release(lease_);
} catch (const std::bad_alloc&) {
    return detail::out_of_memory();
}

template <class Transport, class Clock>
Handoff BasicLock<Transport, Clock>::detach() {
    Handoff handoff;
    if (!lease_) return handoff;
    if (!client_->detach(lease_)) return handoff;
    // From here on no other thread extends or shortens it.
    const std::chrono::nanoseconds left = -(client_->now() - lease_->valid_until());
    handoff.resources = lease_->claim->resources;
    handoff.token = lease_->token;
    if (!lease_->was_shortened()) {
        handoff.fencing_tokens.assign(lease_->fences.begin(), lease_->fences.end());
    }
    handoff.remaining =
        std::max(std::chrono::milliseconds{0}, std::chrono::duration_cast<std::chrono::milliseconds>(left));
    return handoff;
}

template <class Transport, class Clock>
std::vector<NodeReport> BasicLock<Transport, Clock>::nodes() const {
    return lease_ ? client_->reports(lease_) : std::vector<NodeReport>{};
}

}  // namespace redlock::inline v0_1
