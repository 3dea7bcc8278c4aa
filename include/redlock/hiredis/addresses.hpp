// SPDX-License-Identifier: Apache-2.0
// Where a node may be found: the addresses of its host name, in the order in which they are tried.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "redlock/endpoint.hpp"
#include "redlock/hiredis/resolver.hpp"

namespace redlock::hiredis {

/// A name is looked up anew for every connect, and all that it leads to is tried in one (R22): first what
/// worked last time, last what was of no use.
class Addresses {
   public:
    Addresses(const Endpoint& endpoint, std::shared_ptr<WakeUp> wake_up)
        : endpoint_{endpoint}, wake_up_{std::move(wake_up)} {}

    /// For a new connect.
    void begin() {
        left_.clear();
        if (endpoint_.scheme() == Endpoint::Scheme::unix_socket) {
            left_.push_back(endpoint_.path());
        } else if (Lookup::is_numeric(endpoint_.host())) {
            left_.push_back(endpoint_.host());
        } else if (!lookup_) {
            // One that was too slow for an earlier connect goes on: its answer is as good.
            lookup_.emplace(endpoint_.host(), wake_up_);
        }
        if (lookup_ && lookup_->is_done()) wake_up_->signal();
    }

    [[nodiscard]] bool is_looking_up() const { return lookup_.has_value(); }

    /// Whether the look-up has ended; then they are known, or `error` says why there are none.
    [[nodiscard]] bool take(std::string& error) {
        if (!lookup_->is_done()) return false;
        const auto found = lookup_->addresses();
        left_.assign(found.begin(), found.end());
        error = lookup_->error();
        lookup_.reset();
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
    void on_disappointment() { useless_ = std::exchange(proven_, {}); }

   private:
    const Endpoint& endpoint_;
    std::shared_ptr<WakeUp> wake_up_;
    std::optional<Lookup> lookup_;
    std::deque<std::string> left_;
    std::string current_;
    std::string proven_;
    std::string useless_;
};

}  // namespace redlock::hiredis
