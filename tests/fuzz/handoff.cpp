// SPDX-License-Identifier: Apache-2.0
// Handoff::parse: of any text, and of the text of a Handoff that is made of the input.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "fuzz/fuzz.hpp"
#include "redlock/handoff.hpp"

namespace redlock::test {
namespace {

constexpr std::size_t huge = std::size_t{1} << 18U;

/// A text of this form is so often the text behind the mark: "12*text".
[[nodiscard]] std::string expanded(std::string_view input) {
    const std::size_t mark = input.find('*');
    if (mark == 0 || mark > 2 || input.find_first_not_of("0123456789") != mark) return std::string{input};
    const std::string_view piece = input.substr(mark + 1);
    const std::size_t power = static_cast<std::size_t>(std::stoul(std::string{input.substr(0, mark)}));
    std::string whole;
    for (std::size_t i = 0; i < (std::size_t{1} << std::min<std::size_t>(power, 20)); ++i) {
        if (whole.size() + piece.size() > huge) break;
        whole.append(piece);
    }
    return whole;
}

[[nodiscard]] std::optional<Handoff> read(std::string_view text) {
    try {
        return Handoff::parse(text);
    } catch (const std::invalid_argument& error) {
        // Whoever knows the token can unlock: the text that was refused may hold one.
        const std::string_view why = error.what();
        constexpr std::array<std::string_view, 3> reasons{
            "redlock: this is not the text of a Handoff",
            "redlock: this is the text of an empty Handoff: nothing was held any more",
            "redlock: a token has 1 to 128 printable characters without blanks"};
        must(std::find(reasons.begin(), reasons.end(), why) != reasons.end(), "an error repeats nothing",
             why);
        return std::nullopt;
    }
}

void must_be_sound(const Handoff& handoff, std::string_view text) {
    must(handoff.str() == text, "what is accepted is written as it was", text);
    must(static_cast<bool>(handoff), "what is accepted hands something on", text);
    must(!handoff.token.str().empty(), "it has a token", text);
    must(handoff.remaining.count() >= 0, "its validity is not negative", text);
    const auto& fences = handoff.fencing_tokens;
    must(fences.empty() || fences.size() == handoff.resources.size(), "one fencing token each, or none",
         text);
    for (const std::uint64_t fence : fences) {
        must(fence > 0 && fence <= fencing_token_max, "a fencing token is in its range", text);
    }
    for (const std::string& name : handoff.resources) must(!name.empty(), "a resource has a name", text);
}

/// As detach() makes it: the bytes are lengths of names and what is in them.
[[nodiscard]] Handoff made_of(std::string_view input) {
    Handoff handoff;
    std::array<unsigned char, Token::byte_count> random{};
    std::copy_n(input.begin(), std::min(input.size(), random.size()), random.begin());
    handoff.token = Token{random};
    handoff.remaining = std::chrono::milliseconds{input.size() * 1000 + random[0]};
    const bool is_fenced = random[1] % 2 == 0;
    do {
        const std::size_t size = input.empty() ? 0 : static_cast<unsigned char>(input.front()) % 32U;
        handoff.resources.emplace_back("r");
        handoff.resources.back().append(input.substr(0, size));
        if (is_fenced) handoff.fencing_tokens.push_back(fencing_token_max - handoff.resources.size() + 1);
        input.remove_prefix(std::min(size + 1, input.size()));
    } while (!input.empty());
    return handoff;
}

}  // namespace

void try_input(std::string_view input) {
    const std::string text = expanded(input);
    if (const auto handoff = read(text)) must_be_sound(*handoff, text);

    const Handoff made = made_of(input);
    const auto again = read(made.str());
    must(again.has_value(), "what str() writes is accepted", made.str());
    must_be_sound(*again, made.str());
    must(again->resources == made.resources && again->token == made.token &&
             again->fencing_tokens == made.fencing_tokens && again->remaining == made.remaining,
         "what str() writes is read as it was", made.str());
}

}  // namespace redlock::test
