// SPDX-License-Identifier: Apache-2.0
// One of the competing processes. It has its own Redlock, and knows about the others only through the nodes.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <redlock/redlock.hpp>

#include "event.hpp"
#include "witness.hpp"

namespace tour {

using namespace std::chrono_literals;

struct Job {
    int worker = 0;  ///< from 1
    std::string nodes;
    std::string resource;
    redlock::Options options;
};

/// Runs the commands on standard input, a line each: compete, rest, sprint, hold, take over. Ends with it.
class Worker {
   public:
    Worker(Job job, Witness& witness)
        : job_{std::move(job)}, witness_{witness}, locks_{job_.nodes, job_.options} {}

    void run() {
        bool is_competing = false;
        while (const auto command = next_command(is_competing)) {
            if (*command == "compete") is_competing = true;
            if (*command == "rest") {
                is_competing = false;
                tell({.kind = "resting", .at = time_now(), .text = {}});
            }
            if (*command == "sprint") sprint();
            if (*command == "hold") hold();
            if (*command == "take over") take_over();
            if (is_competing) compete();
        }
    }

   private:
    static constexpr auto ttl = 2s;
    static constexpr auto takeover_ttl = 3s;

    /// Does a piece of work that only one process may do at a time.
    void compete() {
        auto lock = locks_.try_lock(job_.resource, ttl);
        if (!lock && lock.error() == redlock::errc::contended) {
            tell_denied(lock.error());
            lock = locks_.lock(job_.resource, {.ttl = ttl, .wait = 3s});
        }
        if (!lock) return tell_failed(lock.error());
        witness_.enter(job_.worker, lock->fencing_token());
        tell_held(*lock);
        std::this_thread::sleep_for(some(330ms, 430ms));  // the work
        witness_.leave(job_.worker);
        lock->unlock();
        std::this_thread::sleep_for(some(40ms, 300ms));
    }

    /// Locks and unlocks as fast as it can, without a competitor.
    void sprint() {
        std::vector<std::chrono::nanoseconds> latencies;
        const std::string resource = job_.resource + "/sprint";
        std::uint64_t last_token = 0;
        for (const auto end = time_now() + 1s; time_now() < end;) {
            const auto start = time_now();
            auto lock = locks_.try_lock(resource, ttl);
            latencies.push_back(time_now() - start);
            if (!lock) return tell_failed(lock.error());
            if (std::exchange(last_token, lock->fencing_token()) >= lock->fencing_token())
                ++witness_.disorders;
            lock->unlock();
        }
        const auto middle = latencies.begin() + static_cast<std::ptrdiff_t>(latencies.size() / 2);
        std::nth_element(latencies.begin(), middle, latencies.end());
        tell({.kind = "sprint",
              .at = time_now(),
              .number = latencies.size(),
              .duration = *middle,
              .text = {}});
    }

    /// Holds the lock until it is killed.
    void hold() {
        auto lock = locks_.lock(job_.resource, {.ttl = takeover_ttl, .wait = 3s});
        if (!lock) return tell_failed(lock.error());
        witness_.enter(job_.worker, lock->fencing_token());
        tell_held(*lock);
        next_command(false);
    }

    /// Waits for a lock whose holder has died, and reports the nodes' answers to each attempt.
    void take_over() {
        const auto give_up = time_now() + 3 * takeover_ttl;
        for (;;) {
            auto lock = locks_.try_lock(job_.resource, ttl);
            if (lock) {
                witness_.enter(job_.worker, lock->fencing_token());
                tell_held(*lock);
                std::this_thread::sleep_for(250ms);
                witness_.leave(job_.worker);
                return;
            }
            if (time_now() > give_up) return tell_failed(lock.error());
            tell_denied(lock.error());
            // Tries again soon after the nodes say that the key expires, and every 100 ms before that.
            const auto pause = std::min(100ms, lock.error().holder_remaining().value_or(99ms) + 1ms);
            std::this_thread::sleep_for(pause);
        }
    }

    /// Reports the lock. The last votes may arrive after the quorum's, so this waits a moment for them.
    void tell_held(const redlock::Lock& lock) {
        const auto has_all = [](const std::vector<redlock::NodeReport>& nodes) {
            return std::none_of(nodes.begin(), nodes.end(), [](const redlock::NodeReport& node) {
                return node.vote == redlock::Vote::pending;
            });
        };
        const auto at = time_now();
        const auto left = lock.remaining();
        auto nodes = lock.nodes();
        for (; !has_all(nodes) && time_now() < at + job_.options.node_timeout; nodes = lock.nodes()) {
            std::this_thread::sleep_for(1ms);
        }
        for (redlock::NodeReport& node : nodes) {
            if (node.vote == redlock::Vote::pending) node.vote = redlock::Vote::timeout;
        }
        tell({.kind = "holds",
              .at = at,
              .number = lock.fencing_token(),
              .left = left,
              .duration = quorum_latency(nodes),
              .votes = letters(nodes),
              .text = {}});
    }

    /// How long it took until the vote arrived that completed the quorum.
    [[nodiscard]] static std::chrono::nanoseconds quorum_latency(
        const std::vector<redlock::NodeReport>& nodes) {
        std::vector<std::chrono::nanoseconds> granted;
        for (const redlock::NodeReport& node : nodes) {
            if (node.vote == redlock::Vote::granted) granted.emplace_back(node.latency);
        }
        std::sort(granted.begin(), granted.end());
        const std::size_t quorum = nodes.size() / 2 + 1;
        return granted.size() < quorum ? 0ns : granted[quorum - 1];
    }

    void tell_denied(const redlock::Failure& failure) {
        tell({.kind = "denied",
              .at = time_now(),
              .left = failure.holder_remaining().value_or(0ms),
              .votes = letters(failure.nodes()),
              .text = {}});
    }

    void tell_failed(const redlock::Failure& failure) {
        tell({.kind = "failed",
              .at = time_now(),
              .votes = letters(failure.nodes()),
              .text = failure.message()});
        std::this_thread::sleep_for(200ms);
    }

    static void tell(const Event& event) {
        const std::string line = to_line(event);
        if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) ::_exit(1);
    }

    /// Returns the next line. Without one, returns an empty line if `may_be_none`, and otherwise waits.
    /// Returns nothing when the tour has ended.
    std::optional<std::string> next_command(bool may_be_none) {
        for (;;) {
            const std::size_t end = unread_.find('\n');
            if (end != std::string::npos) {
                std::string line = unread_.substr(0, end);
                unread_.erase(0, end + 1);
                return line;
            }
            pollfd input{STDIN_FILENO, POLLIN, 0};
            if (::poll(&input, 1, may_be_none ? 0 : -1) == 0) return "";
            std::array<char, 256> buffer{};
            const auto size = ::read(STDIN_FILENO, buffer.data(), buffer.size());
            if (size <= 0) return std::nullopt;
            unread_.append(buffer.data(), static_cast<std::size_t>(size));
        }
    }

    [[nodiscard]] std::chrono::milliseconds some(std::chrono::milliseconds least,
                                                 std::chrono::milliseconds most) {
        return std::chrono::milliseconds{
            std::uniform_int_distribution<std::int64_t>{least.count(), most.count()}(random_)};
    }

    Job job_;
    Witness& witness_;
    redlock::Redlock locks_;
    std::minstd_rand random_{std::random_device{}()};
    std::string unread_;
};

}  // namespace tour
