// SPDX-License-Identifier: Apache-2.0
// The guarded resource on a real Redis data node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <redlock/fencing.hpp>
#include <redlock/hiredis/fenced.hpp>

#include "support/redis_server.hpp"

namespace redlock::test {
namespace {

using ::testing::HasSubstr;

// A typical token, which Lua would print as 1.795e+15.
constexpr std::uint64_t today = 1'795'000'000'000'123;

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
    // EVAL as a client other than hiredis would send it.
    Reply eval(const std::string& body, const std::vector<std::string>& keys,
               const std::vector<std::string>& arguments) const {
        std::vector<std::string> request{"EVAL", fenced_script(body), std::to_string(keys.size())};
        request.insert(request.end(), keys.begin(), keys.end());
        request.insert(request.end(), arguments.begin(), arguments.end());
        return node->query(request);
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

// Lua's numbers are doubles, of which it prints 14 digits. Up to 2^53, neither may lose the last digit.
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

// R30: a value at the fence's key that is no token is not compared, and stays as it is.
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
    ::shutdown(connection->fd, SHUT_RD);  // writes still succeed, but no reply arrives
    const auto lost = run(today, {"SET", key, "value"});
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code(), errc::unknown);
}

extern "C" void count_signal(int);
volatile std::sig_atomic_t signals_seen = 0;
extern "C" void count_signal(int) { signals_seen = signals_seen + 1; }

// hiredis 0.14 uses write(), which raises SIGPIPE, and the application has not asked for that signal.
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

TEST_F(FencedRedis, what_is_beyond_2_to_the_53_is_no_token) {
    const std::vector<std::string> command{"SET", key, "value"};
    for (const std::uint64_t token : {std::uint64_t{0}, std::uint64_t{1} << 53U, ~std::uint64_t{0}}) {
        const auto refused = run(token, command);
        ASSERT_FALSE(refused) << token;
        EXPECT_EQ(refused.error().code(), errc::invalid_argument) << token;
        EXPECT_THROW(static_cast<void>(fenced_command(fence, token, command)), std::invalid_argument)
            << token;
    }
    EXPECT_FALSE(node->get(fence)) << "it would keep all others out";
    EXPECT_FALSE(node->get(key));
}

// The write would replace the token, or the token would replace the data.
TEST_F(FencedRedis, the_key_of_the_data_cannot_be_that_of_the_fence) {
    node->query({"SET", key, "7"});
    const std::vector<std::string> command{"INCR", key};
    const auto refused = hiredis::fenced(*connection, key, today, command);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::invalid_argument);
    EXPECT_THROW(static_cast<void>(fenced_command(key, today, command)), std::invalid_argument);
    const Reply script = eval("return redis.call('INCR', KEYS[1])", {key, key}, {std::to_string(today)});
    ASSERT_TRUE(script.is_error());
    EXPECT_TRUE(script.text.starts_with("INVALID ")) << script.text;
    EXPECT_EQ(node->get(key), "7");
}

TEST_F(FencedRedis, a_command_does_not_take_its_own_fence_away) {
    for (const std::vector<std::string>& command : {std::vector<std::string>{"DEL", key, fence},
                                                    {"MSET", key, "1", fence, "0"},
                                                    {"RENAME", key, fence}}) {
        node->query({"SET", key, "7"});
        const auto told = run(today, command);
        ASSERT_FALSE(told) << command[0];
        EXPECT_EQ(told.error().code(), errc::unknown) << command[0];
        EXPECT_EQ(node->get(fence), std::to_string(today)) << command[0];
    }
    EXPECT_TRUE(run(today, {"SET", key, fence})) << "its name is a value like any other";
}

// A fence of another type would refuse all later writers.
TEST_F(FencedRedis, a_command_does_not_leave_its_fence_with_another_type) {
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"RENAME", key, fence}, {"SORT", key, "STORE", fence}}) {
        node->query({"DEL", key});
        node->query({"RPUSH", key, "2", "1"});
        const auto told = run(today, command);
        ASSERT_FALSE(told) << command[0];
        EXPECT_THAT(told.error().message(), HasSubstr("put back")) << command[0];
        EXPECT_EQ(node->query({"GET", fence}).text, std::to_string(today)) << command[0];
    }
}

