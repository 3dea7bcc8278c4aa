// SPDX-License-Identifier: Apache-2.0
// Redis measures a ttl on the wall clock. When the nodes' wall clocks jump, the lock fails as documented, and
// the fencing tokens still grow.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <redlock/fencing.hpp>
#include <redlock/hiredis/fenced.hpp>

#include "integration/fencing_parts.hpp"
#include "support/cluster.hpp"
#include "support/eventually.hpp"
#include "support/got.hpp"
#include "support/posix.hpp"

namespace redlock::test {
namespace {

/// Preloads a library into the servers that are started during its lifetime, not into this process.
class Preload {
   public:
    explicit Preload(const char* library) { ::setenv("LD_PRELOAD", library, 1); }
    Preload(const Preload&) = delete;
    Preload& operator=(const Preload&) = delete;
    ~Preload() { ::unsetenv("LD_PRELOAD"); }
};

/// Nodes that each have a wall clock of their own.
class Clocks : public ::testing::Test {
   protected:
    void SetUp() override {
        if (std::getenv("LD_PRELOAD") != nullptr) GTEST_SKIP() << "LD_PRELOAD is in use for something else";
        const Preload preload{REDLOCK_CLOCK_SHIM};
        nodes.emplace(3);
        teach(*nodes);
        data = std::make_unique<RedisServer>();
        jump(0, 1h);
        if (wall_us((*nodes)[0]) < LeaseClock::wall_us() + 3'000'000'000) {
            GTEST_SKIP() << "this server does not take its time from the C library";
        }
        jump(0, 0s);
    }

    /// From now on the node's wall clock is wrong by `error`.
    void jump(std::size_t node, std::chrono::microseconds error) {
        const auto directory = std::filesystem::path{(*nodes)[node].socket_path()}.parent_path();
        const FileDescriptor file{::open((directory / "clock-offset").c_str(), O_WRONLY | O_CLOEXEC)};
        const std::int64_t offset = error.count();
        if (::pwrite(file.get(), &offset, sizeof offset, 0) != sizeof offset) throw_errno("clock-offset");
    }

    static std::int64_t wall_us(RedisServer& node) {
        const Reply time = node.query({"TIME"});
        return std::stoll(time.elements.at(0).text) * 1'000'000 + std::stoll(time.elements.at(1).text);
    }

    std::optional<Cluster> nodes;
    std::unique_ptr<RedisServer> data;
};

TEST_F(Clocks, a_jump_ahead_on_a_quorum_gives_a_live_lock_away_and_the_fence_holds) {
    Watched first{nodes->uris()};
    Watched second{nodes->uris()};
    auto early = first.locks.try_lock("name", 30s);
    ASSERT_TRUE(early) << early.error().message();
    ASSERT_TRUE(eventually(patience, [&] { return nodes->count_holding("name") == 3; }));
    ASSERT_FALSE(got(second.locks.try_lock("name", 30s))) << "there is exclusion";

    jump(0, 60s);
    ASSERT_FALSE(got(second.locks.try_lock("name", 30s))) << "one node of three changes nothing";
    jump(1, 60s);
    auto late = second.locks.lock("name", {.ttl = 30s, .wait = 5s});
    ASSERT_TRUE(late) << late.error().message();
    EXPECT_TRUE(early->owns_lock()) << "two holders: what no Redlock can rule out";
    EXPECT_GT(late->fencing_token(), early->fencing_token());

    FenceGuard guard;
    EXPECT_TRUE(guard.admit("file", early->fencing_token()));
    EXPECT_TRUE(guard.admit("file", late->fencing_token()));
    const auto refused = guard.admit("file", early->fencing_token());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::fenced);

    const std::unique_ptr<redisContext, CloseContext> connection{
        redisConnectUnix(data->socket_path().c_str())};
    const auto set = [&](std::uint64_t token, const char* value) {
        return hiredis::fenced(*connection, "doc:fence", token, {"SET", "doc", value});
    };
    EXPECT_TRUE(set(late->fencing_token(), "right"));
    const auto written = set(early->fencing_token(), "out of date");
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code(), errc::fenced);
    EXPECT_EQ(data->get("doc"), "right");

    const auto extended = early->extend(30s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::lost);
}

TEST_F(Clocks, a_jump_back_only_makes_waiters_wait) {
    Watched first{nodes->uris()};
    Watched second{nodes->uris()};
    auto lock = first.locks.try_lock("name", 30s);
    ASSERT_TRUE(lock) << lock.error().message();
    ASSERT_TRUE(eventually(patience, [&] { return nodes->count_holding("name") == 3; }));
    for (std::size_t i = 0; i < 3; ++i) jump(i, -60s);
    for (auto& node : *nodes) EXPECT_GT(node.pttl("name").value_or(0ms), 80s);
    EXPECT_TRUE(lock->owns_lock());
    EXPECT_LE(lock->remaining(), 30s) << "the holder counts on its own clock";
    EXPECT_FALSE(got(second.locks.try_lock("name", 30s)));
    const std::uint64_t token = lock->fencing_token();
    ASSERT_TRUE(lock->unlock());
    const auto next = second.locks.lock("name", {.ttl = 30s, .wait = 5s});
    ASSERT_TRUE(next) << next.error().message();
    EXPECT_GT(next->fencing_token(), token);
}

// The counters have a ttl too. When a jump ends it, the counter is lost, and the clients' clocks are the
// lower bound of the next token.
TEST_F(Clocks, a_jump_past_fence_ttl_forgets_the_counters_and_the_tokens_still_grow) {
    Watched client{nodes->uris()};
    std::uint64_t last = 0;
    for (int i = 1; i <= 5; ++i) {
        auto lock = client.locks.lock("name", {.ttl = 30s, .wait = 5s});
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_GT(lock->fencing_token(), last);
        last = lock->fencing_token();
        ASSERT_TRUE(eventually(patience, [&] { return nodes->count_holding("name") == 3; }));
        for (std::size_t node = 0; node < 3; ++node) jump(node, i * 49h);
        EXPECT_TRUE(eventually(patience, [&] {
            return nodes->count_holding("name") + nodes->count_holding(core::fence_key("name")) == 0;
        }));
    }
    Watched other{nodes->uris()};
    const auto lock = other.locks.lock("name", {.ttl = 30s, .wait = 5s});
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_GT(lock->fencing_token(), last);
}

TEST_F(Clocks, whatever_the_clocks_do_the_tokens_grow) {
    Watched honest{nodes->uris()};
    Watched ahead{nodes->uris(), fencing_options(), 7min};
    const std::vector<std::chrono::microseconds> errors{0s, 1min, -1min, 1h, -1h, 23h};
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < 60; ++i) {
        jump(i % 3, errors[i * 7 % errors.size()]);
        auto lock = (i % 2 == 0 ? honest : ahead).locks.lock("name", {.ttl = 30s, .wait = 5s});
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_GT(lock->fencing_token(), last);
        last = lock->fencing_token();
        if (i % 5 != 0) continue;
        // The holder crashes. A node whose clock jumped back would keep the key for hours, so DEL removes it.
        lock->detach();
        for (auto& node : *nodes) node.query({"DEL", "name"});
    }
}

}  // namespace
}  // namespace redlock::test
