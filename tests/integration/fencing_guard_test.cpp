// SPDX-License-Identifier: Apache-2.0
// The guarded resource: in this process, and on a real Redis data node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <redlock/fencing.hpp>
#include <redlock/hiredis/fenced.hpp>

#include "support/redis_server.hpp"

namespace redlock::test {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t today = 1'795'000'000'000'123;  // what a token looks like; Lua would print 1.795e+15

// --- in this process -------------------------------------------------------------------------------------

TEST(FenceGuard, admits_the_largest_again_and_refuses_what_is_lower_by_one) {
    FenceGuard guard;
    EXPECT_EQ(guard.largest("file"), 0U);
    EXPECT_TRUE(guard.admit("file", today));
    EXPECT_TRUE(guard.admit("file", today));
    const auto refused = guard.admit("file", today - 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::fenced);
    EXPECT_THAT(refused.error().message(), HasSubstr(std::to_string(today)));
    EXPECT_THAT(refused.error().message(), HasSubstr("'file'"));
    EXPECT_EQ(guard.largest("file"), today);
    EXPECT_TRUE(guard.admit("file", today + 1));
    EXPECT_FALSE(guard.admit("file", today));
}

TEST(FenceGuard, resources_do_not_disturb_each_other) {
    FenceGuard guard;
    EXPECT_TRUE(guard.admit("a", 7));
    EXPECT_TRUE(guard.admit("b", 3));
    EXPECT_FALSE(guard.admit("a", 6));
    EXPECT_TRUE(guard.admit("b", 4));
    EXPECT_EQ(guard.largest("a"), 7U);
}

TEST(FenceGuard, zero_is_no_token) {
    FenceGuard guard;
    bool has_run = false;
    const auto refused = guard.apply("file", 0, [&] { has_run = true; });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::invalid_argument);
    EXPECT_FALSE(has_run);
    EXPECT_EQ(guard.largest("file"), 0U);
}

TEST(FenceGuard, a_late_action_does_not_run) {
    FenceGuard guard;
    int runs = 0;
    EXPECT_TRUE(guard.apply("file", 5, [&] { ++runs; }));
    EXPECT_FALSE(guard.apply("file", 4, [&] { ++runs; }));
    EXPECT_EQ(runs, 1);
}

TEST(FenceGuard, what_it_forgot_it_admits) {
    FenceGuard guard;
    EXPECT_TRUE(guard.admit("file", 5));
    guard.forget("other");
    EXPECT_FALSE(guard.admit("file", 4));
    guard.forget("file");
    EXPECT_EQ(guard.largest("file"), 0U);
    EXPECT_TRUE(guard.admit("file", 4));
}

// Were check and write two steps, a writer between the two of another would show here.
TEST(FenceGuard, check_and_write_are_one_step_for_all_threads) {
    FenceGuard guard;
    std::uint64_t file = 0;  // guarded by nothing else
    std::atomic<std::uint64_t> next{1};
    std::atomic<std::uint64_t> written{0};
    bool went_back = false;
    {
        std::vector<std::jthread> writers;
        for (int i = 0; i < 4; ++i) {
            writers.emplace_back([&] {
                for (int round = 0; round < 5'000; ++round) {
                    const std::uint64_t token = next.fetch_add(1);
                    const auto applied = guard.apply("file", token, [&] {
                        went_back = went_back || file >= token;
                        file = token;
                    });
                    if (applied) ++written;
                }
            });
        }
    }
    EXPECT_FALSE(went_back);
    EXPECT_EQ(file, 20'000U) << "the largest token is always admitted";
    EXPECT_EQ(guard.largest("file"), 20'000U);
    EXPECT_GT(written.load(), 0U);
}

TEST(FenceGuard, refusal_is_an_error_of_its_own) {
    const std::error_code refusal = errc::fenced;
    EXPECT_EQ(refusal.category().name(), std::string{"redlock"});
    EXPECT_EQ(refusal.message(), "fenced off");
    for (const errc other : {errc::contended, errc::unreachable, errc::too_slow, errc::cancelled, errc::lost,
                             errc::unknown, errc::invalid_argument}) {
        EXPECT_NE(refusal, std::error_code{other});
        EXPECT_NE(to_string(errc::fenced), to_string(other));
    }
    FenceGuard guard;
    EXPECT_TRUE(guard.admit("file", 2));
    try {
        guard.admit("file", 1).value();
        FAIL() << "no error was thrown";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), errc::fenced);
        EXPECT_THAT(error.what(), HasSubstr("fenced off"));
    }
}