TEST_F(FencedRedis, a_connection_that_does_not_block_is_refused) {
    connection.reset(redisConnectUnixNonBlock(node->socket_path().c_str()));
    const auto refused = run(today, {"SET", key, "value"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::invalid_argument);
}

// --- a script of the user's ------------------------------------------------------------------------------

// R30: only a token is stored at the fence's key.
TEST_F(FencedRedis, a_script_notes_nothing_but_a_token) {
    for (const char* token : {"abc", "", "0", "-1", "1.5", "1e3", "0x1f", " 7", "9007199254740992",
                              "18446744073709551615", "nan", "inf"}) {
        const Reply refused = eval("return redis.call('SET', KEYS[1], 'written')", {key, fence}, {token});
        ASSERT_TRUE(refused.is_error()) << token;
        EXPECT_TRUE(refused.text.starts_with("INVALID ")) << token << ": " << refused.text;
        EXPECT_FALSE(node->get(fence)) << token;
        EXPECT_FALSE(node->get(key)) << token;
    }
    const std::string largest = std::to_string((std::uint64_t{1} << 53U) - 1);
    EXPECT_FALSE(eval("return redis.call('SET', KEYS[1], 'written')", {key, fence}, {largest}).is_error());
    EXPECT_EQ(node->get(fence), largest);
}

TEST_F(FencedRedis, a_script_without_a_key_or_an_argument_is_told_so) {
    for (const bool has_key : {false, true}) {
        const auto keys = has_key ? std::vector{fence} : std::vector<std::string>{};
        const auto arguments = has_key ? std::vector<std::string>{} : std::vector{std::to_string(today)};
        const Reply refused = eval("return 1", keys, arguments);
        ASSERT_TRUE(refused.is_error());
        EXPECT_TRUE(refused.text.starts_with("INVALID ")) << refused.text;
    }
    EXPECT_FALSE(node->get(fence));
}

TEST_F(FencedRedis, a_key_of_another_type_is_left_alone_by_a_script) {
    node->query({"RPUSH", fence, "an element"});
    EXPECT_TRUE(eval("return redis.call('SET', KEYS[1], 'written')", {key, fence}, {"7"}).is_error());
    EXPECT_FALSE(node->get(key));
    EXPECT_EQ(node->query({"LRANGE", fence, "0", "-1"}).elements.size(), 1U);
}

TEST_F(FencedRedis, a_script_sees_its_own_keys_and_arguments_alone) {
    const std::string body =
        "return {#KEYS, #ARGV, redis.call('DEL', unpack(KEYS)), "
        "pcall(function() return fence end) and 'seen' or 'unseen'}";
    node->query({"SET", key, "value"});
    const Reply seen = eval(body, {key, fence}, {"an argument", std::to_string(today)});
    ASSERT_EQ(seen.elements.size(), 4U) << seen.text;
    EXPECT_EQ(seen.elements[0].number(), 1);
    EXPECT_EQ(seen.elements[1].number(), 1);
    EXPECT_EQ(seen.elements[2].number(), 1);
    EXPECT_EQ(seen.elements[3].text, "unseen") << "no name of the fence's is in its way";
    EXPECT_EQ(node->get(fence), std::to_string(today));
}

TEST_F(FencedRedis, a_script_that_names_its_language_is_fenced_too) {
    if (node->major_version() < 7) GTEST_SKIP() << "scripts that begin with #! are new in Redis 7";
    for (const char* first_line : {"#!lua\n", "#!lua flags=allow-stale\n", "#!lua\r\n"}) {
        const std::string body = first_line + std::string{"return redis.call('INCR', KEYS[1])"};
        const Reply done = eval(body, {key, fence}, {std::to_string(today)});
        EXPECT_FALSE(done.is_error()) << done.text;
        const Reply late = eval(body, {key, fence}, {std::to_string(today - 1)});
        ASSERT_TRUE(late.is_error());
        EXPECT_TRUE(late.text.starts_with("FENCED ")) << late.text;
    }
    EXPECT_EQ(node->get(key), "3");
    EXPECT_FALSE(eval("#!lua", {fence}, {std::to_string(today)}).is_error()) << "a script of one line";
}

TEST_F(FencedRedis, a_script_is_given_its_fence) {
    const LuaScript add{"return redis.call('INCRBY', KEYS[1], ARGV[1])", {key}, {"10"}};
    const auto done = hiredis::fenced_eval(*connection, fence, today, add);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ((*done)->integer, 10);
    const auto late = hiredis::fenced_eval(*connection, fence, today - 1, add);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), errc::fenced);
    const auto same_key = hiredis::fenced_eval(*connection, key, today, add);
    ASSERT_FALSE(same_key);
    EXPECT_EQ(same_key.error().code(), errc::invalid_argument);
    EXPECT_THROW(static_cast<void>(fenced_eval(key, today, add)), std::invalid_argument);
    const auto no_token = hiredis::fenced_eval(*connection, fence, std::uint64_t{1} << 53U, add);
    ASSERT_FALSE(no_token);
    EXPECT_EQ(no_token.error().code(), errc::invalid_argument);
    EXPECT_EQ(node->query(fenced_eval(fence, today, add)).number(), 20) << "through any client";
    EXPECT_EQ(node->get(key), "20");
}

