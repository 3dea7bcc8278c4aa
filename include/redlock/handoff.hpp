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

/// What Lock::detach() gives and Redlock::adopt() takes. Whoever has it can hold, extend and unlock: send
/// it as you would a password, and adopt it once. Two who adopt it both hold the lock, and with the same
/// fencing tokens; where that could be, hand over the token alone, and each gets fencing tokens of its own.
/// Copyable; holds nothing itself.
struct Handoff {
    std::vector<std::string> resources;
    Token token;
    /// One per resource. Empty without fencing, and where who adopts it is to take new ones.
    std::vector<std::uint64_t> fencing_tokens;
    /// What was left of the validity when it was detached. What is left now, only the nodes know.
    std::chrono::milliseconds remaining{0};

    /// Whether it hands anything on: the Lock that it came from was held.
    [[nodiscard]] explicit operator bool() const noexcept { return !resources.empty(); }

    /// Its token, for adopt() by the name of the resource.
    // NOLINTNEXTLINE(google-explicit-constructor): what is handed on is the token
    [[nodiscard]] operator const Token&() const noexcept { return token; }

    /// As printable text where the resources are printable. parse() reads what this writes of whatever
    /// Lock::detach() gives but nothing, and nothing else: the text of what it reads is the one it read.
    [[nodiscard]] std::string str() const;

    /// Throws std::invalid_argument when the text is not what str() gave.
    [[nodiscard]] static Handoff parse(std::string_view text);
};

}  // namespace redlock::inline v0_1

#ifndef REDLOCK_COMPILED
#include "redlock/impl/handoff.hpp"
#endif
