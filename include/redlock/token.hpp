// SPDX-License-Identifier: Apache-2.0
// The random value that proves ownership of one acquisition, and the range of the number that orders them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "redlock/version.hpp"

namespace redlock::inline v0_1 {

/// The largest fencing token there can be: numbers up to it are exact in Lua and JavaScript too.
inline constexpr std::uint64_t fencing_token_max = (std::uint64_t{1} << 53U) - 1;

/// 20 random bytes as 40 hex digits, anew for every attempt. A type of its own, so that a token cannot be
/// passed where a resource is meant.
class Token {
   public:
    static constexpr std::size_t byte_count = 20;

    Token() = default;

    explicit Token(std::span<const unsigned char, byte_count> bytes) {
        for (const unsigned char byte : bytes) {
            text_.push_back("0123456789abcdef"[byte >> 4U]);
            text_.push_back("0123456789abcdef"[byte & 0xFU]);
        }
    }

    /// A token as str() gave it, here or elsewhere. Throws std::invalid_argument for anything but
    /// printable ASCII without blanks, 1 to 128 characters (other Redlock clients have other forms).
    [[nodiscard]] static Token parse(std::string_view text) {
        bool good = !text.empty() && text.size() <= 128;
        for (const char letter : text) good = good && letter > ' ' && letter <= '~';
        if (!good) {
            throw std::invalid_argument{"redlock: a token has 1 to 128 printable characters without blanks"};
        }
        Token token;
        token.text_ = text;
        return token;
    }

    [[nodiscard]] const std::string& str() const noexcept { return text_; }
    [[nodiscard]] explicit operator std::string_view() const noexcept { return text_; }
    friend bool operator==(const Token&, const Token&) = default;
    friend bool operator==(const Token& token, std::string_view text) noexcept { return token.text_ == text; }

   private:
    std::string text_;
};

}  // namespace redlock::inline v0_1
