// SPDX-License-Identifier: Apache-2.0
// Checks the arguments of a call before anything is sent.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/text/printable.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/claim.hpp"

namespace redlock::inline v0_1::detail {

[[nodiscard]] inline Failure invalid(std::string what) {
    return Failure{errc::invalid_argument, std::move(what)};
}

[[nodiscard]] inline Failure too_large(const char* what, std::size_t value, const char* unit,
                                       std::size_t limit) {
    return invalid(joined({what, value, unit, ", but may have ", limit}));
}

/// First the number of names, then each name: a script with too many would block its node for all clients.
[[nodiscard]] inline std::optional<Failure> check_names(const std::vector<std::string>& names) {
    constexpr std::size_t longest_name = std::size_t{64} << 10U;
    constexpr std::size_t most_names = 1024;
    constexpr std::size_t most_bytes = std::size_t{1} << 20U;
    if (names.empty()) return invalid("the list of resources is empty");
    if (names.size() > most_names) {
        return too_large("the list of resources has ", names.size(), " names", most_names);
    }
    std::size_t bytes = 0;
    for (const std::string& name : names) {
        if (name.empty()) return invalid("a resource has an empty name");
        if (name.size() > longest_name) {
            return too_large("a resource's name has ", name.size(), " bytes", longest_name);
        }
        bytes += name.size();
    }
    if (bytes > most_bytes) {
        return too_large("the names of the resources have ", bytes, " bytes in all", most_bytes);
    }
    if (names.size() == 1) return std::nullopt;
    std::vector<std::string_view> sorted{names.begin(), names.end()};
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 1; i < sorted.size(); ++i) {
        if (sorted[i] == sorted[i - 1]) return invalid(joined({in_quotes(sorted[i]), " is there twice"}));
    }
    return std::nullopt;
}

[[nodiscard]] inline std::optional<Failure> check_wait(const char* name, std::chrono::milliseconds wait) {
    using namespace std::chrono_literals;
    if (wait >= 0ms && (wait <= 87'600h || wait == forever)) return std::nullopt;
    return invalid(
        joined({name, " is ", wait.count(), " ms, but must be 0, up to ten years, or redlock::forever"}));
}

/// Checks all options but the ttl.
[[nodiscard]] inline std::optional<Failure> check_lock_options(const LockOptions& how) {
    using namespace std::chrono_literals;
    if (auto bad = check_wait("wait", how.wait)) return bad;
    if (auto bad = check_wait("wait_unreachable", how.wait_unreachable)) return bad;
    if (how.renew_limit >= (how.renew ? how.ttl : 0ms)) return std::nullopt;
    return invalid(joined({"renew_limit is ", how.renew_limit.count(),
                           " ms, but must be at least the ttl of ", how.ttl.count(), " ms"}));
}

/// Checks the tokens of a lock that is to be adopted.
[[nodiscard]] inline std::optional<Failure> check_token(const Token& token,
                                                        const std::vector<std::uint64_t>& fencing_tokens) {
    if (token.str().empty()) return invalid("the token is empty");
    for (const std::uint64_t fence : fencing_tokens) {
        if (fence > 0 && fence <= fencing_token_max) continue;
        return invalid(joined({"the fencing token is ", fence, ", not from 1 to 2^53 - 1"}));
    }
    return std::nullopt;
}

[[nodiscard]] inline Ref<const Claim> claim_of(const std::vector<std::string>& names,
                                               const Options& options) {
    auto claim = make_ref<Claim>();
    claim->resources = names;
    for (const std::string& name : names) {
        if (options.fencing) claim->counters.push_back(fence_key(name, options.fence_suffix));
        if (options.notify) claim->queues.push_back(queue_key(name, options.queue_suffix));
    }
    return claim;
}

}  // namespace redlock::inline v0_1::detail
