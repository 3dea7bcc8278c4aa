// SPDX-License-Identifier: Apache-2.0
// Where a node may be found: the addresses of its host name, in the order in which they are tried.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "redlock/endpoint.hpp"
#include "redlock/hiredis/resolver.hpp"

namespace redlock::inline v0_1::hiredis {

/// A name is looked up anew for every connect, and all that it leads to is tried in one (R22): first what
/// worked last time, last what was of no use. While it cannot be looked up, what worked last time is all
/// there is.
class Addresses {
   public:
    Addresses(const Endpoint& endpoint, std::shared_ptr<WakeUp> wake_up)
        : endpoint_{endpoint}, wake_up_{std::move(wake_up)} {}

    /// For a new connect.
    void begin() {
        left_.clear();
        if (endpoint_.scheme() == Endpoint::Scheme::unix_socket) {
            left_.push_back(endpoint_.path());
        } else if (is_numeric(endpoint_.host())) {
            left_.push_back(endpoint_.host());
        } else if (!lookup_) {
            // One that was too slow for an earlier connect goes on: its answer is as good.
            lookup_ = Lookups::of_process().begin(endpoint_.host());
        }
        if (lookup_) lookup_->tell(wake_up_);
    }

    [[nodiscard]] bool is_looking_up() const { return lookup_ != nullptr; }

    /// Whether the look-up has ended; then they are known, or `error` says why there are none.
    [[nodiscard]] bool take(std::string& error) {
        auto found = lookup_->outcome();
        if (!found) return false;
        lookup_.reset();
        error = found->error;
        left_.assign(found->addresses.begin(), found->addresses.end());
        if (left_.empty() && found->may_pass && !proven_.empty()) left_.push_back(proven_);
        std::stable_partition(left_.begin(), left_.end(),
                              [this](const auto& one) { return one != useless_; });
        std::stable_partition(left_.begin(), left_.end(), [this](const auto& one) { return one == proven_; });
        return true;
    }

    /// How many are still to be tried.
    [[nodiscard]] std::size_t left() const noexcept { return left_.size(); }
    const std::string& next() {
        current_ = std::move(left_.front());
        left_.pop_front();
        return current_;
    }
    [[nodiscard]] const std::string& current() const noexcept { return current_; }

    /// A connection to the current one is ready.
    void on_success() {
        proven_ = current_;
        useless_.clear();
    }
    /// What was ready turned out to be of no use.
    void on_useless() { useless_ = std::exchange(proven_, {}); }

   private:
    const Endpoint& endpoint_;
    std::shared_ptr<WakeUp> wake_up_;
    Lookups::StatePtr lookup_;
    std::deque<std::string> left_;
    std::string current_;
    std::string proven_;
    std::string useless_;
};

}  // namespace redlock::inline v0_1::hiredis
