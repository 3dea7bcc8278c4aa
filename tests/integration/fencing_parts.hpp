// SPDX-License-Identifier: Apache-2.0
// Shared by the fencing tests: a transport that counts its requests, a wall clock that the test sets, and the
// check of a history of tokens.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/redlock.hpp"
#include "redlock/voting/claim.hpp"
#include "support/cluster.hpp"

namespace redlock::test {

using namespace std::chrono_literals;
namespace core = redlock::detail;  // `detail` alone would be test::detail

/// Whether REDLOCK_LONG asks for the long form of a test: minutes instead of seconds.
[[nodiscard]] inline bool is_long() {
    const char* value = std::getenv("REDLOCK_LONG");
    return value != nullptr && std::string_view{value} == "1";
}

/// The requests that one Redlock handed to its sockets.
struct SentRequests {
    std::atomic<std::uint64_t> acquires{0};
    std::atomic<std::uint64_t> commits{0};
    std::function<void()> before_commit;  ///< called once, before the first byte of a second round
};

/// LeaseClock with a wall clock that is wrong by an error that the test sets.
class SteeredClock : public LeaseClock {
   public:
    SteeredClock() = default;
    explicit SteeredClock(std::chrono::microseconds error) : error_{error} {}
    [[nodiscard]] std::int64_t wall_us() const noexcept { return LeaseClock::wall_us() + error_.count(); }

   private:
    std::chrono::microseconds error_{0};
};

/// hiredis::Transport that records what the library sends.
class WatchedTransport;

using WatchedRedlock = BasicRedlock<WatchedTransport, SteeredClock>;
using WatchedLock = BasicLock<WatchedTransport, SteeredClock>;

}  // namespace redlock::test

// A WatchedTransport needs a record of its requests, so the library cannot construct it.
template <>
redlock::test::WatchedRedlock::BasicRedlock(const redlock::Endpoints&, const redlock::Options&) = delete;

// Compiled once, in fencing_parts.cpp.
extern template class redlock::BasicRedlock<redlock::test::WatchedTransport, redlock::test::SteeredClock>;
extern template class redlock::BasicLock<redlock::test::WatchedTransport, redlock::test::SteeredClock>;

namespace redlock::test {

/// Loads the scripts into the nodes, as after the first use of each.
void teach(Cluster& nodes);

/// Long timeouts, since these tests check numbers and not times.
[[nodiscard]] inline Options fencing_options() {
    Options options;
    options.node_timeout = 1s;
    return options;
}

struct Watched {
    std::shared_ptr<SentRequests> sent = std::make_shared<SentRequests>();
    WatchedRedlock locks;

    explicit Watched(const std::vector<std::string>& uris, const Options& options = fencing_options(),
                     std::chrono::microseconds clock_error = 0us);
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
    std::size_t order_errors = 0;  ///< those whose token is not above one that was acquired before they began
};

/// Checks a whole history: tokens are unique, and they grow.
[[nodiscard]] Judgement judge(const std::vector<Acquisition>& history);

}  // namespace redlock::test
