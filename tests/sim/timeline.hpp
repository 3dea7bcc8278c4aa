// SPDX-License-Identifier: Apache-2.0
// The events of a run as text for people; written only for a run that is to be shown.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "sim/clock.hpp"

namespace redlock::sim {

class Timeline {
   public:
    explicit Timeline(bool is_on) : is_on_{is_on} {}

    [[nodiscard]] bool is_on() const noexcept { return is_on_; }
    [[nodiscard]] const std::string& text() const noexcept { return text_; }

    template <class... Parts>
    void note(Instant now, const Parts&... parts) {
        if (!is_on_) return;
        char stamp[32];
        std::snprintf(stamp, sizeof stamp, "%12.6f ms  ", static_cast<double>(now.count()) / 1e6);
        text_.append(stamp);
        (append(parts), ...);
        text_.push_back('\n');
    }

   private:
    void append(std::string_view part) { text_.append(part); }
    template <class Number>
    void append(Number number) requires std::integral<Number> {
        text_.append(std::to_string(number));
    }
    void append(std::chrono::nanoseconds time) {
        char words[32];
        std::snprintf(words, sizeof words, "%.3f ms", static_cast<double>(time.count()) / 1e6);
        text_.append(words);
    }

    bool is_on_;
    std::string text_;
};

}  // namespace redlock::sim
