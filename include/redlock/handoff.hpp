// SPDX-License-Identifier: Apache-2.0
// Handing a lock on to another thread or process.
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
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
    [[nodiscard]] std::string str() const {
        std::string text = "redlock1 " + token.str() + " " + std::to_string(remaining.count());
        for (std::size_t i = 0; i < resources.size(); ++i) {
            const std::uint64_t fence = i < fencing_tokens.size() ? fencing_tokens[i] : 0;
            text +=
                " " + std::to_string(fence) + " " + std::to_string(resources[i].size()) + ":" + resources[i];
        }
        return text;
    }

    /// Throws std::invalid_argument when the text is not what str() gave.
    [[nodiscard]] static Handoff parse(std::string_view text) {
        Handoff handoff;
        if (word(text, ' ') != "redlock1") fail();
        if (text.starts_with(' ')) fail("this is the text of an empty Handoff: nothing was held any more");
        handoff.token = Token::parse(word(text, ' '));
        const bool has_resources = text.find(' ') != std::string_view::npos;
        handoff.remaining = std::chrono::milliseconds{number(has_resources ? word(text, ' ') : "")};
        std::vector<std::uint64_t> fences;
        for (;;) {
            fences.push_back(number(word(text, ' ')));
            if (fences.back() > fencing_token_max) fail();
            if ((fences.back() == 0) != (fences.front() == 0)) fail();
            const std::uint64_t size = number(word(text, ':'));
            if (size == 0 || size > text.size()) fail();
            handoff.resources.emplace_back(text.substr(0, size));
            text.remove_prefix(size);
            if (text.empty()) break;
            if (text.front() != ' ') fail();
            text.remove_prefix(1);
        }
        if (fences.front() != 0) handoff.fencing_tokens = std::move(fences);
        return handoff;
    }

   private:
    [[noreturn]] static void fail(const std::string& why = "this is not the text of a Handoff") {
        throw std::invalid_argument{"redlock: " + why};
    }

    static std::string_view word(std::string_view& text, char end) {
        const std::size_t size = text.find(end);
        if (size == std::string_view::npos) fail();
        const std::string_view found = text.substr(0, size);
        text.remove_prefix(size + 1);
        return found;
    }

    static std::uint64_t number(std::string_view digits) {
        std::uint64_t value = 0;
        const char* end = digits.data() + digits.size();
        const auto [stop, error] = std::from_chars(digits.data(), end, value);
        const bool is_whole = !digits.empty() && error == std::errc{} && stop == end;
        const bool has_leading_zero = digits.size() > 1 && digits.front() == '0';
        if (!is_whole || has_leading_zero || value > (std::uint64_t{1} << 62U)) fail();
        return value;
    }
};

}  // namespace redlock::inline v0_1
