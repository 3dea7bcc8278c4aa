// SPDX-License-Identifier: Apache-2.0
// The definitions of BasicRedlock. Included by redlock.hpp, behind the declarations.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/impl/arguments.hpp"
#include "redlock/impl/client.hpp"
#include "redlock/impl/lock.hpp"

namespace redlock::inline v0_1::detail {

[[nodiscard]] inline const Options& validated(const Options& options) {
    options.validate();
    return options;
}

template <class Transport, class Clock>
using ClientPtr = std::shared_ptr<Client<Transport, Clock>>;

/// Whether the call can never work.
template <class Transport, class Clock>
[[nodiscard]] std::optional<Failure> check_call(const ClientPtr<Transport, Clock>& client,
                                                const std::vector<std::string>& names,
                                                const LockOptions& how) {
    if (!client) return invalid("this Redlock was moved from");
    if (client->is_forked()) return Client<Transport, Clock>::after_fork();
    if (auto bad = check_names(names)) return bad;
    if (auto bad = check_lock_options(how)) return bad;
    return client->check_ttl(how.ttl);
}

template <class Transport, class Clock>
[[nodiscard]] Result<BasicLock<Transport, Clock>> lock_of(
    ClientPtr<Transport, Clock> client, Result<typename Client<Transport, Clock>::LeasePtr>&& lease) {
    if (!lease) return std::move(lease).error();
    return BasicLock<Transport, Clock>{std::move(client), *std::move(lease)};
}

/// By value: the client lives for the length of the call, though its Redlock may be destroyed meanwhile.
template <class Transport, class Clock>
[[nodiscard]] Result<BasicLock<Transport, Clock>> adopt_from(
    ClientPtr<Transport, Clock> client, const std::vector<std::string>& names, const Token& token,
    const LockOptions& how, const std::vector<std::uint64_t>& fencing_tokens) {
    if (auto bad = check_call(client, names, how)) return *std::move(bad);
    if (auto bad = check_token(token, fencing_tokens)) return *std::move(bad);
    std::vector<std::int64_t> fences;
    if (client->options().fencing) fences.assign(fencing_tokens.begin(), fencing_tokens.end());
    if (!fences.empty() && fences.size() != names.size()) {
        return invalid("there is not one fencing token per resource");
    }
    auto lease = client->adopt(claim_of(names, client->options()), token, std::move(fences), how);
    return lock_of(std::move(client), std::move(lease));
}

}  // namespace redlock::inline v0_1::detail

namespace redlock::inline v0_1 {

template <class Transport, class Clock>
BasicRedlock<Transport, Clock>::BasicRedlock(const Endpoints& nodes, const Options& options)
    : BasicRedlock{std::make_unique<Transport>(nodes.list(), detail::validated(options)), options} {}

template <class Transport, class Clock>
BasicRedlock<Transport, Clock>::BasicRedlock(std::unique_ptr<Transport> transport, const Options& options,
                                             Clock clock)
    : client_{detail::Client<Transport, Clock>::make(std::move(transport), std::move(clock),
                                                     detail::validated(options))} {}

template <class Transport, class Clock>
BasicRedlock<Transport, Clock>& BasicRedlock<Transport, Clock>::operator=(BasicRedlock&& other) noexcept {
    BasicRedlock taken{std::move(other)};
    client_.swap(taken.client_);
    return *this;
}

template <class Transport, class Clock>
BasicRedlock<Transport, Clock>::~BasicRedlock() {
    if (client_) client_->close();
}

template <class Transport, class Clock>
auto BasicRedlock<Transport, Clock>::try_lock(const Resources& resources, std::chrono::milliseconds ttl)
    -> Result<lock_type> {
    if (auto bad = detail::check_call(client_, resources.names(), {.ttl = ttl})) return *std::move(bad);
    auto client = client_;  // for the length of the call, though this may be destroyed meanwhile
    auto lease = client->try_acquire(detail::claim_of(resources.names(), client->options()), ttl);
    return detail::lock_of(std::move(client), std::move(lease));
}

template <class Transport, class Clock>
auto BasicRedlock<Transport, Clock>::lock(const Resources& resources, const LockOptions& how)
    -> Result<lock_type> {
    if (auto bad = detail::check_call(client_, resources.names(), how)) return *std::move(bad);
    auto client = client_;  // as above
    auto lease = client->acquire(detail::claim_of(resources.names(), client->options()), how);
    return detail::lock_of(std::move(client), std::move(lease));
}

template <class Transport, class Clock>
auto BasicRedlock<Transport, Clock>::adopt(const Handoff& handoff, std::chrono::milliseconds ttl)
    -> Result<lock_type> {
    return adopt(handoff, {.ttl = ttl});
}

template <class Transport, class Clock>
auto BasicRedlock<Transport, Clock>::adopt(const Handoff& handoff, const LockOptions& how)
    -> Result<lock_type> {
    return detail::adopt_from(client_, handoff.resources, handoff.token, how, handoff.fencing_tokens);
}

template <class Transport, class Clock>
auto BasicRedlock<Transport, Clock>::adopt(const Resources& resources, const Token& token,
                                           std::chrono::milliseconds ttl) -> Result<lock_type> {
    return adopt(resources, token, {.ttl = ttl});
}

template <class Transport, class Clock>
auto BasicRedlock<Transport, Clock>::adopt(const Resources& resources, const Token& token,
                                           const LockOptions& how) -> Result<lock_type> {
    return detail::adopt_from(client_, resources.names(), token, how, {});
}

template <class Transport, class Clock>
Result<Inspection> BasicRedlock<Transport, Clock>::inspect(std::string_view resource) {
    std::vector<std::string> names{std::string{resource}};
    if (auto bad = detail::check_call(client_, names, {})) return *std::move(bad);
    const auto client = client_;
    return client->inspect(std::move(names.front()));
}

}  // namespace redlock::inline v0_1
