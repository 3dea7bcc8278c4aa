// SPDX-License-Identifier: Apache-2.0
// The text of a Failure. Included by result.hpp, behind the declarations.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "redlock/impl/inline.hpp"
#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1 {

// Out of line, so that a program that hides its symbols has no category beside the compiled library's.
REDLOCK_INLINE const std::error_category& error_category() noexcept {
    static const detail::ErrorCategory category;
    return category;
}

REDLOCK_INLINE void Failure::add_details(const std::vector<std::string>& words) {
    for (std::size_t i = 0; i < nodes_.size() && i < words.size(); ++i) {
        if (nodes_[i].detail.empty()) nodes_[i].detail = words[i];
    }
}

REDLOCK_INLINE std::string Failure::message() const {
    std::string text{to_string(code_)};
    if (!what_.empty()) text.append(": ").append(what_);
    if (attempts_ > 1) text.append(detail::joined({", after ", attempts_, " attempts"}));
    const char* separator = " [";
    for (const NodeReport& node : nodes_) {
        text.append(detail::joined({separator, node.endpoint, " ", to_string(node.vote)}));
        if (!node.detail.empty()) text.append(detail::joined({" (", node.detail, ")"}));
        separator = "; ";
    }
    if (!nodes_.empty()) text.append("]");
    return detail::printable(text);
}

REDLOCK_INLINE Error::Error(Failure failure)
    : std::system_error{failure.code()}, failure_{std::move(failure)}, text_{failure_.message()} {}

}  // namespace redlock::inline v0_1