// --- on a Redis data node --------------------------------------------------------------------------------

class FencedRedis : public ::testing::Test {
   protected:
    static void SetUpTestSuite() { node = new RedisServer; }
    static void TearDownTestSuite() {
        delete node;
        node = nullptr;
    }
    void SetUp() override {
        const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
        key = info->name();
        fence = key + ":fence";
        connection.reset(redisConnectUnix(node->socket_path().c_str()));
        ASSERT_TRUE(connection && connection->err == 0);
    }

    Result<hiredis::ReplyPtr> run(std::uint64_t token, const std::vector<std::string>& command) const {
        return hiredis::fenced(*connection, fence, token, command);
    }
    // An EVAL through another client than hiredis would have.
    Reply eval(const std::string& body, const std::vector<std::string>& keys,
               const std::vector<std::string>& arguments) const {
        std::vector<std::string> words{"EVAL", fenced_script(body), std::to_string(keys.size())};
        words.insert(words.end(), keys.begin(), keys.end());
        words.insert(words.end(), arguments.begin(), arguments.end());
        return node->query(words);
    }

    static RedisServer* node;
    std::string key;
    std::string fence;
    std::unique_ptr<redisContext, CloseContext> connection;
};

RedisServer* FencedRedis::node = nullptr;

TEST_F(FencedRedis, set_goes_through_for_the_largest_token_and_not_for_a_lower) {
    ASSERT_TRUE(run(today, {"SET", key, "first"}));
    ASSERT_TRUE(run(today, {"SET", key, "same token"}));
    EXPECT_EQ(node->get(fence), std::to_string(today));
    const auto late = run(today - 1, {"SET", key, "late"});
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), errc::fenced);
    EXPECT_THAT(late.error().message(), HasSubstr(std::to_string(today)));
    EXPECT_EQ(node->get(key), "same token");
    EXPECT_EQ(node->get(fence), std::to_string(today)) << "a refusal notes nothing";
    ASSERT_TRUE(run(today + 1, {"SET", key, "next"}));
    EXPECT_FALSE(run(today, {"SET", key, "late"}));
    EXPECT_EQ(node->get(key), "next");
}

// Lua has doubles and prints 14 digits of them: neither may lose the last digit, up to 2^53.
TEST_F(FencedRedis, numbers_are_compared_to_the_last_digit) {
    for (const std::uint64_t token :
         {std::uint64_t{9'999}, std::uint64_t{100'000'000'000'000}, std::uint64_t{999'999'999'999'999}, today,
          std::uint64_t{9'007'199'254'740'991}}) {
        const std::string own_fence = fence + std::to_string(token);
        const std::vector<std::string> command{"SET", key, std::to_string(token)};
        ASSERT_TRUE(hiredis::fenced(*connection, own_fence, token, command));
        EXPECT_EQ(node->get(own_fence), std::to_string(token));
        const auto late = hiredis::fenced(*connection, own_fence, token - 1, command);
        ASSERT_FALSE(late) << token;
        EXPECT_EQ(late.error().code(), errc::fenced);
        EXPECT_TRUE(hiredis::fenced(*connection, own_fence, token, command)) << token;
    }
}

TEST_F(FencedRedis, any_command_gives_its_own_reply) {
    const auto fields = run(today, {"HSET", key, "a", "1", "b", "2"});
    ASSERT_TRUE(fields);
    EXPECT_EQ((*fields)->integer, 2);
    const auto read = run(today, {"HGET", key, "b"});
    ASSERT_TRUE(read);
    EXPECT_STREQ((*read)->str, "2");
    const auto late = run(today - 1, {"HSET", key, "a", "late"});
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), errc::fenced);
    EXPECT_EQ(node->query({"HGET", key, "a"}).text, "1");
    EXPECT_TRUE(run(today, {"PING"})) << "a command without a key";
}

TEST_F(FencedRedis, bytes_of_all_kinds_arrive) {
    const std::string bytes{"\0\r\n%s'\"\xff", 9};
    ASSERT_TRUE(run(today, {"SET", key, bytes}));
    EXPECT_EQ(node->get(key), bytes);
}

TEST_F(FencedRedis, an_error_of_the_command_is_not_a_refusal) {
    ASSERT_TRUE(run(today, {"SET", key, "text"}));
    const auto wrong = run(today, {"HSET", key, "a", "1"});
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code(), errc::unknown);
    EXPECT_THAT(wrong.error().message(), HasSubstr("WRONGTYPE"));
    const auto none = run(0, {"SET", key, "no token"});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), errc::invalid_argument);
    const auto empty = run(today, {});
    ASSERT_FALSE(empty);
    EXPECT_EQ(empty.error().code(), errc::invalid_argument);
    EXPECT_EQ(node->get(key), "text");
}

