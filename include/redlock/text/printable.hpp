// SPDX-License-Identifier: Apache-2.0
// Texts for logs: each is one line, and holds nothing that drives a terminal or cannot be seen.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace redlock::inline v0_1::detail {

/// The first `longest` bytes at most, cut between two characters where the text is UTF-8.
[[nodiscard]] inline std::string_view cut_to(std::string_view text, std::size_t longest) noexcept {
    if (text.size() <= longest) return text;
    std::size_t end = longest;
    while (end + 3 > longest && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return text.substr(0, end);
}

/// A text, or a whole number in decimal digits: a part of a text that is joined.
class Part {
   public:
    Part(std::string_view text) noexcept : text_{text} {}    // NOLINT(google-explicit-constructor)
    Part(const char* text) noexcept : text_{text} {}         // NOLINT(google-explicit-constructor)
    Part(const std::string& text) noexcept : text_{text} {}  // NOLINT(google-explicit-constructor)
    template <std::integral Number>
    Part(Number number) noexcept {  // NOLINT(google-explicit-constructor)
        write(number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number),
              number < 0);
    }
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    ~Part() = default;

    [[nodiscard]] std::string_view text() const noexcept { return text_; }

   private:
    [[gnu::noinline]] void write(std::uint64_t magnitude, bool is_negative) noexcept {
        std::size_t begin = sizeof digits_;
        do {
            digits_[--begin] = static_cast<char>('0' + magnitude % 10);
            magnitude /= 10;
        } while (magnitude != 0);
        if (is_negative) digits_[--begin] = '-';
        text_ = {digits_ + begin, sizeof digits_ - begin};
    }

    char digits_[21]{};  // of a number
    std::string_view text_;
};

/// One text of many parts. There are many messages: a chain of operator+, or a std::string for each number,
/// would cost the compiler several times as much.
[[nodiscard, gnu::noinline]] inline std::string joined(std::initializer_list<Part> parts) {
    std::string whole;
    for (const Part& part : parts) whole.append(part.text());
    return whole;
}

/// Reads a whole number. False: the text is not decimal digits alone, or the number is 2^64 or more.
[[nodiscard]] inline bool read_number(std::string_view digits, std::uint64_t& number) noexcept {
    constexpr std::uint64_t most = ~std::uint64_t{0};
    number = 0;
    for (const char letter : digits) {
        if (letter < '0' || letter > '9') return false;
        const auto digit = static_cast<std::uint64_t>(letter - '0');
        if (number > (most - digit) / 10) return false;
        number = number * 10 + digit;
    }
    return !digits.empty();
}

/// A name within a sentence: a long one is cut.
[[nodiscard]] inline std::string in_quotes(std::string_view name) {
    const std::string_view shown = cut_to(name, 64);
    return joined({"'", shown, shown.size() < name.size() ? "…'" : "'"});
}

/// The first character of a text.
struct Character {
    char32_t code = 0;
    std::size_t size = 1;  ///< in bytes
    bool is_valid = true;  ///< false: one byte that is not UTF-8
};

/// The text must not be empty.
[[nodiscard]] inline Character first_character(std::string_view text) noexcept {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    if (byte(0) < 0x80U) return {byte(0), 1, true};
    const std::size_t size = byte(0) >= 0xF0U ? 4 : byte(0) >= 0xE0U ? 3 : 2;
    constexpr char32_t least_of_size[] = {0, 0, 0x80, 0x800, 0x10000};
    if (byte(0) < 0xC0U || byte(0) > 0xF7U || text.size() < size) return {byte(0), 1, false};
    char32_t code = byte(0) & (0x7FU >> size);
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xC0U) != 0x80U) return {byte(0), 1, false};
        code = code << 6U | (byte(i) & 0x3FU);
    }
    const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (code < least_of_size[size] || code > 0x10FFFF || is_surrogate) return {byte(0), 1, false};
    return {code, size, true};
}

/// Whether it breaks a line, drives a terminal, changes the direction of what stands around it, or cannot be
/// seen.
[[nodiscard]] inline bool is_control(char32_t code) noexcept {
    struct Range {
        char32_t first;
        char32_t last;
    };
    constexpr Range controls[] = {
        {0x00, 0x1F},        // C0
        {0x7F, 0x9F},        // delete, C1
        {0xAD, 0xAD},        // soft hyphen
        {0x34F, 0x34F},      // joiner
        {0x61C, 0x61C},      // direction
        {0x115F, 0x1160},    // fillers
        {0x180E, 0x180E},    // separator
        {0x200B, 0x200B},    // space without width; its two neighbours are part of words
        {0x200E, 0x200F},    // direction
        {0x2028, 0x202E},    // line, paragraph, direction
        {0x2060, 0x206F},    // joiner, direction
        {0x3164, 0x3164},    // filler
        {0xFEFF, 0xFEFF},    // byte order mark
        {0xFFA0, 0xFFA0},    // filler
        {0xFFF9, 0xFFFB},    // annotations
        {0xE0000, 0xE007F},  // tags
    };
    for (const Range& range : controls) {
        if (code >= range.first && code <= range.last) return true;
    }
    return false;
}

/// The bytes of controls, and those that are not UTF-8, are written as \xNN.
[[nodiscard]] inline std::string printable(std::string_view text) {
    std::string plain;
    while (!text.empty()) {
        const Character first = first_character(text);
        const std::string_view bytes = text.substr(0, first.size);
        text.remove_prefix(first.size);
        if (first.is_valid && !is_control(first.code)) {
            plain.append(bytes);
            continue;
        }
        for (const char letter : bytes) {
            const auto byte = static_cast<unsigned char>(letter);
            plain.append("\\x").append({"0123456789abcdef"[byte >> 4U], "0123456789abcdef"[byte & 0xFU]});
        }
    }
    return plain;
}

}  // namespace redlock::inline v0_1::detail
