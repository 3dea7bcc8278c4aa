// SPDX-License-Identifier: Apache-2.0
// What the fencing tests share: a transport that is watched, a wall clock that is steered, and the judge of
// a history of tokens.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redlock/redlock.hpp>

#include "support/cluster.hpp"

namespace redlock::test {

using namespace std::chrono_literals;
namespace core = redlock::detail;  // test::detail is another

/// The long form of a test: minutes instead of seconds.
[[nodiscard]] inline bool is_long() {
    const char* value = std::getenv("REDLOCK_LONG");
    return value != nullptr && std::string_view{value} == "1";
}

/// What one Redlock handed to its sockets.
struct Wire {
    std::atomic<std::uint64_t> acquires{0};
    std::atomic<std::uint64_t> commits{0};
    std::function<void()> before_commit;  ///< called once, before the first byte of a second round
};

/// hiredis::Transport, watched where the core hands it its bytes.
class WatchedTransport : public hiredis::Transport {
   public:
    WatchedTransport(const std::vector<std::string>& uris, const Options& options, std::shared_ptr<Wire> wire)
        : hiredis::Transport{Endpoints{uris}.list(), options}, wire_{std::move(wire)} {}

    core::Sent send(std::size_t node, std::string_view request) {
        const bool is_commit = runs(request, core::commit_script);
        if (is_commit && wire_->before_commit) std::exchange(wire_->before_commit, nullptr)();
        const core::Sent sent = hiredis::Transport::send(node, request);
        if (sent != core::Sent::accepted) return sent;
        if (is_commit) ++wire_->commits;
        if (runs(request, core::fenced_acquire_script)) ++wire_->acquires;
        return sent;
    }

   private:
    static bool runs(std::string_view request, const core::Script& script) {
        return request.find(core::sha1_of(script)) != std::string_view::npos ||
               request.find(script.text) != std::string_view::npos;
    }

    std::shared_ptr<Wire> wire_;
};

/// LeaseClock, but for a wall clock that is wrong by as much as the test says.
class SteeredClock : public LeaseClock {
   public:
    SteeredClock() = default;
    explicit SteeredClock(std::chrono::microseconds error) : error_{error} {}
    [[nodiscard]] std::int64_t wall_us() const noexcept { return LeaseClock::wall_us() + error_.count(); }

   private:
    std::chrono::microseconds error_{0};
};

using WatchedRedlock = BasicRedlock<WatchedTransport, SteeredClock>;

/// Nodes that have the scripts already, as they have in the long run.
inline void teach(Cluster& nodes) {
    for (auto& node : nodes) {
        if (!node.reachable()) continue;
        for (const core::Script& script : {core::fenced_acquire_script, core::acquire_script,
                                           core::commit_script, core::extend_script, core::release_script}) {
            node.query({"SCRIPT", "LOAD", std::string{script.text}});
        }
    }
}

/// Patient options: what these tests measure are numbers, not times.
[[nodiscard]] inline Options fencing_options() {
    Options options;
    options.node_timeout = 1s;
    return options;
}

struct Watched {
    std::shared_ptr<Wire> wire = std::make_shared<Wire>();
    WatchedRedlock locks;

    explicit Watched(const std::vector<std::string>& uris, const Options& options = fencing_options(),
                     std::chrono::microseconds clock_error = 0us)
        : locks{std::make_unique<WatchedTransport>(uris, options, wire), options, SteeredClock{clock_error}} {
    }
};

/// One completed acquisition. `began` and `ended` are positions in one order of events that all clients
/// share.
struct Acquisition {
    std::uint64_t began = 0;
    std::uint64_t ended = 0;
    std::uint64_t token = 0;
};

struct Judgement {
    std::size_t acquisitions = 0;
    std::size_t duplicates = 0;    ///< acquisitions whose token another one has
    std::size_t order_errors = 0;  ///< one that began after another had ended, with a token not above its
};

/// The two promises, over a whole history.
[[nodiscard]] inline Judgement judge(const std::vector<Acquisition>& history) {
    Judgement judgement{history.size(), 0, 0};
    std::vector<std::uint64_t> tokens;
    std::vector<const Acquisition*> by_begin;
    std::vector<const Acquisition*> by_end;
    for (const Acquisition& one : history) {
        tokens.push_back(one.token);
        by_begin.push_back(&one);
        by_end.push_back(&one);
    }
    std::sort(tokens.begin(), tokens.end());
    for (std::size_t i = 1; i < tokens.size(); ++i)
        judgement.duplicates += tokens[i] == tokens[i - 1] ? 1 : 0;
    std::sort(by_begin.begin(), by_begin.end(), [](auto* a, auto* b) { return a->began < b->began; });
    std::sort(by_end.begin(), by_end.end(), [](auto* a, auto* b) { return a->ended < b->ended; });
    std::uint64_t largest_ended = 0;
    auto ended = by_end.begin();
    for (const Acquisition* one : by_begin) {
        for (; ended != by_end.end() && (*ended)->ended < one->began; ++ended) {
            largest_ended = std::max(largest_ended, (*ended)->token);
        }
        judgement.order_errors += one->token <= largest_ended ? 1 : 0;
    }
    return judgement;
}

}  // namespace redlock::test