// --- within a transaction --------------------------------------------------------------------------------

class FencedTransaction : public FencedRedis {
   protected:
    hiredis::ReplyPtr say(const std::vector<std::string>& arguments) const {
        std::vector<const char*> texts;
        for (const std::string& argument : arguments) texts.push_back(argument.c_str());
        return hiredis::ReplyPtr{static_cast<redisReply*>(
            redisCommandArgv(connection.get(), static_cast<int>(texts.size()), texts.data(), nullptr))};
    }
};

// QUEUED is no success: the fence would be checked within EXEC, and the commands behind it run in any case.
TEST_F(FencedTransaction, a_fenced_command_within_MULTI_fails_and_nothing_of_the_transaction_runs) {
    ASSERT_TRUE(run(today, {"SET", key, "newer"}));
    for (const std::uint64_t token : {today - 1, today}) {
        say({"MULTI"});
        EXPECT_STREQ(say({"SET", key + ":before", "written"})->str, "QUEUED");
        const auto refused = run(token, {"SET", key, "written"});
        ASSERT_FALSE(refused) << "QUEUED was taken for success";
        EXPECT_EQ(refused.error().code(), errc::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("MULTI"));
        say({"SET", key + ":after", "written"});
        const auto done = say({"EXEC"});
        ASSERT_EQ(done->type, REDIS_REPLY_ERROR);
        EXPECT_THAT(done->str, HasSubstr("EXECABORT"));
        EXPECT_EQ(node->get(key), "newer");
        EXPECT_FALSE(node->get(key + ":before"));
        EXPECT_FALSE(node->get(key + ":after"));
    }
    EXPECT_TRUE(run(today, {"SET", key, "after it"})) << "the connection is as it was";
}

// The reason to refuse it: within EXEC, an error of a script neither undoes nor stops the other commands.
TEST_F(FencedTransaction, a_late_script_within_MULTI_does_not_keep_the_rest_from_running) {
    ASSERT_TRUE(run(today, {"SET", key, "newer"}));
    say({"MULTI"});
    say(fenced_command(fence, today - 1, {"SET", key, "late"}));
    say({"SET", key + ":after", "late"});
    const auto done = say({"EXEC"});
    ASSERT_EQ(done->elements, 2U);
    EXPECT_THAT(done->element[0]->str, HasSubstr("FENCED"));
    EXPECT_EQ(node->get(key), "newer");
    EXPECT_EQ(node->get(key + ":after"), "late");
}

// The way that docs/fencing.md describes for code that needs a transaction.
TEST_F(FencedTransaction, a_watched_fence_makes_EXEC_do_all_or_nothing) {
    const auto write = [&](const char* value, const auto& meanwhile) {
        say({"WATCH", fence});
        say({"GET", fence});
        meanwhile();
        say({"MULTI"});
        say({"SET", fence, std::to_string(today)});
        say({"SET", key, value});
        return say({"EXEC"});
    };
    EXPECT_EQ(write("alone", [] {})->elements, 2U);
    const auto newer = [&] { node->query(fenced_command(fence, today + 1, {"SET", key, "newer"})); };
    EXPECT_EQ(write("late", newer)->type, REDIS_REPLY_NIL);
    EXPECT_EQ(node->get(key), "newer");
    EXPECT_EQ(node->get(fence), std::to_string(today + 1));
}

TEST_F(FencedTransaction, several_commands_are_one_step_in_a_script) {
    const LuaScript both{"redis.call('SET', KEYS[1], ARGV[1]); return redis.call('SET', KEYS[2], ARGV[2])",
                         {key, key + ":2"},
                         {"one", "two"}};
    ASSERT_TRUE(hiredis::fenced_eval(*connection, fence, today, both));
    LuaScript late = both;
    late.arguments = {"late", "late"};
    EXPECT_FALSE(hiredis::fenced_eval(*connection, fence, today - 1, late));
    EXPECT_EQ(node->get(key), "one");
    EXPECT_EQ(node->get(key + ":2"), "two");
}

}  // namespace
}  // namespace redlock::test
