// SPDX-License-Identifier: Apache-2.0
// Connections on which nothing arrives any more although the peer's kernel accepts all bytes (R19, R20).
#include <atomic>

#include "integration/connection_parts.hpp"

namespace redlock::test {
namespace {

using redlock::detail::Sent;

// The shortest time after which a silent connection may be considered dead.
constexpr auto silence = 2s;

Options brief_rounds() {
    Options options = tries_often();
    options.node_timeout = 20ms;
    return options;
}

// An agreeable node, except that connections with a number below `alive_from` answer no SET, and a repeated
// SUBSCRIBE neither. The id of a connection is 100 plus its number.
class DeafNode {
   public:
    explicit DeafNode(std::size_t alive_from, std::string kill_reply = ":1\r\n")
        : alive_from_{alive_from},
          kill_reply_{std::move(kill_reply)},
          node_{{.on_numbered_request = [this](const Request& request,
                                               std::size_t number) { return answer(request, number); }},
                Address{}} {}

    FakeNode& node() { return node_; }
    void revive() { alive_from_ = 0; }
    // The requests that begin with one of `commands`, each with the number of its connection, in order of
    // arrival: "2 CLIENT KILL ID 101".
    [[nodiscard]] std::vector<std::string> said(std::initializer_list<std::string_view> commands) const {
        const std::lock_guard lock{mutex_};
        std::vector<std::string> found;
        for (const std::string& line : said_) {
            const auto is_one = [&](std::string_view command) {
                return line.substr(line.find(' ') + 1).starts_with(command);
            };
            if (std::any_of(commands.begin(), commands.end(), is_one)) found.push_back(line);
        }
        return found;
    }

   private:
    Answer answer(const Request& request, std::size_t number) {
        std::string line = std::to_string(number);
        for (const std::string& argument : request) line += " " + argument;
        bool is_repeated = false;
        {
            const std::lock_guard lock{mutex_};
            is_repeated = std::find(said_.begin(), said_.end(), line) != said_.end();
            said_.push_back(line);
        }
        const bool is_deaf = number < alive_from_;
        if (is_deaf && (says(request, "SET") || is_repeated)) return "";
        if (says(request, "CLIENT", "ID")) return ":" + std::to_string(100 + number) + "\r\n";
        if (says(request, "CLIENT", "KILL")) return kill_reply_;
        return agreeable_answer(request);
    }

