// SPDX-License-Identifier: Apache-2.0
// The error text of a server, without what we sent to it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1::detail {

/// Finds a secret in a text in every form in which servers repeat an argument: as it is, with what is not
/// printable replaced by one character, with escapes, and cut.
class EchoFinder {
   public:
    explicit EchoFinder(std::string_view text) : text_{text}, is_covered_(text.size()) {}

    void cover(std::string_view secret) {
        // A server that treats an argument as a C string stops at its first NUL.
        const std::size_t nul = secret.find('\0');
        if (nul != std::string_view::npos) cover(secret.substr(0, nul));
        if (secret.empty()) return;
        for (std::size_t at = 0; at < text_.size(); ++at) {
            for (const bool is_escaped : {false, true}) {
                const Echo echo = echo_at(at, secret, is_escaped);
                if (!tells(echo, at, secret)) continue;
                const auto first = is_covered_.begin() + static_cast<std::ptrdiff_t>(at);
                std::fill(first, first + static_cast<std::ptrdiff_t>(echo.length), true);
            }
        }
    }

    /// The text up to `end`, with "***" in place of what is covered.
    [[nodiscard]] std::string masked(std::size_t end) const {
        std::string plain;
        for (std::size_t at = 0; at < std::min(end, text_.size()); ++at) {
            if (!is_covered_[at]) {
                plain.push_back(text_[at]);
            } else if (at == 0 || !is_covered_[at - 1]) {
                plain.append("***");
            }
        }
        return plain;
    }

   private:
    /// How many bytes of the text stand for how many of the secret.
    struct Echo {
        std::size_t length = 0;
        std::size_t secret = 0;
    };

    [[nodiscard]] static bool is_alphanumeric(char letter) noexcept {
        return (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z') ||
               (letter >= 'a' && letter <= 'z') || static_cast<unsigned char>(letter) >= 0x80;
    }
    [[nodiscard]] static bool is_printable(char letter) noexcept { return letter >= ' ' && letter <= '~'; }

    [[nodiscard]] bool is_delimited(std::size_t begin, std::size_t end) const noexcept {
        const bool is_open = begin == 0 || !is_alphanumeric(text_[begin - 1]);
        return is_open && (end >= text_.size() || !is_alphanumeric(text_[end]));
    }

    /// Whether it shows so much of the secret that it cannot be a coincidence.
    [[nodiscard]] bool tells(const Echo& echo, std::size_t at, std::string_view secret) const noexcept {
        constexpr std::size_t long_enough = 4;  // many words have less than that in common
        constexpr std::size_t long_prefix = 8;
        if (echo.secret < std::min(secret.size(), long_prefix)) return false;
        return echo.length >= long_enough || is_delimited(at, at + echo.length);
    }

    [[nodiscard]] Echo echo_at(std::size_t at, std::string_view secret, bool is_escaped) const {
        Echo echo;
        while (echo.secret < secret.size()) {
            const std::string_view rest = text_.substr(at + echo.length);
            const std::size_t step =
                is_escaped ? escape_of(secret[echo.secret], rest) : byte_of(secret[echo.secret], rest);
            if (step == 0) break;
            echo.length += step;
            ++echo.secret;
        }
        return echo;
    }

    /// How many bytes at the beginning of the text stand for this letter of the secret: 0 or 1.
    [[nodiscard]] static std::size_t byte_of(char letter, std::string_view text) noexcept {
        if (text.empty()) return 0;
        if (text.front() == letter) return 1;
        const bool is_stand_in = text.front() == ' ' || text.front() == '.' || text.front() == '?';
        return !is_printable(letter) && is_stand_in ? 1 : 0;
    }

    /// The same where the server writes escapes: \" \\ \n \x0a.
    [[nodiscard]] static std::size_t escape_of(char letter, std::string_view text) noexcept {
        if (text.size() < 2 || text.front() != '\\') return letter == '\\' ? 0 : byte_of(letter, text);
        if (text[1] == letter && !is_alphanumeric(letter)) return 2;
        constexpr std::string_view named{
            "\nn\rr\tt\aa\bb\0"
            "0",
            12};
        for (std::size_t i = 0; i + 1 < named.size(); i += 2) {
            if (named[i] == letter && named[i + 1] == text[1]) return 2;
        }
        if (text.size() < 4 || (text[1] != 'x' && text[1] != 'X')) return 0;
        const auto byte = static_cast<unsigned char>(letter);
        return digit_of(text[2]) == byte >> 4U && digit_of(text[3]) == (byte & 0xFU) ? 4 : 0;
    }

    [[nodiscard]] static unsigned digit_of(char letter) noexcept {
        constexpr std::string_view digits = "0123456789abcdef0123456789ABCDEF";
        const std::size_t at = digits.find(letter);
        return at == std::string_view::npos ? 16U : static_cast<unsigned>(at % 16);
    }

    std::string_view text_;
    std::vector<bool> is_covered_;
};

/// The error text of a server without our own arguments (R31), which it may repeat. A secret of four
/// characters or more is hidden wherever it is, a shorter one where it is a word by itself; so is any
/// beginning of at least eight characters. At most 256 bytes; the first word alone where there is too much to
/// look for.
[[nodiscard]] inline std::string scrubbed(std::string_view text, std::span<const std::string_view> secrets) {
    constexpr std::size_t longest_read = 1024;
    constexpr std::size_t longest = 256;
    // The cut may be within a secret; then that part of it is not shown.
    const std::string_view read = cut_to(text, longest_read);
    std::size_t end = read.size() < text.size() ? read.size() - longest : read.size();
    for (const std::string_view listing : {", with args", "with args beginning with"}) {
        end = std::min(end, read.find(listing));
    }
    std::size_t work = 0;
    for (const std::string_view secret : secrets) work += std::min(secret.size(), read.size()) * read.size();
    constexpr std::size_t work_max = std::size_t{1} << 20U;  // about a millisecond: others wait meanwhile
    if (work > work_max) return joined({read.substr(0, std::min(end, read.find(' '))), " …"});
    EchoFinder finder{read};
    for (const std::string_view secret : secrets) finder.cover(secret);
    return std::string{cut_to(finder.masked(end), longest)};
}

}  // namespace redlock::inline v0_1::detail
