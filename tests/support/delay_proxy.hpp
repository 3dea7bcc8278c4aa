// SPDX-License-Identifier: Apache-2.0
// A user-space proxy that simulates the distance to a node: each direction takes a set time. One thread
// serves all nodes.
//
// Bytes are released at their due time (timerfd, so no timer slack), in order, with TCP_NODELAY. A node can
// be made to hang (bytes wait, and arrive late on resume), to swallow bytes (blackhole), or be cut off
// (connections closed).
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/posix.hpp"
#include "support/socket.hpp"

namespace redlock::test {

enum class Direction : std::uint8_t { to_node, to_client };

class DelayProxy {
   public:
    // Listens once for each of `nodes` (what uri() and tcp_uri() of a server return); uris() is in the same
    // order.
    DelayProxy(const std::vector<std::string>& nodes, std::chrono::nanoseconds each_way,
               Family family = Family::unix_socket);
    DelayProxy(const DelayProxy&) = delete;
    DelayProxy& operator=(const DelayProxy&) = delete;
    ~DelayProxy();

    [[nodiscard]] std::vector<std::string> uris() const;

    // Each of these has taken effect when it returns.
    void set_delay(std::chrono::nanoseconds each_way);
    // Bytes in this direction wait until resume().
    void hang(std::size_t node, Direction direction) { set_mode(node, direction, Mode::hold); }
    void hang(std::size_t node);
    // Drops all bytes in this direction, including those in transit. This breaks the stream: call cut() at
    // the end.
    void blackhole(std::size_t node, Direction direction) { set_mode(node, direction, Mode::drop); }
    // Forwards again. Bytes that were held arrive now.
    void resume(std::size_t node);
    // Closes all connections to the node; new ones are accepted and behave as the node's mode says.
    void cut(std::size_t node);
    [[nodiscard]] std::size_t connections();

   private:
    using TimePoint = std::chrono::steady_clock::time_point;  // CLOCK_MONOTONIC, like the timer
    enum class Mode : std::uint8_t { forward, hold, drop };

    // An epoll event points to one of these.
    struct Mark {
        enum class Kind : std::uint8_t { wake, timer, listener, end };
        Kind kind = Kind::end;
        void* owner = nullptr;
        Direction reads = Direction::to_node;  // of an end: the direction whose bytes are read there
    };
    struct Node {
        Address upstream;
        Address listening;
        FileDescriptor listener;
        Mark mark;
        std::array<Mode, 2> modes{Mode::forward, Mode::forward};
    };
    // One client's connection and the one to the node that belongs to it. Index: Direction.
    struct Link : std::enable_shared_from_this<Link> {
        Node* node = nullptr;
        std::array<FileDescriptor, 2> sources;  // where bytes of that direction are read
        std::array<std::string, 2> ready;       // due, but held or not yet taken by the socket
        std::array<bool, 2> ended{};            // end of stream has become due
        std::array<Mark, 2> marks;
        bool closed = false;

        // Closes at once, although parcels in transit keep the object alive.
        void close() {
            closed = true;
            for (auto& source : sources) source.reset();
        }
    };
    struct Parcel {
        TimePoint due;
        std::shared_ptr<Link> link;
        Direction direction = Direction::to_node;
        std::string bytes;  // empty: the stream ended here
    };

    static std::size_t index(Direction direction) { return static_cast<std::size_t>(direction); }
    static std::size_t other(Direction direction) { return 1 - index(direction); }

    void add_node(Address upstream, Family family);

    void watch(int fd, std::uint32_t events, Mark* mark) const;

    void set_mode(std::size_t node, Direction direction, Mode mode);

    // Runs `action` on the proxy's thread and waits for it, so that no other lock is needed.
    void command(const std::function<void()>& action);

    void run();

    void handle(const epoll_event& event);

    void obey();

    void accept_all(Node& node);

    // Reads all bytes that have arrived (edge-triggered), and the end of the stream if it was announced.
    void receive(Link& link, Direction direction, bool ending);

    void release_due();

    // Forwards the bytes that are due in this direction, as far as mode and socket allow.
    void deliver(Link& link, Direction direction);

    void set_timer();
    void drain_timer();

    std::chrono::nanoseconds each_way_;
    TemporaryDirectory directory_;
    FileDescriptor epoll_;
    FileDescriptor timer_;
    WakeUp wake_;
    Mark wake_mark_{Mark::Kind::wake, nullptr, {}};
    Mark timer_mark_{Mark::Kind::timer, nullptr, {}};
    std::vector<std::unique_ptr<Node>> nodes_;
    std::mutex mutex_;
    std::vector<std::packaged_task<void()>> commands_;  // guarded by mutex_; the rest is the thread's
    std::vector<std::shared_ptr<Link>> links_;
    std::deque<Parcel> parcels_;  // in order of their due times, but just after set_delay()
    TimePoint armed_{};
    std::array<char, 65536> scratch_{};
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace redlock::test
