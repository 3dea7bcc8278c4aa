// SPDX-License-Identifier: Apache-2.0
// A Handoff as text. Included by handoff.hpp, behind the declarations.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/impl/inline.hpp"
#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1 {

namespace detail {

[[noreturn]] inline void not_a_handoff(const std::string& why = "this is not the text of a Handoff") {
    throw std::invalid_argument{"redlock: " + why};
}

[[nodiscard]] inline std::string_view take_word(std::string_view& text, char end) {
    const std::size_t size = text.find(end);
    if (size == std::string_view::npos) not_a_handoff();
    const std::string_view found = text.substr(0, size);
    text.remove_prefix(size + 1);
    return found;
}

[[nodiscard]] inline std::uint64_t handoff_number(std::string_view digits) {
    std::uint64_t value = 0;
    const bool is_whole = read_number(digits, value);
    const bool has_leading_zero = digits.size() > 1 && digits.front() == '0';
    if (!is_whole || has_leading_zero || value > (std::uint64_t{1} << 62U)) not_a_handoff();
    return value;
}

}  // namespace detail

REDLOCK_INLINE std::string Handoff::str() const {
    std::string text = detail::joined({"redlock1 ", token.str(), " ", remaining.count()});
    for (std::size_t i = 0; i < resources.size(); ++i) {
        const std::uint64_t fence = i < fencing_tokens.size() ? fencing_tokens[i] : 0;
        text.append(detail::joined({" ", fence, " ", resources[i].size(), ":", resources[i]}));
    }
    return text;
}

REDLOCK_INLINE Handoff Handoff::parse(std::string_view text) {
    Handoff handoff;
    if (detail::take_word(text, ' ') != "redlock1") detail::not_a_handoff();
    if (text.starts_with(' '))
        detail::not_a_handoff("this is the text of an empty Handoff: nothing was held any more");
    handoff.token = Token::parse(detail::take_word(text, ' '));
    const bool has_resources = text.find(' ') != std::string_view::npos;
    handoff.remaining =
        std::chrono::milliseconds{detail::handoff_number(has_resources ? detail::take_word(text, ' ') : "")};
    std::vector<std::uint64_t> fences;
    for (;;) {
        fences.push_back(detail::handoff_number(detail::take_word(text, ' ')));
        if (fences.back() > fencing_token_max) detail::not_a_handoff();
        if ((fences.back() == 0) != (fences.front() == 0)) detail::not_a_handoff();
        const std::uint64_t size = detail::handoff_number(detail::take_word(text, ':'));
        if (size == 0 || size > text.size()) detail::not_a_handoff();
        handoff.resources.emplace_back(text.substr(0, size));
        text.remove_prefix(size);
        if (text.empty()) break;
        if (text.front() != ' ') detail::not_a_handoff();
        text.remove_prefix(1);
    }
    if (fences.front() != 0) handoff.fencing_tokens = std::move(fences);
    return handoff;
}

}  // namespace redlock::inline v0_1
