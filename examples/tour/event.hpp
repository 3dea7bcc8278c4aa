// SPDX-License-Identifier: Apache-2.0
// The events that a worker process reports to the tour, one line each.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <redlock/redlock.hpp>

namespace tour {

struct Event {
    std::string kind;                  ///< holds, denied, failed, sprint, resting; note: by the tour itself
    std::chrono::nanoseconds at{0};    ///< on the clock that all processes share
    std::uint64_t number = 0;          ///< holds: the fencing token; sprint: how many
    std::chrono::nanoseconds left{0};  ///< holds: own validity; denied: what the holder has
    std::chrono::nanoseconds duration{0};  ///< holds: until the quorum's answer; sprint: the median
    std::string votes = "-";               ///< one letter per node
    std::string text;                      ///< failed: why; note: what
};

inline std::chrono::nanoseconds time_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

inline char letter(redlock::Vote vote) {
    switch (vote) {
        case redlock::Vote::pending: return 'p';
        case redlock::Vote::granted: return 'g';
        case redlock::Vote::denied: return 'd';
        case redlock::Vote::absent: return 'a';
        case redlock::Vote::timeout: return 't';
        case redlock::Vote::unreachable: return 'u';
        case redlock::Vote::refused: return 'r';
        case redlock::Vote::quarantined: return 'q';
    }
    return '?';
}

inline std::string letters(const std::vector<redlock::NodeReport>& nodes) {
    std::string text;
    for (const redlock::NodeReport& node : nodes) text.push_back(letter(node.vote));
    return text.empty() ? "-" : text;
}

inline std::string to_line(const Event& event) {
    std::ostringstream line;
    line << event.kind << ' ' << event.at.count() << ' ' << event.number << ' ' << event.left.count() << ' '
         << event.duration.count() << ' ' << event.votes << ' ' << event.text << '\n';
    return line.str();
}

inline std::optional<Event> from_line(const std::string& text) {
    std::istringstream line{text};
    Event event;
    std::int64_t at = 0;
    std::int64_t left = 0;
    std::int64_t duration = 0;
    if (!(line >> event.kind >> at >> event.number >> left >> duration >> event.votes)) return std::nullopt;
    event.at = std::chrono::nanoseconds{at};
    event.left = std::chrono::nanoseconds{left};
    event.duration = std::chrono::nanoseconds{duration};
    line.get();
    std::getline(line, event.text);
    return event;
}

}  // namespace tour
