// SPDX-License-Identifier: Apache-2.0
// What happens to the leases that are held.
#pragma once

#include "redlock/algorithm/lease.hpp"

namespace redlock::inline v0_1::detail {

/// Told on any thread, with no lock held.
template <class TimePoint>
struct LeaseEvents {
    /// By an extension: the lease ends sooner than it did, or has ended.
    virtual void on_lease_shortened(Lease<TimePoint>& lease) = 0;
    /// By the renewer: a lease is due sooner than the renewer said, or a renewal has ended.
    virtual void on_due_changed() = 0;
    /// By the renewer: before and after it runs a user's callback.
    virtual void on_callback(bool is_running) = 0;

   protected:
    ~LeaseEvents() = default;
};

}  // namespace redlock::inline v0_1::detail
