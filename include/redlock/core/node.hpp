// What the engine remembers of one node.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "redlock/core/round.hpp"

namespace redlock::detail {

/// Whether a node may vote (R24, R25). One that may have forgotten a lock still takes what follows one.
template <class TimePoint>
class Standing {
   public:
    void on_up(const NodeInfo& info, std::chrono::milliseconds quarantine, TimePoint now) {
        is_master_ = info.is_master;
        is_unknown_ = quarantine.count() > 0 && info.run_id.empty();
        if (quarantine.count() > 0 && !is_unknown_) {
            const bool is_another = !run_id_.empty() && run_id_ != info.run_id;
            // uptime is wall-clock time, so it is only believed of a server not seen before
            const std::chrono::nanoseconds rest =
                is_another ? std::chrono::nanoseconds{quarantine} : quarantine - info.uptime;
            if (rest.count() > 0) extend_quarantine(now + rest);
        }
        if (!info.run_id.empty()) run_id_ = info.run_id;
    }

    [[nodiscard]] const std::string& run_id() const noexcept { return run_id_; }
    void set_duplicate(bool is_duplicate) noexcept { is_duplicate_ = is_duplicate; }

    /// Why the node does not vote; nothing: it does.
    template <class Now>
    [[nodiscard]] std::optional<Fault> objection(bool begins, Now now) const {
        if (is_duplicate_) return Fault{Vote::refused, "it is the same server as another of the nodes"};
        if (!begins) return std::nullopt;
        if (!is_master_) return Fault{Vote::refused, "it is a replica, not a master"};
        if (is_unknown_)
            return Fault{Vote::quarantined, "it does not say when it started; is INFO permitted?"};
        if (quarantined_until_ && (now() - *quarantined_until_).count() < 0) {
            return Fault{Vote::quarantined, "it restarted a short while ago and may have forgotten"};
        }
        return std::nullopt;
    }

   private:
    void extend_quarantine(TimePoint until) {
        if (!quarantined_until_ || *quarantined_until_ < until) quarantined_until_ = until;
    }

    std::string run_id_;
    std::optional<TimePoint> quarantined_until_;
    bool is_master_ = true;
    bool is_unknown_ = false;  ///< there is a quarantine, and nobody can say whether it applies
    bool is_duplicate_ = false;
};

/// One node's requests, in order.
template <class TimePoint>
struct Node {
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;

    std::deque<RoundPtr> in_flight;  ///< handed over; replies come in this order
    std::size_t in_flight_bytes = 0;
    std::size_t in_flight_unsure = 0;  ///< of those, the ones whose reply may ask for more
    std::deque<RoundPtr> waiting;      ///< for the connection that is being made
    std::deque<RoundPtr> owed;         ///< releases that may not have run, for the next connection
    bool is_unready = false;           ///< it could not run one just now
    TimePoint try_again_at{};
    Standing<TimePoint> standing;
};

}  // namespace redlock::detail