// R30: what is no number of ours at the key of the fence is compared to nothing, and stays.
TEST_F(FencedRedis, a_key_that_is_no_fence_of_ours_is_left_alone) {
    for (const char* value : {"nan", "1e3", "-1", "0x1", " 1", "9007199254740992", "invoice", ""}) {
        node->query({"SET", fence, value});
        const auto refused = run(today, {"SET", key, "written"});
        ASSERT_FALSE(refused) << value;
        EXPECT_EQ(refused.error().code(), errc::unknown) << value;
        EXPECT_THAT(refused.error().message(), HasSubstr("FOREIGN")) << value;
        EXPECT_EQ(node->get(fence), value);
        EXPECT_FALSE(node->get(key)) << value;
    }
}

// R31
TEST_F(FencedRedis, what_was_to_be_written_is_in_no_message) {
    const auto echoed = run(today, {"XPENDING", key, "hunter2"});
    ASSERT_FALSE(echoed);
    EXPECT_THAT(echoed.error().message(), HasSubstr("***")) << "the node has repeated it";
    EXPECT_EQ(echoed.error().message().find("hunter2"), std::string::npos) << echoed.error().message();
}

TEST_F(FencedRedis, without_a_connection_it_is_unknown_whether_it_ran) {
    RedisServer other;
    connection.reset(redisConnectUnix(other.socket_path().c_str()));
    ASSERT_EQ(connection->err, 0);
    ::shutdown(connection->fd, SHUT_RD);  // a write is still taken, the reply never comes
    const auto lost = run(today, {"SET", key, "value"});
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code(), errc::unknown);
}

extern "C" void count_signal(int);
volatile std::sig_atomic_t signals_seen = 0;
extern "C" void count_signal(int) { signals_seen = signals_seen + 1; }

// hiredis 0.14 writes with write(), and the application has not asked for a signal.
TEST_F(FencedRedis, a_dead_data_node_raises_no_SIGPIPE) {
    RedisServer other;
    connection.reset(redisConnectUnix(other.socket_path().c_str()));
    ASSERT_EQ(connection->err, 0);
    other.kill();
    signals_seen = 0;
    const auto before = std::signal(SIGPIPE, count_signal);
    const auto lost = run(today, {"SET", key, "value"});
    std::signal(SIGPIPE, before);
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code(), errc::unknown);
    EXPECT_EQ(signals_seen, 0);
}

TEST_F(FencedRedis, a_script_of_the_users_keeps_its_keys_and_arguments) {
    const std::string body = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
    const auto count = [&](std::uint64_t token) {
        return eval(body, {key, fence}, {"10", std::to_string(token)});
    };
    EXPECT_EQ(count(today).number(), 10);
    EXPECT_EQ(count(today + 1).number(), 20);
    const Reply late = count(today);
    ASSERT_TRUE(late.is_error());
    EXPECT_TRUE(late.text.starts_with("FENCED " + std::to_string(today + 1))) << late.text;
    EXPECT_EQ(node->get(key), "20");
}

TEST_F(FencedRedis, of_many_writers_at_once_none_goes_back) {
    constexpr std::uint64_t writers = 4;
    constexpr std::uint64_t writes = 300;
    std::atomic<int> failures{0};
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t writer = 0; writer < writers; ++writer) {
            threads.emplace_back([this, writer, &failures] {
                const std::unique_ptr<redisContext, CloseContext> own{
                    redisConnectUnix(node->socket_path().c_str())};
                for (std::uint64_t i = 0; i < writes; ++i) {
                    const std::uint64_t token = today + i * writers + writer;
                    const auto done =
                        hiredis::fenced(*own, fence, token, {"RPUSH", key, std::to_string(token)});
                    if (!done && done.error().code() != errc::fenced) ++failures;
                }
            });
        }
    }
    EXPECT_EQ(failures.load(), 0);
    std::uint64_t last = 0;
    for (const Reply& one : node->query({"LRANGE", key, "0", "-1"}).elements) {
        const std::uint64_t token = std::stoull(one.text);
        EXPECT_GT(token, last);
        last = token;
    }
    EXPECT_EQ(last, today + writers * writes - 1);
}

}  // namespace
}  // namespace redlock::test
