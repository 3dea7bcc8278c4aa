// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of holding: options for a slow machine, and a client that competes for the lock.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "redlock/redlock.hpp"
#include "support/cluster.hpp"
#include "support/eventually.hpp"
#include "support/got.hpp"

namespace redlock::test {

using namespace std::chrono_literals;

// The ttl of most leases here: long enough for a machine that stalls, short for a test that waits for its
// end.
constexpr auto short_ttl = 300ms;

// A node_timeout that a stalled machine does not reach, and reconnects that do not make a test wait.
[[nodiscard]] inline Options holding_options() {
    Options options;
    options.node_timeout = 400ms;
    options.reconnect_max = 20ms;
    return options;
}

// Nodes, and a client that uses them.
struct Nodes {
    explicit Nodes(std::size_t count, const ServerOptions& options = {})
        : cluster{count, options}, locks{cluster.uris(), holding_options()} {}

    // Locks, and waits until every node has the key; lock() itself returns when a quorum has granted.
    [[nodiscard]] Lock hold_everywhere(const LockOptions& how) {
        auto lock = locks.lock("name", how).value();
        const auto is_everywhere = [this] {
            static_cast<void>(locks.inspect("another"));
            return cluster.count_holding("name") == cluster.size();
        };
        if (!eventually(patience, is_everywhere)) {
            throw std::runtime_error("some node was never given the key");
        }
        return lock;
    }

    Cluster cluster;
    Redlock locks;
};

// Whether the predicate stays false for all of `time`.
template <class Predicate>
[[nodiscard]] bool never_within(std::chrono::milliseconds time, Predicate&& predicate) {
    return !eventually(time, std::forward<Predicate>(predicate));
}

// Another client that tries all the time until it gets the lock, and then keeps it. At that moment it asks
// whether the first holder still believes that it holds the lock.
class Contender {
   public:
    Contender(const std::vector<std::string>& uris, std::string resource, std::function<bool()> is_held)
        : locks_{uris, holding_options()},
          resource_{std::move(resource)},
          is_held_{std::move(is_held)},
          thread_{[this] { contend(); }} {}
    Contender(const Contender&) = delete;
    Contender& operator=(const Contender&) = delete;
    ~Contender() { give_up(); }

    void give_up() {
        is_over_ = true;
        if (thread_.joinable()) thread_.join();
    }

    [[nodiscard]] unsigned attempts() const noexcept { return attempts_; }
    [[nodiscard]] bool is_in() const noexcept { return is_in_; }
    // Whether it got the lock while the first holder still held it.
    [[nodiscard]] bool was_second_holder() const noexcept { return was_second_; }
    // Call only if is_in().
    [[nodiscard]] std::uint64_t fencing_token() const { return lock_->fencing_token(); }

   private:
    void contend() {
        static_cast<void>(eventually(10min, [this] { return is_over_ || try_once(); }));
    }
    bool try_once() {
        auto result = locks_.try_lock(resource_, 30s);
        ++attempts_;
        if (!result) return false;
        was_second_ = is_held_();
        lock_ = *std::move(result);
        is_in_ = true;
        return true;
    }

    Redlock locks_;
    std::string resource_;
    std::function<bool()> is_held_;
    std::optional<Lock> lock_;
    std::atomic<bool> is_over_{false};
    std::atomic<bool> is_in_{false};
    std::atomic<bool> was_second_{false};
    std::atomic<unsigned> attempts_{0};
    std::thread thread_;
};

}  // namespace redlock::test