    std::atomic<std::size_t> alive_from_;
    std::string kill_reply_;
    mutable std::mutex mutex_;
    std::vector<std::string> said_;
    FakeNode node_;
};

using Lines = std::vector<std::string>;

TEST(ConnectionSilence, R19_a_connection_that_answers_nothing_is_ended_and_replaced) {
    for (const std::string kill_reply : {":1\r\n", "-ERR No such client\r\n", "-NOPERM no permissions\r\n"}) {
        DeafNode deaf{2, kill_reply};
        DrivenTransport driven{{deaf.node().uri()}, brief_rounds()};
        ASSERT_TRUE(driven.comes_up());
        const auto before = std::chrono::steady_clock::now();
        ASSERT_EQ(driven.send({"SET", "name", "token"}), Sent::accepted);
        Lines killed;
        driven.when_up = [&] { killed = deaf.said({"CLIENT KILL"}); };
        driven.when_down = [&] {
            EXPECT_EQ(driven.connect(), Sent::connecting) << "the new one is told of next";
            EXPECT_EQ(driven.ups.size(), 1U);
        };
        ASSERT_TRUE(driven.poll_until([&] { return driven.ups.size() == 2; }));
        EXPECT_GE(std::chrono::steady_clock::now() - before, silence);
        ASSERT_EQ(driven.downs.size(), 1U);
        EXPECT_EQ(driven.downs[0].vote, Vote::timeout);
        EXPECT_NE(driven.downs[0].text.find("no answer for 2 s"), std::string::npos) << driven.downs[0].text;
        EXPECT_EQ(killed, Lines{"2 CLIENT KILL ID 101"}) << "before the new one is told of";
        EXPECT_TRUE(driven.is_answered({"SET", "name", "token"}));
        EXPECT_EQ(deaf.node().accepted(), 2U);
    }
}

// The slow connection stays in use, and its late answer shows that it is alive.
TEST(ConnectionSilence, R19_one_that_was_only_slow_is_kept) {
    std::atomic<bool> is_slow{false};
    FakeNode node =
        scripted_node([&](const Request& request) { return is_slow ? Answer{} : agreeable_answer(request); });
    Options options = brief_rounds();
    options.connect_timeout = 1h;  // so the second attempt to connect does not time out
    DrivenTransport driven{{node.uri()}, options};
    ASSERT_TRUE(driven.comes_up());
    is_slow = true;
    ASSERT_EQ(driven.send({"SET", "name", "token"}), Sent::accepted);
    ASSERT_TRUE(driven.poll_until([&] { return node.accepted() == 2; })) << "a second connection is tried";
    ASSERT_TRUE(driven.poll_until([&] { return node.count("INFO") > 2; }));
    EXPECT_EQ(driven.send({"SET", "other", "token"}), Sent::accepted) << "on the first";
    EXPECT_TRUE(driven.poll_until([&] { return node.count("SET") == 2; }));
    is_slow = false;
    node.push("+OK\r\n");  // on both connections, but the second has no SET to answer
    EXPECT_TRUE(driven.poll_until([&] { return driven.replies.size() == 1 && node.connections() == 1; }));
    EXPECT_TRUE(driven.downs.empty());
    EXPECT_EQ(driven.ups.size(), 1U);
    EXPECT_TRUE(driven.is_answered({"SET", "name", "token"}));
}

TEST(ConnectionSilence, R19_nobody_is_silent_who_was_not_asked) {
    FakeNode node = agreeable_node();
    DrivenTransport driven{{node.uri()}, brief_rounds()};
    ASSERT_TRUE(driven.comes_up());
    ASSERT_TRUE(driven.is_answered({"SET", "name", "token"}));
    driven.poll_for(silence + 500ms);
    EXPECT_EQ(node.accepted(), 1U);
    EXPECT_TRUE(driven.is_answered({"SET", "name", "token"}));
}

TEST(ConnectionSilence, R19_what_a_connection_owed_when_it_ended_the_next_does_not_owe) {
    DeafNode deaf{2};
    DrivenTransport driven{{deaf.node().uri()}, brief_rounds()};
    ASSERT_TRUE(driven.comes_up());
    ASSERT_EQ(driven.send({"SET", "name", "token"}), Sent::accepted);
    ASSERT_TRUE(driven.poll_until([&] { return deaf.node().count("SET") == 1; }));
    deaf.node().close_connections();
    ASSERT_TRUE(driven.poll_until([&] { return driven.downs.size() == 1; }));
    ASSERT_TRUE(driven.comes_up());
    driven.poll_for(silence + 500ms);
    EXPECT_EQ(deaf.node().accepted(), 2U);
    EXPECT_TRUE(driven.is_answered({"SET", "name", "token"}));
}

// The time counts from the request, not from the connection's last reply.
TEST(ConnectionSilence, R19_one_that_was_idle_for_long_has_time_to_answer) {
    DeafNode deaf{2};
    DrivenTransport driven{{deaf.node().uri()}, brief_rounds()};
    ASSERT_TRUE(driven.comes_up());
    driven.poll_for(silence + 100ms);
    ASSERT_EQ(driven.send({"SET", "name", "token"}), Sent::accepted);
    driven.poll_for(1s);
    EXPECT_EQ(deaf.node().accepted(), 1U);
    driven.poll(patience);  // returns when the allowed silence ends
    EXPECT_TRUE(driven.poll_until([&] { return driven.ups.size() == 2; }));
}

TEST(ConnectionSilence, R22_a_node_that_is_hung_is_tried_beside_with_the_backoff) {
    std::atomic<bool> is_hung{false};
    FakeNode node = scripted_node([&](const Request& request) {
        return is_hung ? Answer{"", says(request, "INFO")} : agreeable_answer(request);
    });
    Options options = brief_rounds();
    options.reconnect_min = options.reconnect_max = 1h;
    DrivenTransport driven{{node.uri()}, options};
    ASSERT_TRUE(driven.comes_up());
    is_hung = true;
    ASSERT_EQ(driven.send({"SET", "name", "token"}), Sent::accepted);
    driven.poll_for(silence + 1s);
    EXPECT_EQ(node.accepted(), 2U);
    EXPECT_TRUE(driven.downs.empty());
}

// One node's subscription is dead. The other's is alive, though it has no messages and the node refuses the
// second SUBSCRIBE.
TEST(ConnectionSilence, R19_a_subscription_is_asked_and_replaced_when_it_does_not_answer) {
    DeafNode deaf{2};
    std::atomic<int> asked{0};
    FakeNode quiet = scripted_node([&](const Request& request) {
        if (!says(request, "SUBSCRIBE")) return agreeable_answer(request);
        return asked++ > 0 ? Answer{"-NOPERM this user has no permissions"
                                    "\r\n"}
                           : agreeable_answer(request);
    });
    DrivenTransport driven{{deaf.node().uri(), quiet.uri()}, brief_rounds()};
    driven.transport().listen("channel");
    ASSERT_TRUE(driven.poll_until([&] { return driven.transport().listening() == 2; }));
    ASSERT_TRUE(driven.poll_until([&] { return deaf.said({"SUBSCRIBE"}).size() == 3; }));
    EXPECT_EQ(
        deaf.said({"SUBSCRIBE", "CLIENT KILL"}),
        (Lines{"1 SUBSCRIBE channel", "1 SUBSCRIBE channel", "2 CLIENT KILL ID 101", "2 SUBSCRIBE channel"}));
    ASSERT_TRUE(driven.poll_until([&] { return deaf.node().connections() == 1; }));
    deaf.node().push("*3\r\n" + bulk("message") + bulk("channel") + bulk("hello"));
    EXPECT_TRUE(driven.poll_until([&] { return !driven.messages.empty(); }));
    EXPECT_EQ(driven.messages, Lines{"hello"});
    EXPECT_GT(asked, 1);
    EXPECT_EQ(quiet.accepted(), 1U);
    EXPECT_EQ(driven.transport().listening(), 2U);
}

}  // namespace
}  // namespace redlock::test
