// SPDX-License-Identifier: Apache-2.0
// What the engine tells its owner.
#pragma once

#include <cstddef>
#include <string_view>

namespace redlock::inline v0_1::detail {

/// Told with no lock held.
template <class TimePoint>
struct Upcalls {
    /// By the driver: a message has arrived on the channel that the transport listens to.
    virtual void on_notice(std::size_t node, std::string_view payload) = 0;
    /// By the driver, in each of its turns.
    virtual void on_turn() = 0;
    /// By a caller that leaves: there is something left to do for a node (see Dispatcher::settled), and no
    /// other caller waits that would drive.
    virtual void on_unfinished() noexcept = 0;
    /// By the driver: from that time on a turn has something to do, whether or not anybody calls. Each
    /// reminder replaces the one before.
    virtual void on_reminder(TimePoint when) noexcept = 0;

   protected:
    ~Upcalls() = default;
};

}  // namespace redlock::inline v0_1::detail
