// SPDX-License-Identifier: Apache-2.0
// What is claimed: the resources, and the keys that the library keeps beside them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

/// A key beside a resource, on the resource's hash slot (which its first '{…}' decides, where it has one),
/// but for a name with a '}' and no such tag, as `a}b` and `{}x`: a tag ends at its first '}', so that none
/// can stand for the whole name, and a server in cluster mode refuses it with CROSSSLOT. No two names share a
/// key.
[[nodiscard]] inline std::string companion_key(std::string_view resource, std::string_view suffix) {
    const std::size_t open = resource.find('{');
    const std::size_t close = open == std::string_view::npos ? open : resource.find('}', open);
    const bool is_tagged = close != std::string_view::npos && close > open + 1;
    std::string key;
    key.reserve(resource.size() + suffix.size() + 3);
    if (!is_tagged) key.push_back('{');
    key.append(resource).append(is_tagged ? "::" : "}:").append(suffix);  // "x" and "{x}" are two resources
    return key;
}

/// The key of a resource's fencing counter.
[[nodiscard]] inline std::string fence_key(std::string_view resource,
                                           std::string_view suffix = "redlock-fence") {
    return companion_key(resource, suffix);
}

/// The key of the queue of the waiters for a resource.
[[nodiscard]] inline std::string queue_key(std::string_view resource,
                                           std::string_view suffix = "redlock-queue") {
    return companion_key(resource, suffix);
}

/// What a claim is about: the resources, and the fencing counters beside them when fencing is on.
struct Claim final : Counted {
    Claim() = default;
    // NOLINTNEXTLINE(google-explicit-constructor): {{"a", "b"}} is a claim
    Claim(std::vector<std::string> names, std::vector<std::string> fence_keys = {},
          std::vector<std::string> queue_keys = {})
        : resources{std::move(names)}, counters{std::move(fence_keys)}, queues{std::move(queue_keys)} {}

    std::vector<std::string> resources{};
    std::vector<std::string> counters{};  ///< empty without fencing
    std::vector<std::string> queues{};    ///< empty where a release notifies nobody
    [[nodiscard]] bool is_fenced() const noexcept { return !counters.empty(); }
};

}  // namespace redlock::inline v0_1::detail
