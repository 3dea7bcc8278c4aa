// SPDX-License-Identifier: Apache-2.0
// Which server a node leads to, and whether it may vote.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "redlock/engine/transport.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1::detail {

/// FNV-1a: the same in every process.
[[nodiscard]] inline std::uint64_t hash_of(std::string_view text, std::uint64_t seed = 0xcbf29ce484222325) {
    for (const char letter : text) seed = (seed ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
    return seed;
}

/// A number for a server process, by its run_id; 0: it gives none.
[[nodiscard]] inline std::uint64_t server_of(std::string_view run_id) noexcept {
    return run_id.empty() ? 0 : hash_of(run_id);
}

/// Why one of two nodes that lead to one server has no vote (R24).
inline constexpr Fault same_server{Vote::refused, "it is the same server as another of the nodes"};

/// Whether a node may vote on an acquire (R25). One that may have forgotten locks still takes the other
/// commands.
template <class TimePoint>
class Eligibility {
   public:
    /// The first uptime that a server process gives decides how long its quarantine is. What it says later,
    /// on another connection, makes that neither shorter nor longer.
    void on_up(const NodeInfo& info, std::chrono::milliseconds quarantine, TimePoint now) {
        has_quarantine_ = quarantine.count() > 0;
        is_unknown_ = info.run_id.empty();
        if (is_unknown_ || info.run_id == run_id_) return;
        // Uptime is wall-clock time: it counts only for the first server seen at this node.
        const bool is_first = run_id_.empty();
        quarantined_until_ = now + (is_first ? rest_of(quarantine, info.uptime) : quarantine);
        run_id_ = info.run_id;
    }

    [[nodiscard]] const std::string& run_id() const noexcept { return run_id_; }
    /// See server_of().
    [[nodiscard]] std::uint64_t server() const noexcept { return is_unknown_ ? 0 : server_of(run_id_); }

    /// Why the node must not give fencing tokens or grant an acquire; nothing: it may. Reads the clock only
    /// where there is a quarantine, which is over when it is by every reading: holders' leases are measured
    /// by other clocks.
    template <class Clock>
    [[nodiscard]] std::optional<Fault> objection(const Clock& clock) const {
        if (!has_quarantine_) return std::nullopt;
        if (is_unknown_) {
            return Fault{Vote::quarantined, "it does not say when it started; is INFO permitted?"};
        }
        if ((quarantined_until_ - clock.now()).count() > 0) {
            return Fault{Vote::quarantined, "it restarted a short while ago and may have forgotten"};
        }
        return std::nullopt;
    }

   private:
    /// The uptime is the difference of two truncated seconds: up to a second too long, and negative after the
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
    bool is_unknown_ = true;  ///< the server does not say which process it is
};

}  // namespace redlock::inline v0_1::detail
