// SPDX-License-Identifier: Apache-2.0
// Handing a lock on to another thread or process.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/token.hpp"

namespace redlock::inline v0_1 {

/// Lock::detach() returns it and Redlock::adopt() takes it. Anyone who knows it can hold, extend and unlock:
/// send it as you would send a password, and adopt it once. Two clients that adopt it both hold the lock,
/// with the same fencing tokens. Where that could happen, hand over the token alone: each client then gets
/// fencing tokens of its own. Copyable; holds nothing itself.
struct Handoff {
    std::vector<std::string> resources;
    Token token;
    /// One per resource. Empty without fencing, and where the adopting client must take new ones.
    std::vector<std::uint64_t> fencing_tokens;
    /// The validity that was left at detach(). Only the nodes know what is left now.
    std::chrono::milliseconds remaining{0};

    /// Whether it hands a lock on: the Lock that it came from was held.
    [[nodiscard]] explicit operator bool() const noexcept { return !resources.empty(); }

    /// Its token, for adopt() by the name of the resource.
    // NOLINTNEXTLINE(google-explicit-constructor): what is handed on is the token
    [[nodiscard]] operator const Token&() const noexcept { return token; }

    /// As text, which is printable where the resources are printable. parse() accepts exactly the texts of
    /// non-empty results of Lock::detach(), and str() of the parsed Handoff is the same text again.
    [[nodiscard]] std::string str() const;

    /// Throws std::invalid_argument when str() did not write the text.
    [[nodiscard]] static Handoff parse(std::string_view text);
};

}  // namespace redlock::inline v0_1

#ifndef REDLOCK_COMPILED
#include "redlock/impl/handoff.hpp"
#endif
