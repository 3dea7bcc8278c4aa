// SPDX-License-Identifier: Apache-2.0
// The output of the tour: columns, and colours on a terminal.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "event.hpp"

namespace tour {

enum class Style : unsigned char { plain, dim, bold, good, bad, odd, alice, bob };

class Screen {
   public:
    explicit Screen(std::size_t node_count) : node_count_{node_count} {
        const auto variable = [](const char* name) {
            const char* value = std::getenv(name);
            return std::string_view{value == nullptr ? "" : value};
        };
        is_terminal_ = ::isatty(STDOUT_FILENO) == 1 && variable("TERM") != "dumb";
        has_colours_ = is_terminal_ && variable("NO_COLOR").empty();
        std::string locale;
        for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
            if (locale.empty()) locale = variable(name);
        }
        const auto has = [&locale](std::string_view part) { return locale.find(part) != std::string::npos; };
        is_utf8_ = has("UTF-8") || has("utf8") || has("utf-8") || has("UTF8");
    }

    [[nodiscard]] bool is_terminal() const noexcept { return is_terminal_; }

    [[nodiscard]] std::string paint(Style style, std::string_view text) const {
        static constexpr std::string_view codes[] = {"",         "\033[2m",  "\033[1m",  "\033[32m",
                                                     "\033[31m", "\033[33m", "\033[36m", "\033[35m"};
        if (!has_colours_ || style == Style::plain) return std::string{text};
        return std::string{codes[static_cast<std::size_t>(style)]} + std::string{text} + "\033[0m";
    }

    void line(std::string_view text = {}) const {
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fputc('\n', stdout);
        std::fflush(stdout);
    }

    /// Shows a line that the next one replaces; on a terminal only.
    void passing_line(std::string_view text) {
        if (!is_terminal_) return;
        std::fputs("\r\033[K", stdout);
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
        is_passing_ = true;
    }

    void end_passing() {
        if (std::exchange(is_passing_, false)) std::fputs("\r\033[K", stdout);
    }

    void title(std::string_view text) const {
        line();
        line(paint(Style::bold, text));
    }

    void columns() const {
        std::string numbers;
        for (std::size_t i = 1; i <= node_count_; ++i) numbers += std::to_string(i % 10) + " ";
        line(paint(Style::dim,
                   "     time  who    what    " + numbers + "   quorum in   valid for   fencing token"));
    }

    /// One glyph per node, two columns each.
    [[nodiscard]] std::string votes(std::string_view letters) const {
        std::string text;
        for (const char vote : letters) text += glyph(vote) + " ";
        return text;
    }

    [[nodiscard]] std::string legend() const {
        std::string text;
        const auto add = [&](char vote, std::string_view meaning) {
            text += glyph(vote) + " " + paint(Style::dim, std::string{meaning} + "   ");
        };
        add('g', "granted");
        add('d', "denied: held by another");
        add('u', "no connection");
        add('t', "no answer");
        add('p', "not waited for");
        return text;
    }

   private:
    [[nodiscard]] std::string glyph(char vote) const {
        switch (vote) {
            case 'g': return paint(Style::good, is_utf8_ ? "✓" : "Y");
            case 'd':
            case 'a': return paint(Style::odd, is_utf8_ ? "–" : "-");
            case 'u': return paint(Style::bad, is_utf8_ ? "✗" : "x");
            case 't': return paint(Style::bad, is_utf8_ ? "…" : "?");
            case 'p': return paint(Style::dim, is_utf8_ ? "·" : ".");
            case '-': return " ";
            default: return paint(Style::bad, "!");
        }
    }

    std::size_t node_count_;
    bool is_terminal_ = false;
    bool has_colours_ = false;
    bool is_utf8_ = false;
    bool is_passing_ = false;
};

/// "0.14 ms", right-aligned.
inline std::string milliseconds(std::chrono::nanoseconds time, int width = 8) {
    char text[32];
    std::snprintf(text, sizeof text, "%*.2f ms", width - 3, static_cast<double>(time.count()) / 1e6);
    return text;
}

inline std::string seconds(std::chrono::nanoseconds time, int width = 8) {
    char text[32];
    std::snprintf(text, sizeof text, "%*.2f s", width - 2, static_cast<double>(time.count()) / 1e9);
    return text;
}

inline std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(width, text.size()), ' ');
    return text;
}

}  // namespace tour
