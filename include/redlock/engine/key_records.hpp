// SPDX-License-Identifier: Apache-2.0
// Until when keys of ours may be on the nodes (R34).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace redlock::inline v0_1::detail {

/// Which of a node's connections is, or was last, in use.
template <class TimePoint>
struct Link {
    std::uint32_t number = 0;
    TimePoint since{};  ///< when it came up; nothing sent before it can run any more
};

/// The keys of one token, one record per node. All rounds of the token share it; the driver's.
///
/// A record is raised by whatever may make or prolong the keys, when that is answered and however late that
/// is. What was sent and is unanswered may run at any time: until its answer, or until a next connection has
/// ended the one that it was sent on. A confirmed release ends the record.
template <class TimePoint>
class KeyRecords {
   public:
    explicit KeyRecords(std::size_t node_count) : records_(node_count) {}

    bool is_unwanted = false;  ///< what was not sent yet need not be: the release is on the way

    /// A request goes out that makes keys, or has them last, for so long from when it runs.
    void on_sent(std::size_t node, const Link<TimePoint>& link, std::chrono::nanoseconds lasts) {
        Record& record = settled(node, link);
        record.link = link.number;
        record.lasts = std::max(record.lasts, lasts);
        ++record.unanswered;
    }

    /// One that was sent was answered. `until`: by then what it did is gone; none: it did nothing.
    void on_answered(std::size_t node, std::optional<TimePoint> until) {
        Record& record = records_[node];
        if (record.unanswered > 0 && --record.unanswered == 0) record.lasts = {};
        if (until) record.raise(*until);
    }

    /// There may be keys that others made.
    void expect(std::size_t node, TimePoint until) { records_[node].raise(until); }

    /// The node has none of them now. What was sent before has been answered: connections keep the order.
    void on_released(std::size_t node, const Link<TimePoint>& link) {
        Record& record = settled(node, link);
        if (record.unanswered == 0) record.until.reset();
    }

    /// Whether something that was sent may still run, at a time that nobody knows.
    [[nodiscard]] bool may_yet_run(std::size_t node, const Link<TimePoint>& link) {
        return settled(node, link).unanswered > 0;
    }

    /// Until when a release matters: there may be keys, or what was sent could make them if it ran by now.
    [[nodiscard]] std::optional<TimePoint> until(std::size_t node, const Link<TimePoint>& link,
                                                 TimePoint now) {
        Record& record = settled(node, link);
        std::optional<TimePoint> end = record.until;
        if (record.unanswered > 0 && (!end || *end < now + record.lasts)) end = now + record.lasts;
        if (end && (now - *end).count() >= 0) return std::nullopt;
        return end;
    }

   private:
    struct Record {
        std::optional<TimePoint> until;     ///< of what was answered; none: there is nothing
        std::chrono::nanoseconds lasts{0};  ///< of what is unanswered, the longest
        std::uint32_t unanswered = 0;       ///< requests
        std::uint32_t link = 0;             ///< that they were sent on

        void raise(TimePoint end) {
            if (!until || *until < end) until = end;
        }
    };

    /// What was sent on an earlier link ran before the present one came up, or never will.
    [[nodiscard]] Record& settled(std::size_t node, const Link<TimePoint>& link) {
        Record& record = records_[node];
        if (record.unanswered > 0 && record.link != link.number) {
            record.raise(link.since + record.lasts);
            record.unanswered = 0;
            record.lasts = {};
        }
        return record;
    }

    std::vector<Record> records_;
};

}  // namespace redlock::inline v0_1::detail
