// SPDX-License-Identifier: Apache-2.0
// Validates Options. Included by options.hpp, behind the declarations.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

#include "redlock/impl/inline.hpp"
#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1 {

namespace detail {

[[noreturn]] inline void bad_option(std::string_view field, std::string_view value,
                                    std::string_view allowed) {
    throw std::invalid_argument{
        printable(joined({"redlock: ", field, " is ", value, ", but must be ", allowed}))};
}

[[nodiscard]] inline bool is_word(std::string_view text) noexcept {
    for (const char letter : text) {
        if (letter <= ' ' || letter > '~') return false;
    }
    return true;
}

inline void check_suffix(std::string_view field, std::string_view value) {
    const bool has_brace = value.find_first_of("{}") != std::string_view::npos;
    if (is_word(value) && !has_brace && !value.empty() && value.size() <= 64) return;
    bad_option(field, in_quotes(value), "1 to 64 characters of printable ASCII without blanks and braces");
}

/// `name_of_min`: of the other field that the lower bound is.
inline void check_range(std::string_view field, std::chrono::milliseconds value,
                        std::chrono::milliseconds min, std::chrono::milliseconds max,
                        std::string_view name_of_min = {}) {
    if (value >= min && value <= max) return;
    bad_option(field, joined({value.count(), " ms"}),
               joined({"from ", name_of_min, min.count(), " ms to ", max.count(), " ms"}));
}

}  // namespace detail

REDLOCK_INLINE void RetryPolicy::validate() const {
    using namespace std::chrono_literals;
    detail::check_range("RetryPolicy::base", base, 1ms, 1h);
    detail::check_range("RetryPolicy::cap", cap, base, 1h, "RetryPolicy::base, ");
    if (!(multiplier >= 1.0 && multiplier <= 100.0)) {
        detail::bad_option("RetryPolicy::multiplier", std::to_string(multiplier), "from 1 to 100");
    }
}

REDLOCK_INLINE const Options& Options::defaults() {
    static const Options options;
    return options;
}

REDLOCK_INLINE void Options::validate() const {
    using namespace std::chrono_literals;
    detail::check_range("Options::node_timeout", node_timeout, 1ms, 1min);
    if (!(drift_factor >= 0.0 && drift_factor <= 0.5)) {
        detail::bad_option("Options::drift_factor", std::to_string(drift_factor), "from 0 to 0.5");
    }
    detail::check_range("Options::drift_floor", drift_floor, 0ms, 1min);
    detail::check_range("Options::fence_ttl", fence_ttl, 1s, 87'600h);
    detail::check_range("Options::restart_quarantine", restart_quarantine, 0ms, 8'760h);
    detail::check_range("Options::connect_timeout", connect_timeout, 1ms, 1h);
    detail::check_range("Options::reconnect_min", reconnect_min, 1ms, 1h);
    detail::check_range("Options::reconnect_max", reconnect_max, reconnect_min, 1h,
                        "Options::reconnect_min, ");
    if (backlog < 16 || backlog > 1'000'000) {
        detail::bad_option("Options::backlog", detail::joined({backlog}), "from 16 to 1000000");
    }
    if (!detail::is_word(client_name)) {
        detail::bad_option("Options::client_name", detail::in_quotes(client_name),
                           "printable ASCII without blanks");
    }
    detail::check_suffix("Options::fence_suffix", fence_suffix);
    detail::check_suffix("Options::queue_suffix", queue_suffix);
    if (fence_suffix == queue_suffix) {
        detail::bad_option("Options::queue_suffix", detail::in_quotes(queue_suffix),
                           "another than Options::fence_suffix");
    }
    retry.validate();
}

}  // namespace redlock::inline v0_1
