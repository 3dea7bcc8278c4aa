// SPDX-License-Identifier: Apache-2.0
// What the engine remembers of one node.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "redlock/engine/key_records.hpp"
#include "redlock/engine/pending_releases.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/transport.hpp"

namespace redlock::inline v0_1::detail {

/// FNV-1a: the same in every process.
[[nodiscard]] inline std::uint64_t hash_of(std::string_view text, std::uint64_t seed = 0xcbf29ce484222325) {
    for (const char letter : text) seed = (seed ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
    return seed;
}

/// A server process by its run_id; 0: it does not say.
[[nodiscard]] inline std::uint64_t server_of(std::string_view run_id) noexcept {
    return run_id.empty() ? 0 : hash_of(run_id);
}

/// Of two nodes that lead to one server (R24).
inline constexpr Fault same_server{Vote::refused, "it is the same server as another of the nodes"};

/// Whether a node may vote (R25). One that may have forgotten a lock still takes what follows one.
template <class TimePoint>
class Eligibility {
   public:
    /// What is known of a server process holds for as long as that lives: nothing it says later of its uptime
    /// makes the quarantine shorter or longer.
    void on_up(const NodeInfo& info, std::chrono::milliseconds quarantine, TimePoint now) {
        has_quarantine_ = quarantine.count() > 0;
        is_unknown_ = info.run_id.empty();
        if (is_unknown_ || info.run_id == run_id_) return;
        // uptime is wall-clock time, so it is only believed of a server not seen before
        const bool is_first = run_id_.empty();
        quarantined_until_ = now + (is_first ? rest_of(quarantine, info.uptime) : quarantine);
        run_id_ = info.run_id;
    }

    [[nodiscard]] const std::string& run_id() const noexcept { return run_id_; }
    /// By a hash of its run_id; 0: it does not say.
    [[nodiscard]] std::uint64_t server() const noexcept { return is_unknown_ ? 0 : server_of(run_id_); }

    /// Why the node does not vote; nothing: it does.
    template <class Now>
    [[nodiscard]] std::optional<Fault> objection(bool begins, Now now) const {
        if (!begins || !has_quarantine_) return std::nullopt;
        if (is_unknown_)
            return Fault{Vote::quarantined, "it does not say when it started; is INFO permitted?"};
        if ((now() - quarantined_until_).count() < 0) {
            return Fault{Vote::quarantined, "it restarted a short while ago and may have forgotten"};
        }
        return std::nullopt;
    }

   private:
    /// The uptime is the difference of two truncated seconds: up to a second too long, and negative where the
    /// node's clock was set back.
    [[nodiscard]] static std::chrono::nanoseconds rest_of(std::chrono::milliseconds quarantine,
                                                          std::chrono::seconds uptime) {
        using namespace std::chrono_literals;
        const auto longest = std::chrono::ceil<std::chrono::seconds>(quarantine);
        const std::chrono::seconds certain = std::clamp(uptime, 1s, longest + 1s) - 1s;
        return std::max<std::chrono::nanoseconds>(0ns, quarantine - certain);
    }

    std::string run_id_;
    TimePoint quarantined_until_{};
    bool has_quarantine_ = false;
    bool is_unknown_ = true;  ///< nobody can say whether the quarantine applies
};

/// One node's requests, in order.
template <class TimePoint>
struct Node {
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;

    std::deque<RoundPtr> in_flight;    ///< handed over; replies come in this order
    std::deque<RoundPtr> waiting;      ///< for the connection that is being made
    std::size_t bytes = 0;             ///< of both
    std::size_t in_flight_unsure = 0;  ///< the ones whose reply may ask for more
    PendingReleases<TimePoint> pending_releases;
    std::optional<TimePoint> repeat_at;        ///< of releases that it refused
    std::chrono::nanoseconds repeat_after{0};  ///< how long the last such pause was
    Link<TimePoint> link;
    bool is_up = false;
    bool is_duplicate = false;  ///< another leads to its server: asked no more, dropped when idle
    Scripts scripts = Scripts::by_name;
    Eligibility<TimePoint> eligibility;
};

}  // namespace redlock::inline v0_1::detail
