// SPDX-License-Identifier: Apache-2.0
// Where a node may be found: the addresses of its host name, in the order in which they are tried.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "redlock/endpoint.hpp"
#include "redlock/hiredis/resolver.hpp"

namespace redlock::inline v0_1::hiredis {

/// A name is looked up anew for every connect, and one connect tries all its addresses (R22): first the one
/// that worked last time, last the one that was of no use. While the look-up fails, only the one that worked
/// last time is tried.
template <class System>
class Addresses {
   public:
    using WakeUp = typename System::WakeUp;

    Addresses(System& system, const Endpoint& endpoint, std::shared_ptr<WakeUp> wake_up)
        : system_{system}, endpoint_{endpoint}, wake_up_{std::move(wake_up)} {}

    /// For a new connect.
    void begin() {
        found_.clear();
        tried_ = 0;
        if (endpoint_.scheme() == Endpoint::Scheme::unix_socket) {
            found_.push_back(endpoint_.path());
        } else if (is_numeric(endpoint_.host())) {
            found_.push_back(endpoint_.host());
        } else if (!lookup_) {
            // One that was too slow for an earlier connect goes on: its answer is as good.
            lookup_ = system_.look_up(endpoint_.host());
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
        for (const int rank : {0, 1, 2}) {
            for (const std::string& address : found->addresses) {
                if (rank_of(address) == rank) found_.push_back(address);
            }
        }
        if (found_.empty() && found->may_pass && !proven_.empty()) found_.push_back(proven_);
        return true;
    }

    /// How many are still to be tried.
    [[nodiscard]] std::size_t left() const noexcept { return found_.size() - tried_; }
    const std::string& next() {
        current_ = found_[tried_++];
        return current_;
    }
    [[nodiscard]] const std::string& current() const noexcept { return current_; }

    /// A connection to the current one is ready.
    void on_success() {
        proven_ = current_;
        useless_.clear();
    }
    /// The connection was ready, but turned out to be of no use.
    void on_useless() { useless_ = std::exchange(proven_, {}); }

   private:
    /// Its place in the order of trying.
    [[nodiscard]] int rank_of(const std::string& address) const noexcept {
        if (address == proven_) return 0;
        return address == useless_ ? 2 : 1;
    }

    System& system_;
    const Endpoint& endpoint_;
    std::shared_ptr<WakeUp> wake_up_;
    typename System::LookupPtr lookup_;
    std::vector<std::string> found_;  ///< in the order of trying
    std::size_t tried_ = 0;           ///< of them
    std::string current_;
    std::string proven_;
    std::string useless_;
};

}  // namespace redlock::inline v0_1::hiredis
