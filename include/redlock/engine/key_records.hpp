// SPDX-License-Identifier: Apache-2.0
// Until when keys of ours may exist on the nodes (R34).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

/// A node's present connection, or its last one.
template <class TimePoint>
struct Link {
    std::uint32_t number = 0;
    TimePoint since{};  ///< when it came up; nothing sent on an earlier one can run any more
};

/// The keys of one token, one record per node. All rounds of the token share it. Only the driver uses it.
///
/// A reply that may have made or prolonged the keys raises the record, however late it comes. A request
/// without a reply may run at any time, until it is answered, or until a new connection has ended the one it
/// was sent on. A confirmed release ends the record.
template <class TimePoint>
class KeyRecords final : public Counted {
   public:
    explicit KeyRecords(std::size_t node_count) : records_(node_count) {}

    bool is_unwanted = false;  ///< the release is on the way: no more requests that make keys are sent

    /// A request goes out that makes or prolongs keys. They last for so long from when it runs.
    void on_sent(std::size_t node, const Link<TimePoint>& link, std::chrono::nanoseconds lasts) {
        Record& record = settled(node, link);
        record.link = link.number;
        record.lasts = std::max(record.lasts, lasts);
        ++record.unanswered;
    }

    /// Such a request was answered. `until`: when the keys end that it made; none: it did nothing.
    void on_answered(std::size_t node, std::optional<TimePoint> until) {
        Record& record = records_[node];
        if (record.unanswered > 0 && --record.unanswered == 0) record.lasts = {};
        if (until) record.raise(*until);
    }

    /// Another client may have made keys by this token.
    void expect(std::size_t node, TimePoint until) { records_[node].raise(until); }

    /// The node has none of the keys. Nothing sent before can still run: a connection keeps the order.
    void on_released(std::size_t node, const Link<TimePoint>& link) {
        Record& record = settled(node, link);
        if (record.unanswered == 0) record.until.reset();
    }

    /// Whether a request that was sent may still run, at a time that nobody knows.
    [[nodiscard]] bool may_yet_run(std::size_t node, const Link<TimePoint>& link) {
        return settled(node, link).unanswered > 0;
    }

    /// Until when a release matters: there may be keys, or a request could make them if it ran now.
    [[nodiscard]] std::optional<TimePoint> until(std::size_t node, const Link<TimePoint>& link,
                                                 TimePoint now) {
        Record& record = settled(node, link);
        std::optional<TimePoint> end = record.until;
        if (record.unanswered > 0 && (!end || *end < now + record.lasts)) end = now + record.lasts;
        if (end && (*end - now).count() <= 0) return std::nullopt;
        return end;
    }

   private:
    struct Record {
        std::optional<TimePoint> until;     ///< when the keys end that answered requests made; none: no keys
        std::chrono::nanoseconds lasts{0};  ///< the longest that an unanswered request asked for
        std::uint32_t unanswered = 0;       ///< requests
        std::uint32_t link = 0;             ///< the connection that they were sent on

        void raise(TimePoint end) {
            if (!until || *until < end) until = end;
        }
    };

    /// A request sent on an earlier connection ran before the present one came up, or never will.
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
